"""The summary of a run, written where Dagster keeps its records: on the event of the run's last asset."""

import re
import traceback
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

import dagster as dg
from pydantic import SecretStr

from imagesync_pipelines.defs.metadata import Number, markdown_list, metrics, plain_text
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.upstream.redaction import MASK, redact

# The names under which history.py and alerts.py find these again.
SUMMARY_KEY = "summary"
ERROR_CLASS_KEY = "error_class"
STOPPED = "Stopped before it was done; what was written is kept."
MESSAGE_CHARACTERS = 500
TRACEBACK_CHARACTERS = 4000

# What works on a Dagster asset: the asset itself, or an op of a job that keeps it in order.
WorkContext = dg.AssetExecutionContext | dg.OpExecutionContext

_USERINFO = re.compile(r"//[^/\s@'\"]+@")


class RunSummary(Protocol):
    """What sync/report.py's Summary offers here: all of it as JSON, and the numbers that are plotted."""

    def as_json(self) -> dict[str, object]: ...

    def metrics(self) -> Mapping[str, Number]: ...


@dataclass
class Stage:
    """A stage at work; it sets `summary` as soon as it knows one, so that a failure after that does not lose it."""

    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    summary: RunSummary | None = None


def summary_metadata(summary: RunSummary) -> dict[str, dg.MetadataValue]:
    """Metadata of an event: the whole summary as JSON under `summary`, its status and warnings, and its numbers."""
    return _metadata(summary.as_json(), summary.metrics())


def observe_failure(context: WorkContext, asset_key: dg.AssetKey, work: Stage, message: str) -> None:
    """Record the summary of a stage that failed as an observation: a failed stage leaves no materialization."""
    known = work.summary.as_json() if work.summary is not None else {}
    numbers = work.summary.metrics() if work.summary is not None else {}
    summary = {
        "images_added": 0,
        "images_updated": 0,
        "images_deleted": 0,
        "products_affected": 0,
        "warnings": [],
        **known,
        "status": "failed",
        "started_at": work.started_at.isoformat(),
        "completed_at": datetime.now(UTC).isoformat(),
        "error_message": message,
    }
    context.log_event(dg.AssetObservation(asset_key=asset_key, metadata=_metadata(summary, numbers)))


@contextmanager
def stage(context: WorkContext, asset_key: dg.AssetKey, secrets: Collection[SecretStr] = ()) -> Iterator[Stage]:
    """Run an asset's work; when it raises, record its summary as failed and raise a dg.Failure that people understand.

    A failure is not tried again when trying cannot help: a wrong setting, and every error that says `retryable = False`
    (refused credentials, an answer that will be the same). All others are left to the asset's RetryPolicy. A stage that
    somebody stopped (Ctrl-C, the UI's terminate) has failed and is not tried again either.
    No text that Dagster stores from here holds one of the `secrets` or the user part of a URL; a dg.Failure that the
    work raised itself goes on as it is.
    """
    work = Stage()
    try:
        yield work
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        observe_failure(context, asset_key, work, STOPPED)
        # Left as it is, the interruption would be answered by the RetryPolicy: the step would run again.
        raise dg.Failure(STOPPED, allow_retries=False) from None
    except dg.Failure as failure:
        observe_failure(context, asset_key, work, clean_text(failure.description or "It failed.", secrets))
        raise
    except Exception as error:
        message = error_text(error, secrets)
        observe_failure(context, asset_key, work, message)
        trace = "".join(traceback.format_exception(error))
        cleaned = _without_secrets(trace, secrets)
        metadata = {ERROR_CLASS_KEY: dg.MetadataValue.text(type(error).__name__)}
        retry = not is_permanent(error)
        if cleaned == trace:
            raise dg.Failure(message, metadata=metadata, allow_retries=retry) from error
        # Dagster would store the text of the chained error as it is.
        metadata["traceback"] = dg.MetadataValue.text(cleaned[-TRACEBACK_CHARACTERS:])
        raise dg.Failure(message, metadata=metadata, allow_retries=retry) from None


def run_started(context: WorkContext) -> datetime:
    """When the run began, which is earlier than its last stage."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    started = record.start_time if record is not None else None
    return datetime.fromtimestamp(started, UTC) if started is not None else datetime.now(UTC)


def is_permanent(error: BaseException) -> bool:
    """Whether the same work would fail in the same way again, as the error itself says."""
    return isinstance(error, SettingsError) or getattr(error, "retryable", None) is False


def error_text(error: BaseException, secrets: Collection[SecretStr] = ()) -> str:
    """An error as one line for people, at most 500 characters, without secrets.

    Our own errors are written for people; of others the name is told too, because their text alone often says little.
    """
    name = type(error).__name__
    text = str(error).strip()
    ours = type(error).__module__.startswith("imagesync_pipelines.")
    return clean_text(text if ours and text else f"{name}: {text}" if text else name, secrets)


def clean_text(text: str, secrets: Collection[SecretStr]) -> str:
    """Text as one line of at most 500 characters, without the secrets and without the user part of any URL."""
    return plain_text(_without_secrets(text, secrets), limit=MESSAGE_CHARACTERS)


def _without_secrets(text: str, secrets: Collection[SecretStr]) -> str:
    return redact(_USERINFO.sub(f"//{MASK}@", text), [secret.get_secret_value() for secret in secrets])


def _metadata(summary: Mapping[str, object], numbers: Mapping[str, Number]) -> dict[str, dg.MetadataValue]:
    values: dict[str, dg.MetadataValue] = {
        SUMMARY_KEY: dg.MetadataValue.json(dict(summary)),
        "status": dg.MetadataValue.text(str(summary.get("status", ""))),
        **metrics(numbers),
    }
    if summary.get("error_message"):
        values["error_message"] = dg.MetadataValue.text(str(summary["error_message"]))
    warnings = summary.get("warnings")
    if isinstance(warnings, list | tuple) and warnings:
        values["warnings"] = markdown_list(warnings)
    return values
