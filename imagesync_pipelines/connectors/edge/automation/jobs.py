"""The jobs of the edge connector: which Dagster assets run together, and the scrub, which is no asset.

What belongs here: jobs and the op of the scrub. What does not: what they do (stages.py, plan_stages.py, repairing.py),
when they run (schedules.py, sensors.py).
"""

from typing import Any

import dagster as dg

from imagesync_pipelines.connectors.edge import repairing, telling
from imagesync_pipelines.connectors.edge.assets import BINARIES, STORES, WRITE_POOL, logger
from imagesync_pipelines.connectors.edge.automation.starting import DRY_RUN_JOB, SCRUB_JOB, SYNC_JOB
from imagesync_pipelines.connectors.edge.desk import CONNECTOR
from imagesync_pipelines.connectors.edge.resources import EdgeResource
from imagesync_pipelines.defs import metadata as shown
from imagesync_pipelines.defs.connector_assets import tell
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.defs.summaries import stage, summary_metadata
from imagesync_pipelines.sync.progress import Progress

_CONNECTOR = dg.AssetSelection.groups(CONNECTOR)
_PLAN = dg.AssetSelection.assets([CONNECTOR, "plan"])


def build_jobs() -> list[Any]:
    """All jobs of this connector; each run of one is a store."""
    dry = {
        "ops": {
            f"{CONNECTOR}__photo_listing": {"config": {"full": False, "dry_run": True}},
            f"{CONNECTOR}__plan": {"config": {"dry_run": True}},
        }
    }
    return [
        dg.define_asset_job(
            SYNC_JOB,
            selection=_CONNECTOR,
            description="List a store's photos at the head office, plan, download and verify, report back.",
        ),
        dg.define_asset_job(
            DRY_RUN_JOB,
            selection=_PLAN.upstream() & _CONNECTOR,
            config=dry,
            description="List and plan; nothing is written into the store's database. Apply it later with its number.",
        ),
        _build_scrub(),
    ]


def _build_scrub() -> dg.JobDefinition:
    @dg.op(
        name="scrub_store",
        description="Hashes a store's photos inside its database, and fetches again those that differ.",
        pool=WRITE_POOL,
    )
    def scrub_store(
        context: dg.OpExecutionContext,
        installation: InstallationResource,
        edge: EdgeResource,
        progress: dg.ResourceParam[Progress],
    ) -> None:
        name = context.partition_key
        with stage(context, BINARIES, edge.secrets(installation.settings())) as work, installation.open() as place:
            with edge.desk(place, name) as desk, edge.head_office(place.settings, name) as api:
                found = repairing.scrub_and_repair(desk, api, context.run.run_id, progress=progress)
            summary = telling.scrub_summary(found, work.started_at)
            tell(context, logger, [telling.scrub_line(name, found)])
            metadata = {
                **summary_metadata(summary),
                **shown.metrics({"photos/hashed": found.hashed, "photos/differing": len(found.differing)}),
                "differing": shown.markdown_list(found.differing),
            }
            context.log_event(dg.AssetObservation(asset_key=BINARIES, partition=name, metadata=metadata))

    @dg.job(
        name=SCRUB_JOB,
        partitions_def=STORES,
        executor_def=dg.in_process_executor,
        description="Hashes every photo of a store inside its database, and repairs from the head office what differs.",
    )
    def scrub() -> None:
        scrub_store()

    return scrub
