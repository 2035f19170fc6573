"""The runs of the past, from Dagster's own records; there is no sync-log table."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from imagesync_pipelines.defs.failures import FAILURE_EVENTS, RunFailure, run_failure
from imagesync_pipelines.defs.partitions import partitions_of
from imagesync_pipelines.defs.summaries import SUMMARY_KEY

SUMMARY_EVENTS = frozenset({dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION})

# Runs are read from the newest on; the summary is on one of the last events, after those of all page partitions.
_RUNS_PER_QUERY = 50
_EVENTS_PER_RUN = 100

_STATUS = {
    dg.DagsterRunStatus.SUCCESS: "completed",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "failed",
}


@dataclass(frozen=True)
class RunLine:
    """One run of the past. Times are UTC; numbers are None when the run recorded no summary (it wrote nothing).

    `status` is in_progress, completed or failed. `connector` is None for a run of no connector. `partition` is its
    partition, such as an account, "first to last" for a range, empty for none. `error` is empty when there is none.
    `summary` is the run's whole summary (summaries.py), empty when it recorded none.
    """

    run_id: str
    job: str
    connector: str | None
    partition: str
    status: str
    started: datetime | None
    completed: datetime | None
    added: int | None
    updated: int | None
    deleted: int | None
    products_affected: int | None
    error: str
    summary: Mapping[str, Any]


def history(instance: dg.DagsterInstance, limit: int, connector: str | None = None) -> list[RunLine]:
    """The last `limit` runs, newest first, of one connector or of all, wherever they were started."""
    lines: list[RunLine] = []
    for record in _newest_first(instance):
        claimed = _claimed_connector(record.dagster_run)
        if connector is not None and claimed is not None and claimed != connector:
            continue
        line = _line(instance, record, claimed)
        if connector is None or line.connector == connector:
            lines.append(line)
        if len(lines) >= limit:
            break
    return lines[:limit]


def run_line(instance: dg.DagsterInstance, run_id: str) -> RunLine:
    """One run. Raises LookupError when Dagster has no record of it."""
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        raise LookupError(f"Dagster has no run {run_id}; `imagesync history` lists those it has.")
    return _line(instance, record, _claimed_connector(record.dagster_run))


def _newest_first(instance: dg.DagsterInstance) -> Iterator[dg.RunRecord]:
    cursor = None
    while records := instance.get_run_records(limit=_RUNS_PER_QUERY, cursor=cursor):
        yield from records
        cursor = records[-1].dagster_run.run_id


def _claimed_connector(run: dg.DagsterRun) -> str | None:
    """The connector as the run itself names it: by its job (`image_db__sync`), or by the assets it was started for."""
    if not run.job_name.startswith("__") and "__" in run.job_name:
        return run.job_name.split("__", maxsplit=1)[0]
    connectors = {key.path[0] for key in run.asset_selection or () if len(key.path) > 1}
    return connectors.pop() if len(connectors) == 1 else None


def _failed_connector(failure: RunFailure | None) -> str | None:
    steps = [step for step in failure.steps if "/" in step] if failure is not None else []
    return steps[0].split("/", maxsplit=1)[0] if steps else None


def _line(instance: dg.DagsterInstance, record: dg.RunRecord, claimed: str | None) -> RunLine:
    run = record.dagster_run
    stored = instance.get_records_for_run(
        run.run_id, of_type=set(SUMMARY_EVENTS | FAILURE_EVENTS), limit=_EVENTS_PER_RUN, ascending=False
    ).records
    events = [entry.event_log_entry.dagster_event for entry in stored]
    newest_first = [event for event in events if event is not None]
    summary, asset_key = _summary(newest_first)
    failure = run_failure(reversed(newest_first))
    error = summary.get("error_message") or (failure.message if failure is not None else "")
    if run.status is dg.DagsterRunStatus.CANCELED:
        error = error or "The run was cancelled."
    return RunLine(
        run_id=run.run_id,
        job=run.job_name,
        connector=claimed or (asset_key.path[0] if asset_key is not None else _failed_connector(failure)),
        partition=_partition(run),
        status=_STATUS.get(run.status, "in_progress"),
        started=_time(record.start_time),
        completed=_time(record.end_time),
        added=summary.get("images_added"),
        updated=summary.get("images_updated"),
        deleted=summary.get("images_deleted"),
        products_affected=summary.get("products_affected"),
        error=str(error),
        summary=summary,
    )


def _partition(run: dg.DagsterRun) -> str:
    held = partitions_of(run)
    if held is None:
        return ""
    return held[0] if held[0] == held[1] else f"{held[0]} to {held[1]}"


def _summary(newest_first: Iterable[dg.DagsterEvent]) -> tuple[Mapping[str, Any], dg.AssetKey | None]:
    for event in newest_first:
        if event.event_type is dg.DagsterEventType.ASSET_MATERIALIZATION:
            metadata = event.step_materialization_data.materialization.metadata
        elif event.event_type is dg.DagsterEventType.ASSET_OBSERVATION:
            metadata = event.asset_observation_data.asset_observation.metadata
        else:
            continue
        value = metadata.get(SUMMARY_KEY)
        if isinstance(value, dg.JsonMetadataValue) and isinstance(value.data, dict):
            return value.data, event.asset_key
    return {}, None


def _time(timestamp: float | None) -> datetime | None:
    return datetime.fromtimestamp(timestamp, UTC) if timestamp is not None else None
