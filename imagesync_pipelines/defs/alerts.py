"""One message per failed run and per failed check, to the targets of IMAGESYNC_ALERT_URLS; and how any is sent.

What was told, and what waits because no target could be reached, is in our own table (storage/alerts.py). A run that
the command line starts in its own process is in the same Dagster instance, so the daemon's sensors hear of it too; a
second sender in the command line would tell everything twice. Without a daemon nothing is sent: the person at the
terminal sees the error and the exit code. That the daemon stopped is told by `imagesync serve` (defs/watching.py).
"""

import logging
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NamedTuple

import dagster as dg
import sqlalchemy as sa
from pydantic import SecretStr
from sqlalchemy.exc import SQLAlchemyError

from imagesync_pipelines import languages
from imagesync_pipelines.defs.history import FAILURE_EVENTS, RunFailure, claimed_connector, run_failure
from imagesync_pipelines.defs.launching import partition_text
from imagesync_pipelines.defs.metadata import clean_text, names, without_secrets
from imagesync_pipelines.defs.work import is_dry_run, is_told, secrets_of
from imagesync_pipelines.languages import N_, retold, speaking
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import LanguageSettings, Settings, load_settings
from imagesync_pipelines.storage.alerts import (
    Alert,
    AlertNotSentError,
    KeptAlert,
    end_alerts,
    kept_alerts,
    note_alert,
    send_due,
)
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.sync.job_runs import ALL_BLOCKS_TAG, ENTITY_TAG, PARTITION_TAG, PLAN_TAG, SKUS_TAG

NOBODY = N_("Nobody is told: IMAGESYNC_ALERT_URLS is empty.")
LOOK_SECONDS = 30
EVENTS_PER_TICK = 200
# What ends an alert: a later run that did the same, a later tick.
RUN, TICK, CHECK = "run ", "tick ", "check"
# Whether something ended is asked for so long; nobody waits for good news any more.
ASKED_FOR = timedelta(days=30)
_MAIL_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")

_EVALUATIONS = dg.DagsterEventType.ASSET_CHECK_EVALUATION


def build_run_failure_alert() -> dg.SensorDefinition:
    """The sensor: runs of every job, also of __ASSET_JOB and those started in process, on their first attempt."""

    @dg.run_failure_sensor(
        name="run_failure_alert",
        description="One message per failed run to IMAGESYNC_ALERT_URLS; repeats of a failure are counted, not sent.",
        # Runs started in process carry no code location, and only this setting lets a sensor hear of them.
        monitor_all_code_locations=True,
        minimum_interval_seconds=LOOK_SECONDS,
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
        alert = failure_alert(
            run, failure or RunFailure((), "RunDied", languages.told("The run ended without saying why.")), settings
        )
        tell_from_anywhere([alert], settings, context.log)
        return None

    return run_failure_alert


def failure_alert(run: dg.DagsterRun, failure: RunFailure, settings: Settings) -> Alert:
    """What is told about a run that failed: what failed, why, for which partitions, where to look."""
    partitions, account = partition_text(run), run.tags.get(PARTITION_TAG, "")
    # All pages are no part of anything, however many there are today.
    part = "" if ALL_BLOCKS_TAG in run.tags else partitions
    connector = claimed_connector(run) or next((step.split("/")[0] for step in failure.steps if "/" in step), "")
    lines = [
        languages.told(f"Job: {run.job_name}"),
        languages.told(f"Failed: {names(failure.steps)}") if failure.steps else "",
        languages.told(f"Partitions: {partitions}") if partitions else "",
        languages.told(f"Error: {clean_text(failure.message, settings.alert_urls) or failure.error_class}"),
        languages.told("Dagster starts it once more by itself.")
        if run.tags.get("dagster/will_retry") == "true"
        else "",
    ]
    return Alert(
        connector,
        part,
        # A job that is no connector's, such as a clean-up of Dagster's own, is known by its name.
        failure.error_class if connector else f"{run.job_name} {failure.error_class}",
        languages.told(
            f"imagesync: {run.job_name} failed for {account} ({failure.error_class})"
            if account
            else f"imagesync: {run.job_name} failed ({failure.error_class})"
        ),
        "\n".join(line for line in lines if line),
        f"{settings.webserver_url.rstrip('/')}/runs/{run.run_id}",
        ends_with=f"{RUN}{run.run_id}",
    )


def runs_over(instance: dg.DagsterInstance, told: Iterable[KeptAlert]) -> list[KeptAlert]:
    """Of what was told of failed runs, that after which a run did the same and completed."""
    return [one for one in told if one.ends_with.startswith(RUN) and _completed_since(instance, one.ends_with)]


def _completed_since(instance: dg.DagsterInstance, ends_with: str) -> bool:
    record = instance.get_run_record_by_id(ends_with.removeprefix(RUN))
    if record is None or record.end_time is None:
        return False
    run, ended = record.dagster_run, datetime.fromtimestamp(record.end_time, UTC)
    completed = dg.RunsFilter(job_name=run.job_name, statuses=[dg.DagsterRunStatus.SUCCESS], updated_after=ended)
    return any(does_the_same(one, run) for one in instance.get_runs(completed, limit=EVENTS_PER_TICK))


def does_the_same(later: dg.DagsterRun, failed: dg.DagsterRun) -> bool:
    """Whether a run that completed did what another one failed to do: for the same part, and no less of it."""
    is_less = is_dry_run(later) > is_dry_run(failed) or is_told(later, "full") < is_told(failed, "full")
    is_other = any(later.tags.get(tag) != failed.tags.get(tag) for tag in (SKUS_TAG, ENTITY_TAG, PLAN_TAG))
    if later.job_name != failed.job_name or is_less or is_other:
        return False
    if later.root_run_id in (failed.run_id, failed.root_run_id or failed.run_id):
        return True
    both_all = ALL_BLOCKS_TAG in later.tags and ALL_BLOCKS_TAG in failed.tags
    wanted = failed.asset_selection
    covers = later.asset_selection is None or (wanted is not None and wanted <= later.asset_selection)
    return covers and (both_all or partition_text(later) == partition_text(failed))


def build_failed_check_alert() -> dg.SensorDefinition:
    """The sensor: checks of every connector that failed with severity ERROR; warnings are for the UI."""

    @dg.sensor(
        name="failed_check_alert",
        description="One message per failed check to IMAGESYNC_ALERT_URLS; repeats are counted, not sent.",
        minimum_interval_seconds=LOOK_SECONDS,
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
        failed = [alert for event in found if (alert := check_alert(event.event_log_entry, settings)) is not None]
        passed = passed_checks(event.event_log_entry for event in found)
        told = Told(0)
        if (failed or passed) and settings.alert_urls:
            told = tell_from_anywhere(failed, settings, context.log, partial(_of_checks, passed))
        if found:
            context.update_cursor(str(found[-1].storage_id))
        said = f"{len(found)} check evaluations, {told.sent} messages sent." if settings.alert_urls else NOBODY
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
    lines = [
        languages.told(f"Check: {found.check_name} of {asset}"),
        *([languages.told(f"Partition: {found.partition}")] if found.partition else []),
        clean_text(found.description or languages.told("It gave no reason."), settings.alert_urls),
    ]
    return Alert(
        found.asset_key.path[0],
        found.partition or "",
        found.check_name,
        (
            languages.told(f"imagesync: {found.check_name} is not true for {found.partition}")
            if found.partition
            else languages.told(f"imagesync: {found.check_name} is not true")
        ),
        "\n".join(lines),
        f"{base}/runs/{entry.run_id}" if entry.run_id else f"{base}/assets/{asset}?view=checks",
        ends_with=CHECK,
    )


CheckKey = tuple[str, str, str]
"""A check as its alert is known: its connector, its partition, its name."""


def passed_checks(entries: Iterable[dg.EventLogEntry]) -> set[CheckKey]:
    """The checks that passed, by the last of these evaluations of each."""
    last: dict[CheckKey, bool] = {}
    for entry in entries:
        if (found := entry.asset_check_evaluation) is not None:
            last[found.asset_key.path[0], found.partition or "", found.check_name] = found.passed
    return {key for key, passed in last.items() if passed}


def _of_checks(passed: Collection[CheckKey], told: Iterable[KeptAlert]) -> list[KeptAlert]:
    ours = [one for one in told if one.ends_with == CHECK]
    return [one for one in ours if (one.connector, one.partition, one.error) in passed]


Ended = Callable[[Sequence[KeptAlert]], Sequence[KeptAlert]]
"""Of what was told, that which is over."""


def _nothing_ended(told: Sequence[KeptAlert]) -> Sequence[KeptAlert]:
    return ()


class Told(NamedTuple):
    """How many messages got out, and how many wait because nobody could be reached."""

    sent: int
    waiting: int = 0


def tell_from_anywhere(
    alerts: Sequence[Alert], settings: Settings, log: logging.Logger, ended: Ended = _nothing_ended
) -> Told:
    """As `tell`, for who has no installation open. Where our database does not answer, all are sent as they are.

    Better one message too many than one too few. Raises AlertNotSentError when one can neither be kept nor sent.
    """
    try:
        with open_installation(settings) as place:
            return tell(place.engine, alerts, settings, log, ended=ended)
    except (StorageError, SQLAlchemyError) as error:
        log.warning("What was sent before could not be read, so this is sent: %s", type(error).__name__)
    secrets = known_secrets(settings)
    for alert in alerts:
        clean = presentable(alert, secrets)
        for problem in send(settings.alert_urls, clean.title, f"{clean.body}\n{clean.link}"):
            log.warning(problem)
    return Told(len(alerts))


def tell(
    engine: sa.Engine,
    alerts: Sequence[Alert],
    settings: Settings,
    log: logging.Logger,
    now: datetime | None = None,
    pause: timedelta | None = None,
    ended: Ended = _nothing_ended,
) -> Told:
    """Send alerts, and those that wait; one like one that was sent within the pause is counted.

    pause: IMAGESYNC_ALERT_REPEAT_MINUTES, if nothing else is said. ended: which of those that were told are over by
    now; that is told once. One that reached nobody is kept and sent again.
    """
    now, pause = now or datetime.now(UTC), timedelta(minutes=settings.alert_repeat_minutes) if pause is None else pause
    secrets = known_secrets(settings) if alerts else ()
    for alert in alerts:
        if not note_alert(engine, presentable(alert, secrets), now, pause):
            log.info("%s: like one that was sent lately; it is counted, not sent again.", alert.title)
    deliver = partial(send, settings.alert_urls)
    sent, problems = send_due(engine, deliver, now)
    told = [one for one in kept_alerts(engine) if one.due_at is None and one.sent_at is not None]
    if told and end_alerts(engine, ended(told), now):
        more, others = send_due(engine, deliver, now)
        sent, problems = sent + more, [*problems, *others]
    for problem in problems:
        log.warning(problem)
    return Told(sent, len(kept_alerts(engine, waiting=True)))


def known_secrets(settings: Settings) -> Collection[SecretStr]:
    """Every secret of this installation that a message might repeat."""
    return {*settings.alert_urls, *(secret for connector in connectors() for secret in secrets_of(connector))}


def presentable(alert: Alert, secrets: Collection[SecretStr]) -> Alert:
    """An alert as it may leave the house: without secrets, users of URLs, and people's mail addresses."""
    texts = {
        name: _MAIL_ADDRESS.sub(languages.told("(a mail address)"), without_secrets(text, secrets))
        for name, text in (("title", alert.title), ("body", alert.body))
    }
    return replace(alert, **texts)


def send(targets: Sequence[SecretStr], title: str, body: str, is_good: bool = False) -> list[str]:
    """Send a message to every target; one that fails does not stop the others. is_good: it is good news.

    Returns one line per target that was not reached. Raises AlertNotSentError when none was.
    """
    problems = [problem for _, problem in send_each(targets, title, body, is_good) if problem]
    if problems and len(problems) == len(targets):
        raise AlertNotSentError("; ".join(problems))
    return problems


def send_each(targets: Sequence[SecretStr], title: str, body: str, is_good: bool) -> list[tuple[str, str]]:
    """Send a message to every target; gives for each how it may be called, and why it did not go out ('': it did).

    The door through which alerts leave: they are kept in English, and retold here in the language of the setting.
    """
    import apprise

    # Apprise writes the URLs of its targets, secrets included, to its log.
    logging.getLogger("apprise").disabled = True
    text, kind = apprise.NotifyFormat.TEXT, apprise.NotifyType.SUCCESS if is_good else apprise.NotifyType.FAILURE
    outcomes = []
    with speaking(load_settings(LanguageSettings).language):
        title, body = retold(title), retold(body)
    for number, target in enumerate(targets, start=1):
        url, name = target.get_secret_value(), languages.told(f"target {number} of IMAGESYNC_ALERT_URLS")
        sender = apprise.Apprise()
        if not sender.add(url):
            outcomes.append((name, languages.told(f"{name} is not understood by apprise")))
            continue
        name = f"{name} ({url.partition('://')[0][:20]})"
        reached = sender.notify(body=body, title=title, notify_type=kind, body_format=text)
        outcomes.append((name, "" if reached else languages.told(f"{name} was not reached")))
    return outcomes
