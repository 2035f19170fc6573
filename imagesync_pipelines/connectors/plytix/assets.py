"""The Dagster assets of this connector, thin: read the config, call a stage, tell what happened.

What belongs here: how the stages look in Dagster (keys, dependencies, partitions, pools, metadata). What does not: the
stages themselves (stages.py), what they say (telling.py).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from imagesync_pipelines.connectors.plytix import apply_stages, pictures, plan_stages, stages, telling
from imagesync_pipelines.connectors.plytix.desk import Desk
from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR
from imagesync_pipelines.connectors.plytix.options import ApplyConfig, ListingsConfig, PlanConfig
from imagesync_pipelines.connectors.plytix.resources import PlytixResource
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.defs import metadata as shown
from imagesync_pipelines.defs import thumbnails
from imagesync_pipelines.defs.connector_assets import OWNERS, account_options, connector_options, tell
from imagesync_pipelines.defs.lineage import ancestors_of
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.defs.summaries import Stage, run_started, stage, summary_metadata
from imagesync_pipelines.settings import load_settings
from imagesync_pipelines.sync.progress import Progress

ACCOUNTS = dg.DynamicPartitionsDefinition(name="plytix_accounts")
# Its limit is 1 (dagster.yaml): one account after the other. It limits steps; calls are paced by the rate budget.
API_POOL = "plytix_api"
IMAGES = dg.AssetKey([CONNECTOR, "images"])
PRODUCTS = dg.AssetKey([CONNECTOR, "products"])
PLAN = dg.AssetKey([CONNECTOR, "plan"])

# A run that stopped because the account's calls were used up tells here when it can go on; the sensor reads it.
GOES_ON_TAG = "imagesync/goes_on_at"

# Heard on a terminal only; what the UI shows goes through the context of the run.
logger = logging.getLogger("imagesync.plytix")

AMAZON = dg.AssetSpec(
    [CONNECTOR, "amazon"],
    description="Amazon's listings: mapping files made from them, and the catalogue API with their images now.",
    group_name=CONNECTOR,
    kinds={"json", "rest"},
    owners=OWNERS,
)
PIM = dg.AssetSpec(
    [CONNECTOR, "pim"],
    description="Plytix, the PIM: products, the assets in its library, and the galleries that show them.",
    group_name=CONNECTOR,
    kinds={"rest"},
    owners=OWNERS,
)


def build_assets() -> list[Any]:
    """All Dagster assets of this connector, in the order in which data flows; each partition is a Plytix account."""
    common: Any = connector_options(CONNECTOR, load_settings(PlytixSettings).fresh_hours) | account_options(ACCOUNTS)
    retry = dg.RetryPolicy(max_retries=1, delay=10)

    @dg.asset(**common, kinds={"json", "rest"}, deps=[AMAZON], retry_policy=retry)
    def listings(
        context: dg.AssetExecutionContext,
        config: ListingsConfig,
        installation: InstallationResource,
        plytix: PlytixResource,
    ) -> dg.MaterializeResult:
        """Amazon's products and their images, from a mapping file or from Amazon's catalogue as it is now.

        Entries that cannot be used are set aside with their reasons; a file that is no mapping file stops the run.
        """
        with _at_work(context, installation, plytix) as (desk, _):
            read = stages.take_listings(
                desk,
                context.run.run_id,
                mapping=config.mapping,
                live=config.live,
                marketplace=config.marketplace,
                skus=config.skus,
            )
            tell(context, logger, [telling.listing_line(desk.account, read)], read.warnings)
            return dg.MaterializeResult(
                metadata={
                    **shown.row_count(len(read.items)),
                    **shown.metrics({"listings/entries": read.entries, "listings/set_aside": len(read.set_aside)}),
                    "source": read.source,
                    "shape": read.shape,
                    "marketplace": read.marketplace or "all",
                    "catalogue_calls": read.calls,
                    "set_aside": shown.markdown_table(telling.set_aside(read.set_aside)),
                    "missing_at_amazon": shown.markdown_list(read.missing),
                    "warnings": shown.markdown_list(read.warnings),
                }
            )

    @dg.asset(**common, kinds={"pandas"}, deps=[listings])
    def images(
        context: dg.AssetExecutionContext, installation: InstallationResource, plytix: PlytixResource
    ) -> dg.MaterializeResult:
        """One picture per marketplace and variant, the largest, in Amazon's order; MAIN is to be the thumbnail.

        The same picture has one key, whatever host, size and spelling its addresses have.
        """
        with _at_work(context, installation, plytix) as (desk, _):
            chosen = stages.choose_images(desk, context.run.run_id, ancestors=ancestors_of(context))
            tell(context, logger, [telling.images_line(desk.account, chosen)], chosen.warnings)
            return dg.MaterializeResult(
                metadata={
                    **shown.row_count(sum(len(listing.images) for listing in chosen.listings)),
                    **shown.metrics(telling.images_numbers(chosen)),
                    "listings": shown.markdown_table(telling.listings_table(chosen)),
                    "set_aside": shown.markdown_table(telling.set_aside(chosen.set_aside)),
                }
            )

    @dg.asset(**common, kinds={"rest"}, deps=[images, PIM], pool=API_POOL, retry_policy=retry)
    def products(
        context: dg.AssetExecutionContext, installation: InstallationResource, plytix: PlytixResource
    ) -> dg.MaterializeResult:
        """The products in Plytix: id, thumbnail and gallery, up to 100 of them a call; only the very SKU counts.

        What a run that was killed left open is settled here; assets that our ledger does not know are recognised by
        their file names.
        """
        with _at_work(context, installation, plytix) as (desk, _), plytix.pim(desk.place, desk.account) as api:
            read = stages.read_products(desk, api, context.run.run_id, ancestors=ancestors_of(context))
            tell(context, logger, [telling.products_line(desk.account, read)])
            return dg.MaterializeResult(
                metadata={
                    **shown.row_count(len(read.products)),
                    **shown.metrics({"products/unknown": len(read.unknown), "api/calls": read.calls}),
                    "unknown_products": shown.markdown_list(read.unknown),
                    "recognised_assets": read.recognised,
                    "stopped": read.stopped or "-",
                }
            )

    @dg.asset(**common, kinds={"pandas", "parquet"}, deps=[products], pool=API_POOL)
    def plan(
        context: dg.AssetExecutionContext,
        config: PlanConfig,
        installation: InstallationResource,
        plytix: PlytixResource,
    ) -> dg.MaterializeResult:
        """What would change in Plytix, image by image with its reason, and what it costs; nothing is changed yet.

        Images that people added keep their place; removals need the setting for them and pass the deletion limits.
        """
        with _at_work(context, installation, plytix) as (desk, work), plytix.pim(desk.place, desk.account) as api:
            made = plan_stages.make_plan(
                desk,
                api,
                context.run.run_id,
                ancestors=ancestors_of(context),
                dry_run=config.dry_run,
                skip_existing=config.skip_existing,
                force_reupload=config.force_reupload,
                allow_mass_delete=config.allow_mass_delete,
            )
            work.summary = summary = telling.plan_summary(made, run_started(context))
            tell(context, logger, [telling.plan_line(desk.account, made)], made.warnings)
            fetch = pictures.picture_fetcher(desk.place.settings)
            return dg.MaterializeResult(
                metadata={
                    **plan_metadata(made),
                    "pictures": thumbnails.from_urls(telling.pictures(made, desk.settings, thumbnails.SHOWN), fetch),
                    "left_in_plytix": shown.markdown_table(telling.calls_left(made)),
                    **summary_metadata(summary),
                }
            )

    @dg.asset(**common, kinds={"rest"}, deps=[plan], pool=API_POOL, retry_policy=retry)
    def assets(
        context: dg.AssetExecutionContext,
        config: ApplyConfig,
        installation: InstallationResource,
        plytix: PlytixResource,
        progress: dg.ResourceParam[Progress],
    ) -> dg.MaterializeResult:
        """The pictures of the plan in Plytix's library: uploaded by URL, each one once, whoever shows it.

        A picture that Plytix does not take stops no other; one that is there already is used as it is.
        """
        with _at_work(context, installation, plytix) as (desk, _), plytix.pim(desk.place, desk.account) as api:
            done = apply_stages.upload_assets(
                desk,
                api,
                context.run.run_id,
                ancestors=ancestors_of(context),
                plan_id=config.plan_id,
                progress=progress,
            )
            tell(context, logger, [telling.uploads_line(desk.account, done)])
            return dg.MaterializeResult(
                metadata={
                    **shown.row_count(done.uploaded + done.existed),
                    **shown.metrics(telling.uploads_numbers(done)),
                    "failed": shown.markdown_list([f"{key}: {why}" for key, why in sorted(done.failed.items())]),
                    "stopped": done.stopped or "-",
                }
            )

    @dg.asset(**common, kinds={"rest"}, deps=[assets], pool=API_POOL, retry_policy=retry)
    def product_images(
        context: dg.AssetExecutionContext,
        config: ApplyConfig,
        installation: InstallationResource,
        plytix: PlytixResource,
        progress: dg.ResourceParam[Progress],
    ) -> dg.MaterializeResult:
        """Galleries and thumbnails of the products in Plytix, as the plan has them, and the report of the run.

        One product is written by one worker; when the account's calls are used up, the rest waits for the next run.
        """
        with _at_work(context, installation, plytix) as (desk, work), plytix.pim(desk.place, desk.account) as api:
            done = apply_stages.apply_plan(
                desk,
                api,
                context.run.run_id,
                ancestors=ancestors_of(context),
                plan_id=config.plan_id,
                progress=progress,
            )
            work.summary = summary = telling.applied_summary(done, run_started(context))
            tell(context, logger, [telling.applied_line(desk.account, done)], summary.warnings)
            if done.goes_on_at is not None:
                context.instance.add_run_tags(context.run.run_id, {GOES_ON_TAG: done.goes_on_at.isoformat()})
            return dg.MaterializeResult(
                metadata={
                    **summary_metadata(summary),
                    **shown.metrics(telling.report_numbers(done.report)),
                    **shown.row_count(done.applied.kept + done.applied.added + done.applied.updated),
                    "report": dg.MetadataValue.json(telling.bounded(done.report)),
                    "errors": shown.markdown_table(telling.errors(done.report)),
                    "token_calls": done.token_calls,
                    "stopped": done.stopped or "-",
                }
            )

    return [AMAZON, PIM, listings, images, products, plan, assets, product_images]


def plan_metadata(made: plan_stages.PlanMade) -> dict[str, Any]:
    """What the UI shows of a plan, whichever job made it."""
    return {
        **shown.metrics({f"plan/{change}": number for change, number in made.planned.counts().items()}),
        "plan_id": made.plan_id,
        "apply_it_with": f"imagesync apply {made.plan_id}",
        "cost": telling.plan_cost(made),
        "changes": shown.markdown_table(telling.changes(made)),
        "held_back": shown.markdown_table(made.planned.held.loc[:, ["key", "reason"]]),
        "unknown_products": shown.markdown_list(made.planned.unknown),
        "skipped_products": shown.markdown_list(made.planned.skipped),
        "wrong_order": shown.markdown_list(made.planned.wrong_order),
        "report": dg.MetadataValue.json(telling.bounded(made.report)),
        **shown.row_count(len(made.plan)),
    }


@contextmanager
def _at_work(
    context: dg.AssetExecutionContext, installation: InstallationResource, plytix: PlytixResource
) -> Iterator[tuple[Desk, Stage]]:
    """The wrapper around a stage of one account: what the stages work with, and the stage's summary to be."""
    with (
        stage(context, context.asset_key, plytix.secrets(installation.settings())) as work,
        installation.open() as place,
    ):
        yield plytix.desk(place, context.partition_key), work
