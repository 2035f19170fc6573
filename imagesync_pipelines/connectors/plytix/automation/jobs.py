"""The jobs of the Plytix connector: which Dagster assets run together, and the clean-up, which is no asset.

What belongs here: jobs and the op of the clean-up. What does not: what they do (stages.py, plan_stages.py), when they
run (schedules.py, sensors.py).
"""

from typing import Any

import dagster as dg

from imagesync_pipelines.connectors.plytix import cleanup, telling
from imagesync_pipelines.connectors.plytix.assets import ACCOUNTS, API_POOL, PLAN, logger, plan_metadata
from imagesync_pipelines.connectors.plytix.automation.starting import CLEANUP_JOB, CLEANUP_OP, DRY_RUN_JOB, SYNC_JOB
from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR
from imagesync_pipelines.connectors.plytix.options import CleanupConfig
from imagesync_pipelines.connectors.plytix.resources import PlytixResource
from imagesync_pipelines.defs.connector_assets import tell
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.defs.summaries import stage, summary_metadata

_CONNECTOR = dg.AssetSelection.groups(CONNECTOR)


def build_jobs() -> list[Any]:
    """All jobs of this connector; each run of one is a Plytix account."""
    return [
        dg.define_asset_job(
            SYNC_JOB,
            selection=_CONNECTOR,
            description="Read listings and Plytix, plan, upload images, fill galleries, set thumbnails, report.",
        ),
        dg.define_asset_job(
            DRY_RUN_JOB,
            selection=dg.AssetSelection.assets(PLAN).upstream() & _CONNECTOR,
            config={"ops": {f"{CONNECTOR}__plan": {"config": {"dry_run": True}}}},
            description="Read listings and Plytix and plan; nothing is written. Apply it later with its number.",
        ),
        _build_cleanup(),
    ]


def _build_cleanup() -> dg.JobDefinition:
    @dg.op(
        name=CLEANUP_OP,
        description="Plans to take out what we created for listings that are not in a mapping file any more.",
        pool=API_POOL,
    )
    def plan_cleanup(
        context: dg.OpExecutionContext,
        config: CleanupConfig,
        installation: InstallationResource,
        plytix: PlytixResource,
    ) -> None:
        account = context.partition_key
        with stage(context, PLAN, plytix.secrets(installation.settings())) as work, installation.open() as place:
            with plytix.pim(place, account) as api:
                made = cleanup.plan_cleanup(
                    plytix.desk(place, account),
                    api,
                    context.run.run_id,
                    missing_from=config.missing_from,
                    allow_mass_delete=config.allow_mass_delete,
                )
            summary = telling.plan_summary(made, work.started_at)
            tell(context, logger, [telling.plan_line(account, made)])
            metadata = {**plan_metadata(made), **summary_metadata(summary)}
            context.log_event(dg.AssetObservation(asset_key=PLAN, partition=account, metadata=metadata))

    @dg.job(
        name=CLEANUP_JOB,
        partitions_def=ACCOUNTS,
        executor_def=dg.in_process_executor,
        description="Plans the removal of what we created for listings that are gone; `imagesync apply` does it then.",
    )
    def clean_up() -> None:
        plan_cleanup()

    return clean_up
