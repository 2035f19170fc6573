"""The Dagster assets of this connector, thin: read the config, call a stage, tell what happened.

What belongs here: how the stages look in Dagster (keys, dependencies, partitions, pools, metadata). What does not: the
stages themselves (stages.py), what they say (telling.py).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from imagesync_pipelines.connectors.edge import plan_stages, stages, telling
from imagesync_pipelines.connectors.edge.desk import CONNECTOR
from imagesync_pipelines.connectors.edge.options import ApplyConfig, ListingConfig, PlanConfig
from imagesync_pipelines.connectors.edge.resources import EdgeResource
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.defs import metadata as shown
from imagesync_pipelines.defs.connector_assets import OWNERS, account_options, connector_options, tell
from imagesync_pipelines.defs.lineage import ancestors_of
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.defs.summaries import Stage, run_started, stage, summary_metadata
from imagesync_pipelines.settings import load_settings
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.sync.progress import Progress

STORES = dg.DynamicPartitionsDefinition(name="edge_stores")
# Their limit is 1 (dagster.yaml): one store after the other. It may be raised in the UI, each store has its own lock.
API_POOL = "edge_api"
WRITE_POOL = "edge_write"
LISTING = dg.AssetKey([CONNECTOR, "photo_listing"])
BINARIES = dg.AssetKey([CONNECTOR, "photo_binaries"])

# Heard on a terminal only; what the UI shows goes through the context of the run.
logger = logging.getLogger("imagesync.edge")

HEAD_OFFICE = dg.AssetSpec(
    [CONNECTOR, "head_office"],
    description="The head office: product photos in an object store behind its HTTP API, one scope per store.",
    group_name=CONNECTOR,
    kinds={"rest", "s3"},
    owners=OWNERS,
)


def build_assets() -> list[Any]:
    """All Dagster assets of this connector, in the order in which data flows; each partition is a store."""
    common: Any = connector_options(CONNECTOR, load_settings(EdgeSettings).fresh_hours) | account_options(STORES)

    @dg.asset(
        **common,
        kinds={"rest", "postgres"},
        deps=[HEAD_OFFICE],
        pool=API_POOL,
        retry_policy=dg.RetryPolicy(max_retries=1, delay=10),
    )
    def photo_listing(
        context: dg.AssetExecutionContext,
        config: ListingConfig,
        installation: InstallationResource,
        edge: EdgeResource,
    ) -> dg.MaterializeResult:
        """What the head office lists for a store, in our mirror: everything, or what changed since the cursor.

        Photos that need bytes are marked in the store's database before the cursor moves, so no crash loses them. The
        cursor is the head office's own time and moves only when every page was read.
        """
        with _at_work(context, installation, edge) as (place, work, name):
            with edge.desk(place, name) as desk, edge.head_office(place.settings, name) as api:
                listed = stages.take_photos(desk, api, context.run.run_id, full=config.full, dry_run=config.dry_run)
            work.summary = telling.listing_summary(listed, run_started(context))
            tell(context, logger, [telling.listing_line(name, listed)], listed.warnings)
            return dg.MaterializeResult(
                metadata={
                    **shown.row_count(listed.seen),
                    **shown.metrics(telling.listing_numbers(listed)),
                    "full": listed.full,
                    "every_page_was_read": listed.complete,
                    "not_complete_because": listed.reason or "-",
                    "cursor": telling.moment(listed.cursor),
                    "nothing_to_do": listed.quiet,
                    "warnings": shown.markdown_list(listed.warnings),
                }
            )

    @dg.asset(**common, kinds={"pandas", "parquet"}, deps=[photo_listing])
    def plan(
        context: dg.AssetExecutionContext, config: PlanConfig, installation: InstallationResource, edge: EdgeResource
    ) -> dg.MaterializeResult:
        """What would change in a store's database, photo by photo with its reason; nothing is changed yet.

        Only photos whose checksum changed are downloads; another order or primary is an update without bytes. When
        nothing is new and nothing waits, no plan is made.
        """
        with _at_work(context, installation, edge) as (place, work, name):
            with edge.desk(place, name) as desk:
                made = plan_stages.make_plan(
                    desk,
                    context.run.run_id,
                    ancestors=ancestors_of(context),
                    allow_mass_delete=config.allow_mass_delete,
                    dry_run=config.dry_run,
                )
            work.summary = summary = telling.plan_summary(made, run_started(context))
            tell(context, logger, [telling.plan_line(name, made)], made.warnings)
            return dg.MaterializeResult(
                metadata={
                    **shown.metrics({f"plan/{change}": number for change, number in made.counts.items()}),
                    "apply_it_with": f"imagesync apply {made.plan_id}" if made.plan_id is not None else "nothing to do",
                    "cost": telling.plan_cost(made),
                    "changes": shown.markdown_table(telling.changes(made)),
                    "held_back": shown.markdown_table(made.held.loc[:, ["key", "reason"]]),
                    "set_aside": shown.markdown_table(telling.set_aside(made)),
                    **({"plan_id": made.plan_id} if made.plan_id is not None else {}),
                    **shown.row_count(len(made.plan)),
                    **summary_metadata(summary),
                }
            )

    @dg.asset(
        **common,
        kinds={"postgres"},
        deps=[plan],
        pool=WRITE_POOL,
        retry_policy=dg.RetryPolicy(max_retries=1, delay=10),
    )
    def photo_binaries(
        context: dg.AssetExecutionContext,
        config: ApplyConfig,
        installation: InstallationResource,
        edge: EdgeResource,
        progress: dg.ResourceParam[Progress],
    ) -> dg.MaterializeResult:
        """The photos in a store's own database, bytes included: downloaded, proven, then written with their status.

        Each picture is hashed against the listed checksum and decoded to its last byte before it replaces anything; a
        bad download keeps the old picture and is tried again at the next run.
        """
        with _at_work(context, installation, edge) as (place, work, name):
            with edge.desk(place, name) as desk, edge.head_office(place.settings, name) as api:
                done = plan_stages.apply_plan(
                    desk,
                    api,
                    context.run.run_id,
                    ancestors=ancestors_of(context),
                    plan_id=config.plan_id,
                    started_at=run_started(context),
                    progress=progress,
                )
            work.summary = summary = telling.applied_summary(done, run_started(context))
            tell(context, logger, [telling.applied_line(name, done)], summary.warnings)
            return dg.MaterializeResult(
                metadata={
                    **summary_metadata(summary),
                    **shown.metrics(telling.applied_numbers(done)),
                    **shown.row_count(sum(done.note.photos.values())),
                    **shown.size_bytes(done.note.database_bytes),
                    **shown.columns(telling.PRODUCT_PHOTO_COLUMNS),
                    "statuses": shown.markdown_table(telling.statuses(done)),
                    "errors": shown.markdown_list(done.applied.errors),
                    "dagster/table_name": done.table,
                }
            )

    @dg.asset(**common, kinds={"rest"}, deps=[photo_binaries], pool=API_POOL)
    def status_report(
        context: dg.AssetExecutionContext, installation: InstallationResource, edge: EdgeResource
    ) -> dg.MaterializeResult:
        """What became of each photo, told to the head office in batches; what cannot be sent is kept for the next run.

        A head office that does not take the report never fails a synchronisation.
        """
        with _at_work(context, installation, edge) as (place, _, name):
            with edge.desk(place, name) as desk, edge.head_office(place.settings, name) as api:
                sent = stages.send_status(desk, api)
            tell(context, logger, [telling.report_line(name, sent)], sent.warnings)
            return dg.MaterializeResult(
                metadata={
                    **shown.row_count(sent.sent),
                    **shown.metrics({"report/sent": sent.sent, "report/kept": sent.left}),
                    "warnings": shown.markdown_list(sent.warnings),
                }
            )

    return [HEAD_OFFICE, photo_listing, plan, photo_binaries, status_report]


@contextmanager
def _at_work(
    context: dg.AssetExecutionContext, installation: InstallationResource, edge: EdgeResource
) -> Iterator[tuple[Installation, Stage, str]]:
    """The wrapper around a stage of one store: the installation, the stage's summary to be, the store's name."""
    with stage(context, context.asset_key, edge.secrets(installation.settings())) as work, installation.open() as place:
        yield place, work, context.partition_key
