"""What the processes of steps print, kept where every host finds it: below IMAGESYNC_STORAGE_URL in the object store.

Named by the dagster.yaml of several hosts (deploy/dagster/), as Dagster's own manager of such logs cannot be told
IMAGESYNC_S3_*.
"""

from collections.abc import Mapping
from typing import Any

import boto3  # type: ignore[import-untyped]
from dagster import Field
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.compute_log_manager import ComputeLogManager
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster_aws.s3 import S3ComputeLogManager

from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.objects import s3_client, s3_place

FOLDER = "compute-logs"


class InstallationComputeLogs(ComputeLogManager, ConfigurableClass):
    """Never a manager itself: `from_config_value` gives Dagster's own."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The settings of `compute_logs: config:` in dagster.yaml."""
        about = "seconds after which what a step at work has printed is sent; it is always sent when the step ends"
        return {"upload_interval": Field(int, default_value=30, description=about)}

    @classmethod
    def from_config_value(  # type: ignore[override] # Dagster wants the class itself; a manager of its own does as well
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> ComputeLogManager:
        """Logs in the bucket of IMAGESYNC_STORAGE_URL. Raises SettingsError when that is no bucket."""
        settings = load_settings(Settings)
        scheme, _, path = (settings.storage_url or "").partition("://")
        bucket, _, prefix = path.partition("/")
        if scheme not in ("s3", "s3a") or not bucket:
            raise SettingsError("IMAGESYNC_STORAGE_URL: runs on several hosts need one such as s3://bucket/prefix")
        place = s3_place(settings)
        made: ComputeLogManager = S3ComputeLogManager(
            bucket,
            local_dir=str(settings.home.expanduser().resolve() / "dagster" / "storage"),
            inst_data=inst_data,
            prefix=f"{prefix}/{FOLDER}",
            upload_interval=config_value["upload_interval"],
            region=settings.s3_region,
        )
        vars(made).update(_s3_session=boto3.client("s3") if place is None else s3_client(place))
        return made
