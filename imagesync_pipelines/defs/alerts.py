"""One message per failed run, to the targets of IMAGESYNC_ALERT_URLS.

The sensor is the only sender. A run that the command line starts in its own process is in the same Dagster instance, so
the daemon's sensor hears of it too; a second sender in the command line would tell everything twice. Without a daemon
nothing is sent: the person at the terminal sees the error and the exit code.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import apprise
import dagster as dg
from pydantic import SecretStr

from imagesync_pipelines.defs.failures import FAILURE_EVENTS, RunFailure, run_failure
from imagesync_pipelines.defs.metadata import names
from imagesync_pipelines.defs.partitions import partitions_of
from imagesync_pipelines.defs.summaries import clean_text
from imagesync_pipelines.settings import Settings, load_settings

RETRY_NUMBER_TAG = "dagster/retry_number"
WILL_RETRY_TAG = "dagster/will_retry"

_APPRISE_LOGGER = "apprise"


class AlertNotSentError(Exception):
    """A message reached none of its targets; the text names them by kind only, because their URLs hold secrets."""


@dataclass(frozen=True)
class FailedRun:
    """What a message tells about a run that failed; `partitions` is its first and last partition."""

    run_id: str
    job: str
    partitions: tuple[str, str] | None
    failure: RunFailure
    will_retry: bool


@dataclass(frozen=True)
class Sent:
    """What is remembered of the messages of one kind: when the last was sent, how many were not sent since."""

    at: datetime
    suppressed: int = 0


@dataclass(frozen=True)
class Message:
    """One alert as plain text."""

    title: str
    body: str


def alert_message(failed: FailedRun, webserver_url: str, last: Sent | None) -> Message:
    """The message about one failed run: what failed, why, for which partitions, what was held back, where to look."""
    failure = failed.failure
    lines = [f"Job: {failed.job}"]
    if failure.steps:
        lines.append(f"Failed: {names(failure.steps)}")
    if failed.partitions is not None:
        first, last_key = failed.partitions
        lines.append(f"Partitions: {first}" if first == last_key else f"Partitions: {first} to {last_key}")
    lines.append(f"Error: {failure.message or failure.error_class}")
    if failed.will_retry:
        lines.append("Dagster starts it once more by itself.")
    if last is not None and last.suppressed:
        lines.append(f"{last.suppressed} more failures of this kind were not sent since {last.at:%Y-%m-%d %H:%M} UTC.")
    lines.append(f"{webserver_url.rstrip('/')}/runs/{failed.run_id}")
    return Message(f"imagesync: {failed.job} failed ({failure.error_class})", "\n".join(lines))


def is_due(last: Sent | None, now: datetime, repeat_minutes: int) -> bool:
    """Whether a failure of a kind that was last sent then is to be sent again."""
    return last is None or now - last.at >= timedelta(minutes=repeat_minutes)


def send_alert(targets: Sequence[SecretStr], message: Message) -> list[str]:
    """Send a message to every target; one that fails does not stop the others.

    Returns one line per target that was not reached. Raises AlertNotSentError when none was.
    """
    problems: list[str] = []
    for number, target in enumerate(targets, start=1):
        with _silent_apprise():
            sender = apprise.Apprise()
            known = sender.add(target.get_secret_value())
            reached = known and sender.notify(
                body=message.body,
                title=message.title,
                notify_type=apprise.NotifyType.FAILURE,
                body_format=apprise.NotifyFormat.TEXT,
            )
        kind = target.get_secret_value().partition("://")[0][:20]
        if not known:
            problems.append(f"target {number} of IMAGESYNC_ALERT_URLS is not understood by apprise")
        elif not reached:
            problems.append(f"target {number} of IMAGESYNC_ALERT_URLS ({kind}) was not reached")
    if problems and len(problems) == len(targets):
        raise AlertNotSentError("; ".join(problems))
    return problems


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
        settings = load_settings(Settings)
        if not settings.alert_urls:
            return dg.SkipReason("Nobody is told: IMAGESYNC_ALERT_URLS is empty.")
        run = context.dagster_run
        if int(run.tags.get(RETRY_NUMBER_TAG, "0")) > 0:
            context.log.info("Run %s was an automatic retry; its first attempt was reported.", run.run_id)
            return None
        failed = read_failed_run(context.instance, run, context.failure_event, settings)
        key = memory_key(failed)
        last = recall(context.instance, key, context.log)
        now = datetime.now(UTC)
        if last is not None and not is_due(last, now, settings.alert_repeat_minutes):
            remember(context.instance, key, Sent(last.at, last.suppressed + 1), context.log)
            context.log.info("Run %s failed like one sent at %s; not sent again.", run.run_id, last.at.isoformat())
            return None
        for problem in send_alert(settings.alert_urls, alert_message(failed, settings.webserver_url, last)):
            context.log.warning(problem)
        remember(context.instance, key, Sent(now), context.log)
        return None

    return run_failure_alert


def read_failed_run(
    instance: dg.DagsterInstance, run: dg.DagsterRun, failure_event: dg.DagsterEvent, settings: Settings
) -> FailedRun:
    """What there is to tell about a run; `failure_event` is the event that ended it."""
    stored = instance.get_records_for_run(run.run_id, of_type=set(FAILURE_EVENTS)).records
    events = [record.event_log_entry.dagster_event for record in stored]
    failure = run_failure([event for event in events if event is not None] or [failure_event])
    if failure is None:
        failure = RunFailure((), "RunDied", "The run ended without saying why.")
    return FailedRun(
        run_id=run.run_id,
        job=run.job_name,
        partitions=partitions_of(run),
        failure=RunFailure(failure.steps, failure.error_class, clean_text(failure.message, settings.alert_urls)),
        will_retry=run.tags.get(WILL_RETRY_TAG) == "true",
    )


def memory_key(failed: FailedRun) -> str:
    """Where the instance remembers messages of this kind: one job, one class of error."""
    kind = hashlib.sha256(f"{failed.job}\n{failed.failure.error_class}".encode()).hexdigest()
    return f"imagesync/alerts/{kind[:32]}"


def recall(instance: dg.DagsterInstance, key: str, log: logging.Logger) -> Sent | None:
    """What is remembered under the key; None when there is nothing.

    None also when it cannot be read: better one message too many than one too few.
    """
    try:
        stored = instance.daemon_cursor_storage.get_cursor_values({key}).get(key)
        if stored is None:
            return None
        value = json.loads(stored)
        return Sent(datetime.fromisoformat(value["at"]), int(value["suppressed"]))
    except Exception as error:  # noqa: BLE001
        log.warning("What was sent before could not be read, so this is sent: %s", type(error).__name__)
        return None


def remember(instance: dg.DagsterInstance, key: str, sent: Sent, log: logging.Logger) -> None:
    """Keep what was sent for the next failure; when that fails, the next one is sent too."""
    try:
        instance.daemon_cursor_storage.set_cursor_values({key: json.dumps(asdict(sent), default=datetime.isoformat)})
    except Exception as error:  # noqa: BLE001
        log.warning("What was sent could not be written down: %s", type(error).__name__)


@contextmanager
def _silent_apprise() -> Iterator[None]:
    """Apprise writes the URLs of its targets, secrets included, to its log."""
    logger = logging.getLogger(_APPRISE_LOGGER)
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
