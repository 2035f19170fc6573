"""The page partitions of a connector: blocks of consecutive pages, kept equal to what its source has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import dagster as dg

from imagesync_pipelines.defs import launching
from imagesync_pipelines.languages import told
from imagesync_pipelines.products.errors import ErpError
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.scans import RawPages
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines.sync.blocks import block_key, check_block_size, missing_blocks, page_blocks, stray_blocks
from imagesync_pipelines.sync.connector import Connector, Job, PageSet
from imagesync_pipelines.telemetry import spans
from imagesync_pipelines.upstream.errors import UpstreamError

DISCOVERY_SECONDS = 3600


@dataclass(frozen=True)
class Discovered:
    """What discovery found: pages at the source, all block keys now, those added and removed."""

    pages: int
    blocks: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]

    def sentence(self) -> str:
        """What was found, for a tick of the sensor and for a terminal."""
        changed = told(f"added {len(self.added)}, removed {len(self.removed)}")
        return told(f"{self.pages} pages in {len(self.blocks)} blocks; {changed}.")


def range_tags_of(
    instance: dg.DagsterInstance,
    connector: Connector,
    job: Job,
    shared: Settings,
    warn: Callable[[str], None],
    *,
    attended: bool = False,
) -> dict[str, str]:
    """The tags of a run of this job over all blocks; none for a job without the step that has them.

    attended: somebody waits for the run, and is told by ErpError what keeps it from working, before it starts.
    """
    names = {step.name for step in connector.steps if step.partitions == "pages"}
    if job.alone is not None or not names or not (job.steps is None or names & set(job.steps)):
        return {}
    known_blocks(instance, connector, shared, warn, attended=attended)
    return job_runs.all_blocks_tags()


def known_blocks(
    instance: dg.DagsterInstance,
    connector: Connector,
    shared: Settings,
    warn: Callable[[str], None],
    *,
    attended: bool = False,
) -> tuple[str, ...]:
    """The blocks for a run over everything, fresh from the source, or as last known when it cannot be asked.

    A source that is down, or a file of products that is away, must not keep the run from starting: the run itself then
    fails, is recorded and alerted. attended: see range_tags_of.
    """
    try:
        with spans.span(f"look {connector.name}"):
            return discover_pages(instance, connector, shared, warn).blocks
    except (UpstreamError, ErpError) as error:
        if isinstance(error, ErpError):
            if attended:
                raise
            warn(str(error))
        known = instance.get_dynamic_partitions(connector.page_partitions)
        if known:
            return tuple(known)
        pages, settings = _pages(connector)
        first = block_key(1, pages.per_block(settings))
        instance.add_dynamic_partitions(connector.page_partitions, [first])
        return (first,)


def discover_pages(
    instance: dg.DagsterInstance, connector: Connector, shared: Settings, warn: Callable[[str], None]
) -> Discovered:
    """Ask the source how many pages it has and make the page partitions equal to that.

    Blocks beyond the end are removed, unless an unfinished run may still write them or one after them. Raises
    BadBlockError when the block size was changed, and the source's errors.
    """
    name = connector.page_partitions
    held, settings = _pages(connector)
    size = held.per_block(settings)
    existing = instance.get_dynamic_partitions(name)
    check_block_size(existing, size, held.reset_command)
    pages = held.count(shared, settings, warn)
    wanted = page_blocks(pages, size)
    removed = sorted(stray_blocks(existing, wanted, launching.blocks_in_flight(instance, existing)))
    for block in removed:
        instance.delete_dynamic_partition(name, block)
    kept = set(existing) - set(removed)
    added = missing_blocks(kept, wanted)
    if added:
        instance.add_dynamic_partitions(name, added)
    blocks = tuple(sorted({*kept, *added}))
    return Discovered(pages, blocks, tuple(added), tuple(removed))


def reset_pages(installation: Installation, instance: dg.DagsterInstance, connector: Connector) -> int:
    """Forget all page partitions and stored pages; returns how many partitions there were.

    Raises SettingsError while a run still reads them.
    """
    name = connector.page_partitions
    blocks = instance.get_dynamic_partitions(name)
    if busy := sorted(launching.blocks_in_flight(instance, blocks)):
        raise SettingsError(f"a run is still reading pages {', '.join(busy[:3])} …; wait for it or terminate it")
    for block in blocks:
        instance.delete_dynamic_partition(name, block)
    RawPages(installation.engine, installation.storage, connector.name).prune(keep_scans=0)
    return len(blocks)


def build_discovery_sensor(connector: Connector, shared: Settings) -> dg.SensorDefinition:
    """Keeps the page partitions equal to what the source has; launches nothing."""
    on = launching.is_set_up(connector, shared)

    @dg.sensor(
        name=f"{connector.name}__page_discovery",
        minimum_interval_seconds=DISCOVERY_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED,
        description="Asks the API once an hour how many pages it has and adds or removes page partitions.",
    )
    def discovery(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        shared = load_settings(Settings)
        try:
            return dg.SkipReason(discover_pages(context.instance, connector, shared, context.log.warning).sentence())
        except ErpError as error:
            # The run of the schedule fails by it, and that is told.
            return dg.SkipReason(str(error))

    return discovery


def _pages(connector: Connector) -> tuple[PageSet, Any]:
    if connector.pages is None:
        raise SettingsError(f"{connector.title} has no page partitions.")
    return connector.pages, load_settings(connector.settings)
