"""Why a run failed, read from Dagster's own events and told for people."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import dagster as dg

from imagesync_pipelines.defs.summaries import ERROR_CLASS_KEY, STOPPED, clean_text

FAILURE_EVENTS = frozenset({dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE})

_DIED = "RunDied"
_INTERRUPTED = "DagsterExecutionInterruptedError"


class StoredError(Protocol):
    """An exception as Dagster stores it: `message` starts with the name of its class, `cause` is a StoredError."""

    @property
    def message(self) -> str: ...

    @property
    def cls_name(self) -> str | None: ...

    @property
    def cause(self) -> Any: ...


@dataclass(frozen=True)
class RunFailure:
    """Why a run failed: the steps that did (`folder/files`), and the first one's error.

    `error_class` is RunDied when the run ended without a step that failed: a worker that was killed, a time limit.
    """

    steps: tuple[str, ...]
    error_class: str
    message: str


def run_failure(events: Iterable[dg.DagsterEvent]) -> RunFailure | None:
    """The failure told by events of one run in the order they were written; None when none of them tells one."""
    failed = [event for event in events if event.event_type in FAILURE_EVENTS]
    steps = [event for event in failed if event.event_type is dg.DagsterEventType.STEP_FAILURE]
    if not failed:
        return None
    names = tuple(step_title(event.step_key or "") for event in steps)
    if steps:
        error_class, message = _step_error(steps[0])
        return RunFailure(names, error_class, clean_text(message, ()))
    # A run that Dagster's monitoring declares dead ends with an event without data.
    error: StoredError | None = getattr(failed[-1].event_specific_data, "error", None)
    if error is not None:
        root = root_error(error)
        return RunFailure((), root.cls_name or _DIED, clean_text(error_message(root), ()))
    return RunFailure((), _DIED, clean_text(failed[-1].message or "The run ended without saying why.", ()))


def step_title(step_key: str) -> str:
    """The step's Dagster asset as people write it: Dagster makes `folder__plan` of the asset `folder/plan`."""
    return step_key.replace("__", "/")


def root_error(error: StoredError) -> StoredError:
    """The error that started it, with Dagster's own wrappers (step execution, retries) taken off."""
    while error.cause is not None and _is_wrapper(error):
        error = error.cause
    return error


def error_message(error: StoredError) -> str:
    """The text of a stored error, without the name of its class in front."""
    first, separator, rest = error.message.strip().partition(": ")
    is_name = bool(error.cls_name) and first.split(".")[-1] == error.cls_name
    if is_name:
        return rest if separator else error.cls_name or ""
    return error.message.strip()


def _is_wrapper(error: StoredError) -> bool:
    name = error.cls_name or ""
    return not name or name.startswith(("Dagster", "RetryRequested"))


def _step_error(event: dg.DagsterEvent) -> tuple[str, str]:
    data = event.step_failure_data
    root = root_error(data.error) if data.error is not None else None
    name = (root.cls_name if root is not None else None) or _DIED
    message = error_message(root) if root is not None else ""
    told = data.user_failure_data
    if name == _INTERRUPTED:
        return name, STOPPED
    if told is None:
        return name, f"{name}: {message}" if message != name else name
    known = told.metadata.get(ERROR_CLASS_KEY)
    if known is not None:
        name = str(known.value)
    elif root is not None and root.cause is not None:
        name = root_error(root.cause).cls_name or name
    return name, told.description or message
