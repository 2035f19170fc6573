"""The Dagster assets of the image database, thin: read the configuration, call the connector, return metadata.

What belongs here: names, descriptions, metadata. What does not: the work (stages.py, plan_stages.py, pages.py), a run's
options (options.py), checks (checks.py), and when things run (automation.py).
"""

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import dagster as dg

from imagesync_pipelines.connectors.image_db import pages, plan_stages, stages, telling
from imagesync_pipelines.connectors.image_db.batch import Batches
from imagesync_pipelines.connectors.image_db.options import (
    ApplyConfig,
    ErpConfig,
    PagesConfig,
    PlanConfig,
    RecordsConfig,
)
from imagesync_pipelines.connectors.image_db.resources import ImageDbResource
from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings
from imagesync_pipelines.defs import metadata as shown
from imagesync_pipelines.defs import partitions, thumbnails
from imagesync_pipelines.defs.connector_assets import OWNERS, connector_options, tell
from imagesync_pipelines.defs.lineage import ancestors_of
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.defs.summaries import run_started, stage, summary_metadata
from imagesync_pipelines.products.exports.files import write_exports
from imagesync_pipelines.settings import load_settings
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.sync.progress import Progress

CONNECTOR = "image_db"
PAGES = dg.DynamicPartitionsDefinition(name="image_db_pages")
API_POOL = "image_db_api"
WRITE_POOL = "image_db_write"
RESET_PAGES = "imagesync image-db reset-pages"

# Heard on a terminal only; what the UI shows goes through the context of the run.
logger = logging.getLogger("imagesync.image_db")

SOURCE = dg.AssetSpec(
    [CONNECTOR, "source"],
    description="The image database: records of pictures with their exports and the articles they show (HTTP API).",
    group_name=CONNECTOR,
    kinds={"rest", "json"},
    owners=OWNERS,
)
ERP = dg.AssetSpec(
    [CONNECTOR, "erp"],
    description="The ERP: parent products and variants, from SQL or from files.",
    group_name=CONNECTOR,
    kinds={"erp"},
    owners=OWNERS,
)


def build_assets() -> list[Any]:
    """All Dagster assets of this connector, in the order in which data flows."""
    common: Any = connector_options(CONNECTOR, load_settings(ImageDbSettings).image_db_fresh_hours)

    @dg.asset(**common, kinds={"postgres", "erp"}, deps=[ERP], retry_policy=dg.RetryPolicy(max_retries=1, delay=5))
    def erp_products(
        context: dg.AssetExecutionContext,
        config: ErpConfig,
        installation: InstallationResource,
        image_db: ImageDbResource,
    ) -> dg.MaterializeResult:
        """The ERP's products, parents and variants, in our product table.

        Rows that cannot be used are set aside with their reason. A product that the ERP no longer has becomes inactive
        and is never deleted; an ERP that gives nothing, or far fewer products than before, changes nothing.
        """
        settings = image_db.settings()
        with stage(context, context.asset_key, pages.secrets(settings)), installation.open() as place:
            done = stages.take_over_products(place, settings, allow_mass_delete=config.allow_mass_delete)
            tell(context, logger, [telling.products_line(done)], done.warnings)
            return dg.MaterializeResult(
                metadata={
                    **shown.row_count(done.written.total),
                    **shown.metrics(
                        {
                            "products/added": done.written.added,
                            "products/updated": done.written.updated,
                            "products/deactivated": done.written.deactivated,
                            "products/set_aside": len(done.set_aside),
                        }
                    ),
                    "warnings": shown.markdown_list(done.warnings),
                    "set_aside": shown.markdown_table(done.set_aside),
                }
            )

    @dg.asset(
        **common,
        kinds={"rest", "json"},
        deps=[SOURCE],
        partitions_def=PAGES,
        backfill_policy=dg.BackfillPolicy.single_run(),
        pool=API_POOL,
        retry_policy=dg.RetryPolicy(max_retries=1, delay=10),
    )
    def api_pages(
        context: dg.AssetExecutionContext,
        config: PagesConfig,
        installation: InstallationResource,
        image_db: ImageDbResource,
        progress: dg.ResourceParam[Progress],
    ) -> dg.MaterializeResult:
        """The API's pages as received, compressed, in blocks of consecutive pages.

        All blocks together are a new scan, repeated when it does not prove to be complete. Some blocks alone are read
        again into the latest scan, which then proves nothing until the next one: removals wait, the rest goes on.
        """
        settings = image_db.settings()
        with stage(context, context.asset_key, pages.secrets(settings)), installation.open() as place:
            blocks = list(context.partition_keys)
            known = context.instance.get_dynamic_partitions(str(PAGES.name))
            partitions.check_block_size(known, settings.image_db_pages_per_block, RESET_PAGES)
            everything = blocks == sorted(known)
            size = config.page_size or settings.image_api_page_size
            reader = pages.Reader(place.engine, place.storage, settings, size, progress)
            with image_db.session(place.settings, context.log.warning) as session:
                if everything:
                    landed = pages.read_all(reader, session)
                else:
                    landed = pages.read_spans(reader, session, [partitions.block_pages(block) for block in blocks])
            tell(context, logger, [landed.sentence()], landed.notes)
            grown = _add_grown_blocks(context, landed, settings) if everything else []
            spans = {block: partitions.block_pages(block) for block in [*blocks, *grown]}
            partitions.report_partitions(context, *pages.by_block(landed, spans))
            return dg.MaterializeResult()

    @dg.asset(
        **common,
        kinds={"python", "parquet"},
        deps=[api_pages],
        pool=API_POOL,
        retry_policy=dg.RetryPolicy(max_retries=1, delay=10),
    )
    def records(
        context: dg.AssetExecutionContext,
        config: RecordsConfig,
        installation: InstallationResource,
        image_db: ImageDbResource,
        progress: dg.ResourceParam[Progress],
    ) -> dg.MaterializeResult:
        """Validated records, canonical and each once, with the proof that the scan was complete (or why not).

        A record that does not validate goes to quarantine with its reason; the others go on.
        """
        settings = image_db.settings()
        with stage(context, context.asset_key, pages.secrets(settings)), installation.open() as place:
            part = stages.Part(
                limit=config.limit,
                skip_pages=config.skip_pages,
                page_size=config.page_size,
                skus=tuple(config.skus),
                external_ids=tuple(config.external_ids),
            )
            made = stages.make_records(
                place,
                settings,
                part,
                context.run.run_id,
                lambda: image_db.session(place.settings, context.log.warning),
                progress,
            )
            about = made.about
            tell(context, logger, [made.landed.sentence()] if made.landed is not None else [], about.warnings)
            if made.landed is not None:
                keys = partitions.page_blocks(max(made.landed.pages, default=0), settings.image_db_pages_per_block)
                known = set(context.instance.get_dynamic_partitions(str(PAGES.name)))
                spans = {block: partitions.block_pages(block) for block in keys if block in known}
                partitions.log_landed(
                    context, dg.AssetKey([CONNECTOR, "api_pages"]), pages.whole_blocks(made.landed, spans)
                )
            size = Batches(place.storage).records(context.run.run_id).stat().st_size
            return dg.MaterializeResult(
                metadata={
                    **shown.row_count(about.records),
                    **shown.size_bytes(size),
                    **shown.metrics(
                        {
                            "records/valid": about.records,
                            "records/rejected": len(about.rejects),
                            "records/repeated": about.repeated,
                            "records/conflicts": about.conflicts,
                        }
                    ),
                    "scan": about.scan_id,
                    "scan_is_complete": about.complete,
                    "scan_is_incomplete_because": about.reason or "-",
                    "rejects": shown.markdown_table(stages.rejects_frame(about)),
                }
            )

    @dg.asset(**common, kinds={"pandas", "parquet"}, deps=[records, erp_products])
    def plan(
        context: dg.AssetExecutionContext,
        config: PlanConfig,
        installation: InstallationResource,
        image_db: ImageDbResource,
    ) -> dg.MaterializeResult:
        """What would change in product_image, row by row with its reason; nothing is changed yet.

        Removals need the proof of a complete scan and pass the deletion limits; what is held back is listed.
        """
        with stage(context, context.asset_key) as work, installation.open() as place:
            made = plan_stages.make_plan(
                place,
                image_db.settings(),
                context.run.run_id,
                ancestors=ancestors_of(context),
                force=config.force,
                allow_mass_delete=config.allow_mass_delete,
                dry_run=config.dry_run,
            )
            work.summary = telling.plan_summary(made, run_started(context))
            tell(context, logger, telling.plan_lines(made), made.warnings)
            if logger.isEnabledFor(logging.DEBUG):
                _tell_each_image(telling.match_lines(made))
            fetch = telling.picture_fetcher(place.settings)
            return dg.MaterializeResult(
                metadata={
                    **shown.metrics({f"plan/{name}": number for name, number in made.counts().items()}),
                    "apply_it_with": f"imagesync apply {made.plan_id}",
                    "cost": telling.plan_cost(made),
                    "changes": shown.markdown_table(telling.changes(made)),
                    "pictures": thumbnails.from_urls(telling.pictures(place, made, thumbnails.SHOWN), fetch),
                    "held_back": shown.markdown_table(made.held.loc[:, ["key", "reason"]]),
                    "matched_by": shown.markdown_table(telling.matched_by(made)),
                    "unmatched": len(made.planned.unmatched),
                    "plan_id": made.plan_id,
                    **shown.row_count(len(made.plan)),
                    **summary_metadata(work.summary),
                }
            )

    @dg.asset(
        **common,
        kinds={"postgres"},
        deps=[plan],
        pool=WRITE_POOL,
        output_required=False,
        retry_policy=dg.RetryPolicy(max_retries=1, delay=10),
    )
    def product_images(
        context: dg.AssetExecutionContext,
        config: ApplyConfig,
        installation: InstallationResource,
        image_db: ImageDbResource,
        progress: dg.ResourceParam[Progress],
    ) -> Iterator[dg.MaterializeResult]:
        """The images of every product as shops and the ERP show them: the plan, applied product by product.

        A product whose images changed since the plan is refused and planned again next time; a row that the database
        does not take goes to quarantine, the others go on. Exactly one image per product is primary; a pin stays.
        """
        if config.dry_run:
            context.log.info("Dry run: nothing was applied; see the plan.")
            return
        with stage(context, context.asset_key) as work, installation.open() as place:
            done = plan_stages.apply_plan(
                place,
                image_db.settings(),
                context.run.run_id,
                ancestors=ancestors_of(context),
                plan_id=config.plan_id,
                replan=config.replan,
                progress=progress,
            )
            work.summary = summary = telling.applied_summary(done, run_started(context))
            tell(context, logger, [telling.applied_line(done)], summary.warnings)
            if logger.isEnabledFor(logging.DEBUG):
                _tell_each_image(telling.row_lines(Plans(place.engine, place.storage).load(done.header.id)))
            yield dg.MaterializeResult(
                metadata={
                    **summary_metadata(summary),
                    **shown.row_count(done.rows),
                    **shown.columns(telling.PRODUCT_IMAGE_COLUMNS),
                    "plan_id": done.header.id,
                    "unmatched_articles": int(done.header.scope.get("unmatched", 0)),
                    "errors": shown.markdown_list(done.applied.errors),
                    "dagster/table_name": "imagesync.product_image",
                }
            )

    @dg.asset(**common, kinds={"postgres", "table"}, deps=[plan])
    def unmatched_articles(
        context: dg.AssetExecutionContext, installation: InstallationResource, image_db: ImageDbResource
    ) -> dg.MaterializeResult:
        """Article numbers that no product has, with the nearest candidates, and images without any article.

        The list for a product manager: each line is a number to correct in the image database or in the ERP.
        """
        with stage(context, context.asset_key), installation.open() as place:
            found = plan_stages.write_unmatched(place, context.run.run_id, ancestors=ancestors_of(context))
            return dg.MaterializeResult(
                metadata={
                    **shown.row_count(len(found.unmatched)),
                    **shown.metrics({"articles/unmatched": len(found.unmatched), "images/unused": len(found.unused)}),
                    "unmatched": shown.markdown_table(telling.unmatched(found)),
                    "unused": shown.markdown_table(found.unused.loc[:, ["external_id", "image_type", "reason"]]),
                    "dagster/table_name": "imagesync.unmatched_article",
                }
            )

    @dg.asset(**common, kinds={"csv", "parquet"}, deps=[product_images])
    def export(
        context: dg.AssetExecutionContext, installation: InstallationResource, image_db: ImageDbResource
    ) -> dg.MaterializeResult:
        """The images that are shown for every product, as files for other systems: CSV, NDJSON, Parquet, Merchant feed.

        All files are of one moment, and each is replaced whole or not at all.
        """
        with stage(context, context.asset_key), installation.open() as place:
            first = image_db.settings().image_db_own_images_first
            done = write_exports(place.engine, place.storage, own_images_first=first)
            return dg.MaterializeResult(
                metadata={
                    **shown.row_count(done.rows),
                    **shown.size_bytes(sum(done.sizes.values())),
                    "files": shown.markdown_list([f"{path}: {size:,} bytes" for path, size in done.sizes.items()]),
                }
            )

    return [SOURCE, ERP, erp_products, api_pages, records, plan, product_images, unmatched_articles, export]


def _tell_each_image(lines: Iterable[str]) -> None:
    """Lines about single images: an event each would cost more than the image itself."""
    for line in lines:
        logger.debug(line)


def _add_grown_blocks(context: dg.AssetExecutionContext, landed: pages.Landed, settings: ImageDbSettings) -> list[str]:
    """Add partitions for pages that came into being while the scan was under way, and give their keys."""
    known = context.instance.get_dynamic_partitions(str(PAGES.name))
    last = max([*landed.pages, *landed.failed], default=1)
    wanted = partitions.page_blocks(last, settings.image_db_pages_per_block)
    added = partitions.missing_blocks(known, wanted)
    if added:
        context.instance.add_dynamic_partitions(str(PAGES.name), added)
    return added
