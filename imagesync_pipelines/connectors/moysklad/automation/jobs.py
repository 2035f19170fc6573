"""The jobs of the МойСклад connector: which Dagster assets run together, and the clean-up, which is no asset.

What belongs here: jobs and the op of the clean-up. What does not: what they do (stages.py, plan_stages.py), when they
run (schedules.py, sensors.py).
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from imagesync_pipelines.connectors.moysklad.assets import PLAN, logger
from imagesync_pipelines.connectors.moysklad.automation.starting import CLEANUP_JOB, DRY_RUN_JOB, SYNC_JOB
from imagesync_pipelines.connectors.moysklad.queue import Queue
from imagesync_pipelines.connectors.moysklad.reading import CONNECTOR
from imagesync_pipelines.connectors.moysklad.resources import MoyskladResource
from imagesync_pipelines.defs.connector_assets import tell
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.storage.contents import Contents

_CONNECTOR = dg.AssetSelection.groups(CONNECTOR)
# Requests that are done are kept for people to look at; all others stay for good.
QUEUE_KEPT = timedelta(days=30)


def build_jobs() -> list[Any]:
    """All jobs of this connector; each run of one but the clean-up is a child account."""
    return [
        dg.define_asset_job(
            SYNC_JOB,
            selection=_CONNECTOR,
            description="Read the main account, find the child's entities, plan, download images, set the lists.",
        ),
        dg.define_asset_job(
            DRY_RUN_JOB,
            selection=dg.AssetSelection.assets(PLAN).upstream() & _CONNECTOR,
            config={"ops": {f"{CONNECTOR}__plan": {"config": {"dry_run": True}}}},
            description="Read and plan; nothing is written into a child account. Apply it later with its number.",
        ),
        _build_cleanup(),
    ]


def _build_cleanup() -> dg.JobDefinition:
    @dg.op(
        name="forget_content",
        description="Removes image content that was not used for MOYSKLAD_CONTENT_HOURS, and requests done long ago.",
    )
    def forget_content(
        context: dg.OpExecutionContext, installation: InstallationResource, moysklad: MoyskladResource
    ) -> None:
        hours = moysklad.settings().content_hours
        with installation.open() as place:
            gone = Contents(place.engine, place.storage).forget_older(hours)
            requests = Queue(place.engine).forget_done(datetime.now(UTC) - QUEUE_KEPT, dry_run=False)
        line = (
            f"{gone.count} pictures with {gone.bytes:,} bytes were not used for {hours:g} hours and are removed, "
            f"{gone.in_use} are in use; {requests} requests done long ago are forgotten."
        )
        tell(context, logger, [line])

    @dg.job(
        name=CLEANUP_JOB,
        executor_def=dg.in_process_executor,
        description="Removes image content that nobody used for a while, never what a run is using.",
    )
    def clean_up() -> None:
        forget_content()

    return clean_up
