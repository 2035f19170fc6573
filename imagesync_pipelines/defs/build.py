"""All definitions of the code location, made from the registry of connectors and the jobs that they share.

What is special to one connector is in the file of its name, if it has one: `build_sensors(connector, shared)`.
"""

import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import dagster as dg

from imagesync_pipelines.collector import collector_paused
from imagesync_pipelines.defs import (
    alerts,
    assets,
    cleanup,
    doctor,
    held_alerts,
    lasting,
    launching,
    liveness,
    pages,
    quality,
    watching,
    webhooks_out,
)
from imagesync_pipelines.defs.resources import InstallationResource, settings_resource
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.sync.connector import Connector
from imagesync_pipelines.sync.steps import silent


@collector_paused()
def build_definitions(
    resources: Mapping[str, Any] | None = None, found: Sequence[Connector] | None = None
) -> dg.Definitions:
    """All definitions, or those of some connectors and what all share.

    resources: replace the ordinary ones of the same names, in tests and on the command line. Raises SettingsError
    naming the variable that is wrong.
    """
    shared, found = load_settings(Settings), connectors() if found is None else found
    with warnings.catch_warnings():
        looking, judging = doctor.build_job(), quality.build_job()
        # backfill_policy, the one way to say how many runs a range is; partitions of a check, one result per account.
        warnings.simplefilter("ignore", dg.BetaWarning)
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.Definitions(
            assets=[
                *(asset for one in found for asset in assets.build_assets(one)),
                doctor.build_asset(assets.OWNERS),
                quality.build_asset(assets.OWNERS),
            ],
            asset_checks=[*(check for one in found for check in assets.build_checks(one)), quality.build_checks()],
            jobs=[
                *(job for one in found for job in assets.build_jobs(one)),
                *cleanup.JOBS,
                looking,
                judging,
                webhooks_out.deliver_job,
            ],
            schedules=[
                *(assets.build_schedule(one, schedule, shared) for one in found for schedule in one.schedules),
                *cleanup.build_schedules(shared),
                doctor.build_schedule(shared, looking, on=any(launching.is_set_up(one, shared) for one in found)),
                quality.build_schedule(shared),
            ],
            sensors=[
                *(sensor for one in found for sensor in _sensors(one, shared)),
                alerts.build_run_failure_alert(),
                alerts.build_failed_check_alert(),
                watching.build_dagster_alert(),
                liveness.build_dead_runs_sensor(),
                held_alerts.build_held_alert(),
                lasting.build_lasting_alert(),
                webhooks_out.build_sensor(),
            ],
            resources={
                "installation": InstallationResource(),
                **{one.name: settings_resource(one) for one in found},
                "progress": dg.ResourceDefinition.hardcoded_resource(silent),
                **(resources or {}),
            },
            executor=dg.in_process_executor,
        )


def _sensors(connector: Connector, shared: Settings) -> list[dg.SensorDefinition]:
    found = [] if connector.pages is None else [pages.build_discovery_sensor(connector, shared)]
    name = f"imagesync_pipelines.defs.{connector.name}"
    if find_spec(name) is not None:
        found += import_module(name).build_sensors(connector, shared)
    return found
