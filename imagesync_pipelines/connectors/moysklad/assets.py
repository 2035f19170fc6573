"""The Dagster assets of this connector, thin: read the config, call a stage, tell what happened.

What belongs here: how the stages look in Dagster (keys, dependencies, partitions, pools, metadata). What does not: the
stages themselves (stages.py, plan_stages.py, apply_stages.py), what they say (telling.py).
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg

from imagesync_pipelines.connectors.moysklad import apply_stages, pictures, plan_stages, requested, stages, telling
from imagesync_pipelines.connectors.moysklad.desk import Desk
from imagesync_pipelines.connectors.moysklad.notes import MainNote
from imagesync_pipelines.connectors.moysklad.options import ApplyConfig, ChosenConfig, MainConfig, PlanConfig
from imagesync_pipelines.connectors.moysklad.queue import Queue
from imagesync_pipelines.connectors.moysklad.reading import CONNECTOR
from imagesync_pipelines.connectors.moysklad.resources import MoyskladResource
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.connectors.moysklad.sharing import read_once
from imagesync_pipelines.defs import metadata as shown
from imagesync_pipelines.defs import thumbnails
from imagesync_pipelines.defs.connector_assets import OWNERS, account_options, connector_options, tell
from imagesync_pipelines.defs.lineage import ancestors_of
from imagesync_pipelines.defs.partitions import PARTITION_TAG
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.defs.summaries import Stage, run_started, stage, summary_metadata
from imagesync_pipelines.settings import load_settings
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.sync.progress import Progress

ACCOUNTS = dg.DynamicPartitionsDefinition(name="moysklad_accounts")
# Their limits are 1 (dagster.yaml): one reading or download of the main account at a time, one child after the other.
# They limit steps; calls are paced by the rate budgets.
MAIN_POOL, CHILD_POOL = "moysklad_main", "moysklad_child"
MAIN_IMAGES = dg.AssetKey([CONNECTOR, "main_images"])
ENTITY_MAP = dg.AssetKey([CONNECTOR, "entity_map"])
PLAN = dg.AssetKey([CONNECTOR, "plan"])
CONTENT = dg.AssetKey([CONNECTOR, "content"])
CHILD_IMAGES = dg.AssetKey([CONNECTOR, "child_images"])

# Heard on a terminal only; what the UI shows goes through the context of the run.
logger = logging.getLogger("imagesync.moysklad")

MAIN_ACCOUNT = dg.AssetSpec(
    [CONNECTOR, "main_account"],
    description="The main account of МойСклад: products, bundles and variants with their images.",
    group_name=CONNECTOR,
    kinds={"rest"},
    owners=OWNERS,
)
CHILD_ACCOUNTS = dg.AssetSpec(
    [CONNECTOR, "child_accounts"],
    description="The child accounts of МойСклад: the same entities under ids of their own, images of their owners.",
    group_name=CONNECTOR,
    kinds={"rest"},
    owners=OWNERS,
)


def build_assets() -> list[Any]:
    """All Dagster assets of this connector, in the order in which data flows; each partition is a child account."""
    common: Any = connector_options(CONNECTOR, load_settings(MoyskladSettings).fresh_hours)
    by_child: Any = common | account_options(ACCOUNTS)
    retry = dg.RetryPolicy(max_retries=1, delay=10)

    @dg.asset(**common, kinds={"rest"}, deps=[MAIN_ACCOUNT], pool=MAIN_POOL, retry_policy=retry, output_required=False)
    def main_images(
        context: dg.AssetExecutionContext,
        config: MainConfig,
        installation: InstallationResource,
        moysklad: MoyskladResource,
    ) -> Iterator[dg.MaterializeResult]:
        """Products, bundles and variants of the main account with their images, all or what changed, into our mirror.

        Rows that did not come are never taken for rows that are empty. Runs that start together share one reading. The
        run of a child account whose mode is off ends here.
        """
        child = context.run.tags.get(PARTITION_TAG)
        with (
            stage(context, context.asset_key, moysklad.secrets(installation.settings())) as work,
            installation.open() as place,
        ):
            desk = moysklad.desk(place, child) if child is not None else None
            try:
                note = _read_main(context.run.run_id, config, moysklad, place, desk)
            except stages.SkippedOffError as skipped:
                work.summary = summary = telling.skipped_summary(str(skipped), run_started(context))
                tell(context, logger, (), summary.warnings)
                context.log_event(dg.AssetObservation(context.asset_key, metadata=dict(summary_metadata(summary))))
                return
            tell(context, logger, [telling.main_line(note)], note.warnings)
            yield dg.MaterializeResult(
                metadata={
                    **shown.row_count(sum(note.seen.values())),
                    **shown.metrics(telling.main_numbers(note)),
                    "complete": note.complete,
                    "unread": shown.markdown_list([f"{key}: {why}" for key, why in sorted(note.unread.items())]),
                    "warnings": shown.markdown_list(note.warnings),
                }
            )

    @dg.asset(
        **by_child, kinds={"postgres", "rest"}, deps=[main_images, CHILD_ACCOUNTS], pool=CHILD_POOL, retry_policy=retry
    )
    def entity_map(
        context: dg.AssetExecutionContext,
        config: ChosenConfig,
        installation: InstallationResource,
        moysklad: MoyskladResource,
    ) -> dg.MaterializeResult:
        """Which entity of the child account is which of the main account, by the field that the accounts file names.

        Variants are looked for within their matched product. None or several matches are reported, never guessed.
        """
        with _at_work(context, installation, moysklad) as (desk, _), moysklad.child_api(desk.place, desk.alias) as api:
            chosen = _chosen(desk, context.run.run_id, config)
            found = stages.map_entities(desk, api, context.run.run_id, chosen=chosen)
            tell(context, logger, [telling.map_line(desk.alias, found)])
            return dg.MaterializeResult(
                metadata={
                    **shown.row_count(sum(found.mapped.values())),
                    **shown.metrics(telling.map_numbers(found)),
                    "match_field": str(desk.child.match_field),
                    "unmapped": shown.markdown_table(telling.unmapped(found)),
                }
            )

    @dg.asset(**by_child, kinds={"pandas", "parquet"}, deps=[entity_map], pool=CHILD_POOL, retry_policy=retry)
    def plan(
        context: dg.AssetExecutionContext,
        config: PlanConfig,
        installation: InstallationResource,
        moysklad: MoyskladResource,
    ) -> dg.MaterializeResult:
        """What would change in the child account, image by image with its reason, and what it costs.

        Hourly compared with what we wrote, daily with the account itself. Images of its owner stay where the account
        is managed; removals pass the deletion limits.
        """
        with (
            _at_work(context, installation, moysklad) as (desk, work),
            moysklad.child_api(desk.place, desk.alias) as api,
            moysklad.main_api(desk.place) as main,
        ):
            made = plan_stages.make_plan(
                desk,
                api,
                main,
                context.run.run_id,
                ancestors=ancestors_of(context),
                chosen=_chosen(desk, context.run.run_id, config),
                check_child=config.check_child,
                allow_mass_delete=config.allow_mass_delete,
                dry_run=config.dry_run,
            )
            work.summary = summary = telling.plan_summary(made, run_started(context))
            tell(context, logger, [telling.plan_line(desk.alias, made)], made.warnings)
            return dg.MaterializeResult(
                metadata={
                    **shown.metrics(telling.plan_numbers(made)),
                    "plan_id": made.plan_id,
                    "apply_it_with": f"imagesync apply {made.plan_id}",
                    "mode": str(desk.child.mode),
                    "ownership": str(desk.child.ownership),
                    "cost": telling.plan_cost(made),
                    "changes": shown.markdown_table(telling.changes(made)),
                    "held_back": shown.markdown_table(made.planned.held.loc[:, ["key", "reason"]]),
                    "skipped": shown.markdown_list(list(dict.fromkeys(made.planned.skipped.values()))),
                    **shown.row_count(len(made.plan)),
                    **summary_metadata(summary),
                }
            )

    @dg.asset(**by_child, kinds={"file", "rest"}, deps=[plan], pool=MAIN_POOL, retry_policy=retry)
    def content(
        context: dg.AssetExecutionContext,
        config: ApplyConfig,
        installation: InstallationResource,
        moysklad: MoyskladResource,
        progress: dg.ResourceParam[Progress],
    ) -> dg.MaterializeResult:
        """The pictures that the plan needs, each downloaded once for all child accounts, decoded whole, kept by hash.

        What is too large for the account is not downloaded; a picture that cannot be had stops no other.
        """
        with _at_work(context, installation, moysklad) as (desk, _), moysklad.main_api(desk.place) as main:
            note = apply_stages.fetch_content(
                desk,
                main,
                context.run.run_id,
                ancestors=ancestors_of(context),
                plan_id=config.plan_id,
                progress=progress,
            )
            tell(context, logger, telling.content_lines(desk.alias, note), [note.stopped] if note.stopped else ())
            labels, fetch = pictures.of_plan(desk, note.plan_id, thumbnails.SHOWN)
            return dg.MaterializeResult(
                metadata={
                    **shown.row_count(note.disk_count),
                    **shown.size_bytes(note.disk_bytes),
                    **shown.metrics(telling.content_numbers(note)),
                    "failed": shown.markdown_list([f"{key}: {why}" for key, why in sorted(note.failed.items())]),
                    "pictures": thumbnails.from_urls(labels, fetch),
                    "stopped": note.stopped or "-",
                }
            )

    @dg.asset(**by_child, kinds={"rest"}, deps=[content], pool=CHILD_POOL, retry_policy=retry)
    def child_images(
        context: dg.AssetExecutionContext,
        config: ApplyConfig,
        installation: InstallationResource,
        moysklad: MoyskladResource,
        progress: dg.ResourceParam[Progress],
    ) -> dg.MaterializeResult:
        """The lists of images of the child account's entities, as the plan has them: one call per changed entity.

        A bad image stops no entity, a bad entity no account; what is skipped is told with its reason and tried again.
        """
        run_id, ancestors = context.run.run_id, ancestors_of(context)
        with (
            _at_work(context, installation, moysklad) as (desk, work),
            moysklad.child_api(desk.place, desk.alias) as api,
        ):
            done = apply_stages.apply_plan(
                desk, api, run_id, ancestors=ancestors, plan_id=config.plan_id, progress=progress
            )
            requested.settle_requests(desk, run_id, done, ancestors=ancestors)
            work.summary = summary = telling.applied_summary(done, run_started(context))
            tell(context, logger, telling.applied_lines(desk.alias, done), summary.warnings)
            queue = Queue(desk.place.engine).view()
            return dg.MaterializeResult(
                metadata={
                    **summary_metadata(summary),
                    **shown.metrics({**telling.applied_numbers(done), **telling.queue_numbers(queue)}),
                    **shown.row_count(done.applied.kept + done.applied.added + done.applied.updated),
                    "skipped": shown.markdown_table(telling.skipped(done)),
                    "queue_errors": shown.markdown_table(telling.queue_errors(queue)),
                    "stopped": done.stopped or "-",
                }
            )

    return [MAIN_ACCOUNT, CHILD_ACCOUNTS, main_images, entity_map, plan, content, child_images]


def _read_main(
    run_id: str, config: MainConfig, moysklad: MoyskladResource, place: Installation, desk: Desk | None
) -> MainNote:
    """Read the main account for a run of a child account, or (None) for itself. Raises SkippedOffError."""
    if desk is not None:
        stages.refuse_off(desk)
        if config.requests:
            requested.take_requests(desk, run_id)
    keys = requested.chosen_keys(config.entity_type, config.entity)
    keys = requested.requested(desk, run_id) if desk is not None and config.requests else keys
    main = moysklad.main_desk(place)

    def read() -> MainNote:
        with moysklad.main_api(place) as api:
            return stages.read_main(main, api, run_id, full=config.full, keys=keys)

    return read_once(main, run_id, config.since, read) if config.since else read()


def _chosen(desk: Desk, run_id: str, config: ChosenConfig) -> stages.Chosen:
    """The entities that the run is about."""
    if config.requests:
        keys = requested.requested(desk, run_id)
        return stages.Chosen(keys=keys) if keys else requested.NOTHING
    return requested.chosen(config.entity_type, config.entity)


@contextmanager
def _at_work(
    context: dg.AssetExecutionContext, installation: InstallationResource, moysklad: MoyskladResource
) -> Iterator[tuple[Desk, Stage]]:
    """The wrapper around a stage of one child account: what the stages work with, and the stage's summary to be."""
    with (
        stage(context, context.asset_key, moysklad.secrets(installation.settings())) as work,
        installation.open() as place,
    ):
        yield moysklad.desk(place, context.partition_key), work
