"""One message per failed run and per failed check, to the targets of IMAGESYNC_ALERT_URLS.

The sensors are the only senders. A run that the command line starts in its own process is in the same Dagster instance,
so the daemon's sensors hear of it too; a second sender in the command line would tell everything twice. Without a
daemon nothing is sent: the person at the terminal sees the error and the exit code.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import apprise
import dagster as dg
from pydantic import BaseModel, SecretStr

from imagesync_pipelines.defs.history import FAILURE_EVENTS, RunFailure, run_failure
from imagesync_pipelines.defs.launching import partition_text
from imagesync_pipelines.defs.metadata import clean_text, names
from imagesync_pipelines.settings import Settings, load_settings

NOBODY = "Nobody is told: IMAGESYNC_ALERT_URLS is empty."
EVENTS_PER_TICK = 200

_EVALUATIONS = dg.DagsterEventType.ASSET_CHECK_EVALUATION


class AlertNotSentError(Exception):
    """A message reached none of its targets; the text names them by kind only, because their URLs hold secrets."""


class Sent(BaseModel):
    """What is remembered of the messages of one kind: when the last was sent, how many were not sent since."""

    at: datetime
    suppressed: int = 0


@dataclass(frozen=True)
class Alert:
    """One message as plain text. kind: those of one kind that come within IMAGESYNC_ALERT_REPEAT_MINUTES are counted.

    link: where to look, its last line.
    """

    kind: str
    title: str
    lines: Sequence[str]
    link: str


def build_run_failure_alert() -> dg.SensorDefinition:
    """The sensor: runs of every job, also of __ASSET_JOB and those started in process, on their first attempt."""

    @dg.run_failure_sensor(
        name="run_failure_alert",
        description="One message per failed run to IMAGESYNC_ALERT_URLS; repeats of a failure are counted, not sent.",
        # Runs started in process carry no code location, and only this setting lets a sensor hear of them.
        monitor_all_code_locations=True,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def run_failure_alert(context: dg.RunFailureSensorContext) -> dg.SkipReason | None:
        settings, run = load_settings(Settings), context.dagster_run
        if not settings.alert_urls:
            return dg.SkipReason(NOBODY)
        if int(run.tags.get("dagster/retry_number", "0")) > 0:
            context.log.info("Run %s was an automatic retry; its first attempt was reported.", run.run_id)
            return None
        stored = context.instance.get_records_for_run(run.run_id, of_type=set(FAILURE_EVENTS)).records
        events = [event for record in stored if (event := record.event_log_entry.dagster_event) is not None]
        failure = run_failure(events or [context.failure_event])
        alert = failure_alert(run, failure or RunFailure((), "RunDied", "The run ended without saying why."), settings)
        tell_once(context.instance, alert, settings, context.log)
        return None

    return run_failure_alert


def failure_alert(run: dg.DagsterRun, failure: RunFailure, settings: Settings) -> Alert:
    """What is told about a run that failed: what failed, why, for which partitions, where to look."""
    partitions = partition_text(run)
    lines = [
        f"Job: {run.job_name}",
        f"Failed: {names(failure.steps)}" if failure.steps else "",
        f"Partitions: {partitions}" if partitions else "",
        f"Error: {clean_text(failure.message, settings.alert_urls) or failure.error_class}",
        "Dagster starts it once more by itself." if run.tags.get("dagster/will_retry") == "true" else "",
    ]
    return Alert(
        kind_of("alerts", run.job_name, failure.error_class),
        f"imagesync: {run.job_name} failed ({failure.error_class})",
        [line for line in lines if line],
        f"{settings.webserver_url.rstrip('/')}/runs/{run.run_id}",
    )


def build_failed_check_alert() -> dg.SensorDefinition:
    """The sensor: checks of every connector that failed with severity ERROR; warnings are for the UI."""

    @dg.sensor(
        name="failed_check_alert",
        description="One message per failed check to IMAGESYNC_ALERT_URLS; repeats are counted, not sent.",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def failed_check_alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        settings, events = load_settings(Settings), context.instance.event_log_storage
        if context.cursor is None:
            newest = events.get_event_records(dg.EventRecordsFilter(_EVALUATIONS), limit=1, ascending=False)
            context.update_cursor(str(newest[0].storage_id if newest else 0))
            return dg.SkipReason("Begins with what happens from now on.")
        after = int(context.cursor) if context.cursor.isdecimal() else 0
        wanted = dg.EventRecordsFilter(_EVALUATIONS, after_cursor=after)
        found = events.get_event_records(wanted, limit=EVENTS_PER_TICK, ascending=True)
        told = 0
        for event in found:
            alert = check_alert(event.event_log_entry, settings) if settings.alert_urls else None
            if alert is not None:
                told += tell_once(context.instance, alert, settings, context.log)
            context.update_cursor(str(event.storage_id))
        said = f"{len(found)} check evaluations, {told} messages sent." if settings.alert_urls else NOBODY
        return dg.SkipReason(said)

    return failed_check_alert


def check_alert(entry: dg.EventLogEntry, settings: Settings) -> Alert | None:
    """What is told about a check: which sentence is not true, of what, by how much, where to look; None: it is no news.

    A blocking check fails its run, and that is told by the other sensor.
    """
    found = entry.asset_check_evaluation
    if found is None or found.passed or found.blocking or found.severity is not dg.AssetCheckSeverity.ERROR:
        return None
    asset, base = found.asset_key.to_user_string(), settings.webserver_url.rstrip("/")
    return Alert(
        kind_of("check_alerts", asset, found.check_name, str(found.partition)),
        f"imagesync: {found.check_name} is not true" + (f" for {found.partition}" if found.partition else ""),
        [
            f"Check: {found.check_name} of {asset}",
            *([f"Partition: {found.partition}"] if found.partition else []),
            clean_text(found.description or "It gave no reason.", settings.alert_urls),
        ],
        f"{base}/runs/{entry.run_id}" if entry.run_id else f"{base}/assets/{asset}?view=checks",
    )


def kind_of(what: str, *parts: str) -> str:
    """Where the instance remembers messages of a kind, such as of one job and one class of error."""
    return f"imagesync/{what}/{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()[:32]}"


def tell_once(
    instance: dg.DagsterInstance, alert: Alert, settings: Settings, log: logging.Logger, now: datetime | None = None
) -> bool:
    """Send an alert, unless one of its kind was sent lately: then it is counted. Says whether it was sent.

    Raises AlertNotSentError when it reached nobody; the next one of its kind is sent then.
    """
    now, last = now or datetime.now(UTC), _recall(instance, alert.kind, log)
    if last is not None and now - last.at < timedelta(minutes=settings.alert_repeat_minutes):
        _remember(instance, alert.kind, Sent(at=last.at, suppressed=last.suppressed + 1), log)
        log.info("%s: like one sent at %s; not sent again.", alert.title, last.at.isoformat())
        return False
    lines = [*alert.lines]
    if last is not None and last.suppressed:
        lines.append(f"{last.suppressed} more failures of this kind were not sent since {last.at:%Y-%m-%d %H:%M} UTC.")
    for problem in send(settings.alert_urls, alert.title, "\n".join([*lines, alert.link])):
        log.warning(problem)
    _remember(instance, alert.kind, Sent(at=now), log)
    return True


def send(targets: Sequence[SecretStr], title: str, body: str) -> list[str]:
    """Send a message to every target; one that fails does not stop the others.

    Returns one line per target that was not reached. Raises AlertNotSentError when none was.
    """
    # Apprise writes the URLs of its targets, secrets included, to its log.
    logging.getLogger("apprise").disabled = True
    problems = []
    for number, target in enumerate(targets, start=1):
        url, text, failure = target.get_secret_value(), apprise.NotifyFormat.TEXT, apprise.NotifyType.FAILURE
        sender = apprise.Apprise()
        known = sender.add(url)
        reached = known and sender.notify(body=body, title=title, notify_type=failure, body_format=text)
        if not known:
            problems.append(f"target {number} of IMAGESYNC_ALERT_URLS is not understood by apprise")
        elif not reached:
            kind = url.partition("://")[0][:20]
            problems.append(f"target {number} of IMAGESYNC_ALERT_URLS ({kind}) was not reached")
    if problems and len(problems) == len(targets):
        raise AlertNotSentError("; ".join(problems))
    return problems


def _recall(instance: dg.DagsterInstance, kind: str, log: logging.Logger) -> Sent | None:
    """What is remembered of a kind; None when there is nothing.

    None also when it cannot be read: better one message too many than one too few.
    """
    try:
        stored = instance.daemon_cursor_storage.get_cursor_values({kind}).get(kind)
        return None if stored is None else Sent.model_validate_json(stored)
    except Exception as error:  # noqa: BLE001
        log.warning("What was sent before could not be read, so this is sent: %s", type(error).__name__)
        return None


def _remember(instance: dg.DagsterInstance, kind: str, sent: Sent, log: logging.Logger) -> None:
    """Keep what was sent for the next failure; when that fails, the next one is sent too."""
    try:
        instance.daemon_cursor_storage.set_cursor_values({kind: sent.model_dump_json()})
    except Exception as error:  # noqa: BLE001
        log.warning("What was sent could not be written down: %s", type(error).__name__)
