"""Partitions of Dagster: ranges, accounts, runs in flight, the outcome of every block of a range."""

from collections.abc import Collection, Mapping

import dagster as dg

from imagesync_pipelines.defs.metadata import markdown_list, names
from imagesync_pipelines.sync.job_runs import PARTITION_TAG, RANGE_END_TAG, RANGE_START_TAG

IN_FLIGHT = (
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)

Stats = Mapping[str, int | float | str]


def partitions_of(run: dg.DagsterRun) -> tuple[str, str] | None:
    """First and last partition of a run, twice the same for a run of one partition, None for a run without."""
    single = run.tags.get(PARTITION_TAG)
    first = run.tags.get(RANGE_START_TAG, single)
    last = run.tags.get(RANGE_END_TAG, single)
    return (first, last) if first is not None and last is not None else None


def partition_text(run: dg.DagsterRun) -> str:
    """The partition of a run, `first to last` for a range, '' for none."""
    return " to ".join(dict.fromkeys(partitions_of(run) or ()))


def blocks_in_flight(instance: dg.DagsterInstance, blocks: Collection[str]) -> set[str]:
    """Those of the blocks that an unfinished run of any job may still write; they must not be deleted."""
    ranges = [partitions_of(run) for run in instance.get_runs(dg.RunsFilter(statuses=list(IN_FLIGHT)))]
    return {block for block in blocks for held in ranges if held is not None and held[0] <= block <= held[1]}


def keep_partitions(
    instance: dg.DagsterInstance, connector: str, definition: str, wanted: Collection[str]
) -> list[str]:
    """Make a connector's dynamic partitions (`definition` is their name) equal to its accounts; these, sorted.

    An account that left the file keeps its partition while a run of it is unfinished.
    """
    existing = instance.get_dynamic_partitions(definition)
    added = sorted(set(wanted) - set(existing))
    if added:
        instance.add_dynamic_partitions(definition, added)
    extra = set(existing) - set(wanted)
    for name in sorted(extra - in_flight(instance, connector, extra)):
        instance.delete_dynamic_partition(definition, name)
    return sorted(wanted)


def in_flight(instance: dg.DagsterInstance, connector: str, accounts: Collection[str]) -> set[str]:
    """Those of a connector's accounts that an unfinished run of any job works on, one of the UI's buttons included."""
    if not accounts:
        return set()
    running = instance.get_runs(dg.RunsFilter(statuses=list(IN_FLIGHT)))
    return {run.tags.get(PARTITION_TAG, "") for run in running if _is_of(connector, run)} & set(accounts)


def _is_of(connector: str, run: dg.DagsterRun) -> bool:
    keys = run.asset_selection or ()
    return run.job_name.startswith(f"{connector}__") or any(key.path[0] == connector for key in keys)


def report_partitions(
    context: dg.AssetExecutionContext,
    landed: Mapping[str, Stats],
    failed: Mapping[str, str],
) -> None:
    """Mark every partition of a run as what it became: `landed` (key → metadata) done, `failed` (key → reason) not.

    With a failed partition this raises dg.Failure after the others were marked, so that what depends on the asset does
    not run. Call it last, and return a MaterializeResult without metadata after it. Partitions that landed although the
    run does not name them are marked too; a run that reads a part only names none.
    Raises ValueError when the run names a partition that neither landed nor failed: Dagster would mark it as done.
    """
    key = context.asset_key
    named = set(context.partition_keys) if context.has_partition_key or context.has_partition_key_range else set()
    forgotten = sorted(name for name in named if name not in landed and name not in failed)
    if forgotten:
        raise ValueError(
            f"Partitions {names(forgotten)} of {key.to_user_string()} were neither read nor failed; a run that reads a "
            "part only must not name partitions."
        )
    if failed:
        log_landed(context, key, landed)
        raise dg.Failure(
            f"{len(failed)} of {len(landed) + len(failed)} partitions of {key.to_user_string()} failed: "
            f"{names(sorted(failed))}. The others are kept; run the failed ones again.",
            metadata={
                "failed_partitions": len(failed),
                "reasons": markdown_list([f"{name}: {failed[name]}" for name in sorted(failed)]),
            },
            allow_retries=False,
        )
    # Dagster itself marks those that the run names; the others, like a block that appeared meanwhile, it does not know.
    log_landed(context, key, {name: stats for name, stats in landed.items() if name not in named})
    for name in sorted(named):
        context.add_asset_metadata(dict(landed[name]), partition_key=name)


def log_landed(context: dg.AssetExecutionContext, key: dg.AssetKey, landed: Mapping[str, Stats]) -> None:
    """Mark partitions (key → metadata) of a Dagster asset as done; the asset need not be part of this run."""
    for name, stats in landed.items():
        context.log_event(dg.AssetMaterialization(asset_key=key, partition=name, metadata=dict(stats)))
