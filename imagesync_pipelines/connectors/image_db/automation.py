"""Jobs, schedule and sensor of the image database, side by side, and how each of them starts a run.

What belongs here: which Dagster assets run together, when, with which configuration and for which pages. What does not:
the Dagster assets themselves (assets.py) and what they do.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from imagesync_pipelines.connectors.image_db import api
from imagesync_pipelines.connectors.image_db.assets import CONNECTOR, PAGES, RESET_PAGES
from imagesync_pipelines.connectors.image_db.resources import ImageDbResource
from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings, missing_variables
from imagesync_pipelines.defs import partitions
from imagesync_pipelines.defs.launching import JobRun
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.raw_pages import RawPages
from imagesync_pipelines.upstream.errors import UpstreamError

SYNC_JOB = "image_db__sync"
DRY_RUN_JOB = "image_db__dry_run"
PARTIAL_JOB = "image_db__partial"

logger = logging.getLogger("imagesync.image_db")

_CONNECTOR = dg.AssetSelection.groups(CONNECTOR)
_PAGES = dg.AssetSelection.assets([CONNECTOR, "api_pages"])
_UNMATCHED = dg.AssetSelection.assets([CONNECTOR, "unmatched_articles"])
_PLAN = dg.AssetSelection.assets([CONNECTOR, "plan"])


@dataclass(frozen=True)
class SyncOptions:
    """What a person may ask of one synchronisation; see runs.sync_image_db."""

    dry_run: bool = False
    limit: int | None = None
    skip_pages: int = 0
    page_size: int | None = None
    force: bool = False
    skus: tuple[str, ...] = ()
    allow_mass_delete: bool = False


@dataclass(frozen=True)
class Discovered:
    """What discovery found: pages at the source, all block keys now, those added and removed."""

    pages: int
    blocks: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]

    def sentence(self) -> str:
        """What was found, for a tick of the sensor and for a terminal."""
        changed = f"added {len(self.added)}, removed {len(self.removed)}"
        return f"{self.pages} pages in {len(self.blocks)} blocks; {changed}."


def plan_run(instance: dg.DagsterInstance, options: SyncOptions, image_db: ImageDbResource, shared: Settings) -> JobRun:
    """The run that does what was asked: all pages in one range, or a part of them without partitions."""
    ops: dict[str, Any] = {
        f"{CONNECTOR}__plan": {
            "config": {
                "force": options.force,
                "allow_mass_delete": options.allow_mass_delete,
                "dry_run": options.dry_run,
            }
        },
        f"{CONNECTOR}__erp_products": {"config": {"allow_mass_delete": options.allow_mass_delete}},
    }
    if options.skus or options.limit is not None or options.skip_pages:
        ops[f"{CONNECTOR}__records"] = {
            "config": {
                "limit": options.limit,
                "skip_pages": options.skip_pages,
                "page_size": options.page_size,
                "skus": list(options.skus),
            }
        }
        ops[f"{CONNECTOR}__product_images"] = {"config": {"dry_run": options.dry_run}}
        return JobRun(PARTIAL_JOB, {"ops": ops})
    ops[f"{CONNECTOR}__api_pages"] = {"config": {"page_size": options.page_size}}
    blocks = known_blocks(instance, image_db, shared)
    tags = partitions.range_tags(blocks[0], blocks[-1])
    return JobRun(DRY_RUN_JOB if options.dry_run else SYNC_JOB, {"ops": ops}, tags)


def apply_run(plan_id: int, *, replan: bool) -> JobRun:
    """The run that applies a stored plan."""
    config = {"plan_id": plan_id, "replan": replan}
    return JobRun(
        PARTIAL_JOB,
        {"ops": {f"{CONNECTOR}__product_images": {"config": config}}},
        {},
        ((CONNECTOR, "product_images"), (CONNECTOR, "export")),
    )


def replay_run(external_ids: Sequence[str]) -> JobRun:
    """The run that tries images again from the stored pages."""
    return JobRun(PARTIAL_JOB, {"ops": {f"{CONNECTOR}__records": {"config": {"external_ids": list(external_ids)}}}})


def known_blocks(instance: dg.DagsterInstance, image_db: ImageDbResource, shared: Settings) -> tuple[str, ...]:
    """The blocks for a run over everything, fresh from the API, or as last known when it cannot be asked.

    A source that is down must not keep the run from starting: the run itself then fails, is recorded and alerted.
    """
    try:
        return discover_pages(instance, image_db, shared).blocks
    except (UpstreamError, api.BadPageError):
        known = instance.get_dynamic_partitions(str(PAGES.name))
        if known:
            return tuple(known)
        first = partitions.block_key(1, image_db.settings().image_db_pages_per_block)
        instance.add_dynamic_partitions(str(PAGES.name), [first])
        return (first,)


def discover_pages(instance: dg.DagsterInstance, image_db: ImageDbResource, shared: Settings) -> Discovered:
    """Ask the API for its first page and make the page partitions equal to what that page predicts.

    Blocks beyond the end are removed unless an unfinished run may still write them. Raises BadBlockError when the block
    size was changed, and the session's errors.
    """
    settings = image_db.settings()
    existing = instance.get_dynamic_partitions(str(PAGES.name))
    partitions.check_block_size(existing, settings.image_db_pages_per_block, RESET_PAGES)
    with image_db.session(shared, logger.warning) as session:
        page = api.fetch_page(session, 1, settings.image_api_page_size)
    pages = max(1, -(-page.api_count // page.length)) if page.length else 1
    wanted = partitions.page_blocks(pages, settings.image_db_pages_per_block)
    added = partitions.missing_blocks(existing, wanted)
    if added:
        instance.add_dynamic_partitions(str(PAGES.name), added)
    extra = partitions.extra_blocks(existing, wanted)
    removed = [block for block in extra if block not in partitions.blocks_in_flight(instance, extra)]
    for block in removed:
        instance.delete_dynamic_partition(str(PAGES.name), block)
    blocks = tuple(sorted({*existing, *added} - set(removed)))
    return Discovered(pages, blocks, tuple(added), tuple(removed))


def reset_pages(installation: Installation, instance: dg.DagsterInstance) -> int:
    """Forget all page partitions and stored pages; returns how many partitions there were. RefusedError under a run."""
    blocks = instance.get_dynamic_partitions(str(PAGES.name))
    busy = partitions.blocks_in_flight(instance, blocks)
    if busy:
        raise SettingsError(
            f"a run is still reading pages {', '.join(sorted(busy)[:3])} …; wait for it or terminate it"
        )
    for block in blocks:
        instance.delete_dynamic_partition(str(PAGES.name), block)
    RawPages(installation.engine, installation.storage, CONNECTOR).prune(keep_scans=0)
    return len(blocks)


def build_jobs() -> list[Any]:
    """The jobs of this connector; all of them run in one process."""
    return [
        dg.define_asset_job(
            SYNC_JOB,
            selection=_CONNECTOR,
            description="Read all pages, plan, apply the plan. Choose all partitions: a part of them never removes.",
        ),
        dg.define_asset_job(
            DRY_RUN_JOB,
            selection=_PLAN.upstream() & _CONNECTOR,
            config={"ops": {f"{CONNECTOR}__plan": {"config": {"dry_run": True}}}},
            description="Read all pages and plan; nothing is written to product_image. Apply it later with its number.",
        ),
        dg.define_asset_job(
            PARTIAL_JOB,
            selection=_CONNECTOR - _PAGES - _UNMATCHED,
            description="Chosen pages (limit, skip_pages), products (skus) or images (external_ids); never removes.",
        ),
    ]


def build_schedule(shared: Settings, settings: ImageDbSettings) -> dg.ScheduleDefinition:
    """The daily synchronisation; stopped while the variables that it needs are not set."""

    @dg.schedule(
        name=f"{SYNC_JOB}__daily",
        job_name=SYNC_JOB,
        cron_schedule=settings.image_db_schedule,
        execution_timezone=shared.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED
        if missing_variables(settings)
        else dg.DefaultScheduleStatus.RUNNING,
        description="A new scan over all pages every night; off while IMAGE_API_* or ERP_* is not set.",
    )
    def daily(
        context: dg.ScheduleEvaluationContext, installation: InstallationResource, image_db: ImageDbResource
    ) -> Iterator[dg.RunRequest]:
        request = plan_run(context.instance, SyncOptions(), image_db, installation.settings())
        yield dg.RunRequest(run_config=request.run_config, tags=request.tags)

    return daily


def build_discovery_sensor(settings: ImageDbSettings) -> dg.SensorDefinition:
    """Keeps the page partitions equal to what the API has; launches nothing."""

    @dg.sensor(
        name="image_db__page_discovery",
        minimum_interval_seconds=3600,
        default_status=dg.DefaultSensorStatus.STOPPED
        if missing_variables(settings)
        else dg.DefaultSensorStatus.RUNNING,
        description="Asks the API once an hour how many pages it has and adds or removes page partitions.",
    )
    def discovery(
        context: dg.SensorEvaluationContext, installation: InstallationResource, image_db: ImageDbResource
    ) -> dg.SkipReason:
        return dg.SkipReason(discover_pages(context.instance, image_db, installation.settings()).sentence())

    return discovery


def read_settings() -> tuple[Settings, ImageDbSettings]:
    """The settings that the definitions themselves depend on: the schedule's time, and whether it may run."""
    return load_settings(Settings), load_settings(ImageDbSettings)
