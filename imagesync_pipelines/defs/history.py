"""The runs of the past and why they failed, from Dagster's own records; there is no sync-log table."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from imagesync_pipelines import languages
from imagesync_pipelines.defs.launching import partition_text
from imagesync_pipelines.defs.metadata import COUNTED_KEY, ERROR_CLASS_KEY, SUMMARY_KEY, clean_text
from imagesync_pipelines.defs.work import STOPPED
from imagesync_pipelines.sync.job_runs import PastRun

FAILURE_EVENTS = frozenset({dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE})
SUMMARY_EVENTS = frozenset({dg.DagsterEventType.ASSET_MATERIALIZATION, dg.DagsterEventType.ASSET_OBSERVATION})

_DIED = "RunDied"
# Runs are read from the newest on; the summary is on one of the last events, after those of all page partitions.
_RUNS_PER_QUERY = 50
_EVENTS_PER_RUN = 100
# Of a summary.
_OF_THE_END = ("status", "started_at", "completed_at", "seconds", "error_message")

_STATUS = {
    dg.DagsterRunStatus.SUCCESS: "completed",
    dg.DagsterRunStatus.FAILURE: "failed",
    dg.DagsterRunStatus.CANCELED: "failed",
}


@dataclass(frozen=True)
class RunFailure:
    """Why a run failed: the steps that did (`folder/files`), and the first one's error.

    `error_class` is RunDied when the run ended without a step that failed: a worker that was killed, a time limit.
    """

    steps: tuple[str, ...]
    error_class: str
    message: str


def history(instance: dg.DagsterInstance, limit: int, connector: str | None = None) -> list[PastRun]:
    """The last `limit` runs, newest first, of one connector or of all, wherever they were started."""
    lines = (
        _line(instance, record, claimed)
        for record in _newest_first(instance)
        for claimed in [claimed_connector(record.dagster_run)]
        if connector is None or claimed in (None, connector)
    )
    return list(islice((line for line in lines if connector in (None, line.connector)), limit))


def run_line(instance: dg.DagsterInstance, run_id: str) -> PastRun:
    """One run. Raises LookupError when Dagster has no record of it."""
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        raise LookupError(languages.told(f"Dagster has no run {run_id}; `imagesync history` lists those it has."))
    return _line(instance, record, claimed_connector(record.dagster_run))


def run_failure(events: Iterable[dg.DagsterEvent]) -> RunFailure | None:
    """The failure told by events of one run in the order they were written; None when none of them tells one."""
    failed = [event for event in events if event.event_type in FAILURE_EVENTS]
    steps = [event for event in failed if event.event_type is dg.DagsterEventType.STEP_FAILURE]
    if steps:
        # Dagster makes `folder__plan` of the asset `folder/plan`.
        titles = tuple((event.step_key or "").replace("__", "/") for event in steps)
        error_class, message = _step_error(steps[0])
        return RunFailure(titles, error_class, clean_text(message, ()))
    if not failed:
        return None
    # A run that Dagster's monitoring declares dead ends with an event without data.
    error: SerializableErrorInfo | None = getattr(failed[-1].event_specific_data, "error", None)
    if error is not None:
        root = root_error(error)
        return RunFailure((), root.cls_name or _DIED, clean_text(error_message(root), ()))
    return RunFailure(
        (), _DIED, clean_text(failed[-1].message or languages.told("The run ended without saying why."), ())
    )


def _step_error(event: dg.DagsterEvent) -> tuple[str, str]:
    data = event.step_failure_data
    told, root = data.user_failure_data, root_error(data.error) if data.error is not None else None
    name, message = (root.cls_name or _DIED, error_message(root)) if root is not None else (_DIED, "")
    if name == "DagsterExecutionInterruptedError":
        return name, STOPPED
    if told is None:
        return name, f"{name}: {message}" if message != name else name
    known = told.metadata.get(ERROR_CLASS_KEY)
    if known is not None:
        name = str(known.value)
    elif root is not None and root.cause is not None:
        name = root_error(root.cause).cls_name or name
    return name, told.description or message


def root_error(error: SerializableErrorInfo) -> SerializableErrorInfo:
    """The error that started it, with Dagster's own wrappers (step execution, retries) taken off."""
    while error.cause is not None and (error.cls_name or "Dagster").startswith(("Dagster", "RetryRequested")):
        error = error.cause
    return error


def error_message(error: SerializableErrorInfo) -> str:
    """The text of a stored error, without the name of its class in front."""
    first, _, rest = error.message.strip().partition(": ")
    if error.cls_name and first.split(".")[-1] == error.cls_name:
        return rest or error.cls_name
    return error.message.strip()


def _newest_first(instance: dg.DagsterInstance) -> Iterator[dg.RunRecord]:
    cursor = None
    while records := instance.get_run_records(limit=_RUNS_PER_QUERY, cursor=cursor):
        yield from records
        cursor = records[-1].dagster_run.run_id


def claimed_connector(run: dg.DagsterRun) -> str | None:
    """The connector as the run itself names it: by its job (`image_db__sync`), or by the assets it was started for."""
    if not run.job_name.startswith("__") and "__" in run.job_name:
        return run.job_name.split("__", maxsplit=1)[0]
    connectors = {key.path[0] for key in run.asset_selection or () if len(key.path) > 1}
    return connectors.pop() if len(connectors) == 1 else None


def _line(instance: dg.DagsterInstance, record: dg.RunRecord, claimed: str | None) -> PastRun:
    run = record.dagster_run
    telling = set(SUMMARY_EVENTS | FAILURE_EVENTS)
    stored = instance.get_records_for_run(run.run_id, of_type=telling, limit=_EVENTS_PER_RUN, ascending=False).records
    newest_first = [one.event_log_entry for one in stored]
    summary, seen_as = _summary(newest_first)
    failure = run_failure(event for one in reversed(newest_first) if (event := one.dagster_event) is not None)
    error = summary.get("error_message") or (failure.message if failure is not None else "")
    if run.status is dg.DagsterRunStatus.CANCELED:
        error = error or languages.told("The run was cancelled.")
    # The step that failed is named like its Dagster asset.
    failed_in = [step.split("/")[0] for step in (failure.steps if failure is not None else ()) if "/" in step]
    return PastRun(
        run_id=run.run_id,
        job=run.job_name,
        connector=claimed or seen_as or next(iter(failed_in), None),
        partition=partition_text(run),
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


def _summary(newest_first: Iterable[dg.EventLogEntry]) -> tuple[Mapping[str, Any], str | None]:
    """The newest summary among these events, and the connector of the Dagster asset that it is of.

    One of a step that failed before it counted anything tells how the run ended; what was done before, the newest that
    counted tells: a run whose export fails has written its images all the same.
    """
    end: dict[str, Any] = {}
    seen_as: str | None = None
    for event in newest_first:
        told = event.asset_materialization or event.asset_observation
        value = told.metadata.get(SUMMARY_KEY) if told is not None else None
        if told is None or not isinstance(value, dg.JsonMetadataValue) or not isinstance(value.data, dict):
            continue
        found, seen_as = dict(value.data), seen_as or told.asset_key.path[0]
        counted = found.pop(COUNTED_KEY, True)
        if counted or not end:
            # Earlier warnings hold as well; how it ended, and when, only the end says.
            ended = {name: end[name] for name in _OF_THE_END if name in end}
            end = {**found, **ended} if counted else found
        if counted:
            break
    return end, seen_as


def _time(timestamp: float | None) -> datetime | None:
    return datetime.fromtimestamp(timestamp, UTC) if timestamp is not None else None
