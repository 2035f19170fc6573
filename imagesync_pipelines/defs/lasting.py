"""What lasts until somebody sees to it: data that is late, a budget that is spent, runs that do not start.

Each is told when it begins and when it is over. The same sensor sends the daily digest, where one is wanted.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import partial
from zoneinfo import ZoneInfo

import dagster as dg
import sqlalchemy as sa
from dagster._core.definitions.freshness import FreshnessState

from imagesync_pipelines import languages
from imagesync_pipelines.defs.alerts import NOBODY, tell
from imagesync_pipelines.defs.held_alerts import HELD
from imagesync_pipelines.defs.history import claimed_connector
from imagesync_pipelines.defs.launching import partition_text
from imagesync_pipelines.defs.metadata import names
from imagesync_pipelines.defs.watching import DAEMON, WATCHING
from imagesync_pipelines.languages import N_
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.alerts import SIGN, Alert, KeptAlert, kept_alerts
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.storage.rate_budget import WindowLeft, budgets
from imagesync_pipelines.storage.schema import quarantine
from imagesync_pipelines.storage.subscriptions import DISABLED
from imagesync_pipelines.sync.held import sentences, undecided

LOOK_SECONDS = 120
LATE, SPENT, WAITING, DIGEST = "late", N_("budget spent"), N_("does not start"), "digest"
LASTS = (LATE, SPENT, WAITING, HELD, DAEMON, WATCHING, DISABLED)
# A shorter window is full all the time, and its calls wait; what we were told to wait for is told from this on.
LONG_WINDOW_SECONDS, LONG_BLOCK_SECONDS = 600, 300
WAITS_TOO_LONG = timedelta(hours=1)
A_DAY = timedelta(days=1)
SHOWN = 20
_ENDS = {
    "SUCCESS": N_("{number:d} success"),
    "FAILURE": N_("{number:d} failure"),
    "CANCELED": N_("{number:d} canceled"),
    "STARTED": N_("{number:d} started"),
    "QUEUED": N_("{number:d} queued"),
}
NOT_BEGUN = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.STARTING)


def build_lasting_alert() -> dg.SensorDefinition:
    """The sensor: late data, spent budgets and runs that do not start; and the daily digest."""

    @dg.sensor(
        name="lasting_alert",
        description="One message when data is late, a budget is spent or a run does not start, and one when it is "
        "over; the daily digest of IMAGESYNC_ALERT_DIGEST_AT.",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def lasting_alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        settings, now, instance = load_settings(Settings), datetime.now(UTC), context.instance
        if not settings.alert_urls:
            return dg.SkipReason(NOBODY)
        with open_installation(settings) as place:
            found = [
                *late(late_assets(instance), settings),
                *spent(budgets(place.engine, now.timestamp()), settings),
                *not_begun(_waiting_runs(instance, now), settings),
            ]
            told = {
                (one.connector, one.partition, one.error) for one in kept_alerts(place.engine) if one.over_at is None
            }
            news = [one for one in found if (one.connector, one.partition, one.error) not in told]
            sent = tell(place.engine, news, settings, context.log, now, ended=partial(ended, found)).sent
            last = next(iter(kept_alerts(place.engine, error=DIGEST)), None)
            if digest_is_due(None if last is None else last.noted_at, now, settings):
                one = digest(place.engine, instance, settings, now)
                sent += tell(place.engine, [one], settings, context.log, now, timedelta(0)).sent
        return dg.SkipReason(f"{len(found)} things last; {sent} messages sent.")

    return lasting_alert


def ended(found: Iterable[Alert], told: Sequence[KeptAlert]) -> list[KeptAlert]:
    """Of what was told, that which lasts no longer."""
    lasting = {_key(one) for one in found}
    return [one for one in told if one.error in (LATE, SPENT, WAITING) and _key(one) not in lasting]


def _key(alert: Alert) -> tuple[str, str, str]:
    return alert.connector, alert.partition, alert.error


def late_assets(instance: dg.DagsterInstance) -> dict[str, list[str]]:
    """The steps whose data is older than promised, as the UI shows it, of connectors that start by themselves."""
    running = [state.name for state in instance.all_instigator_state() if state.is_running]
    switched_on = {name.partition("__")[0] for name in running if "__sync__" in name}
    keys = [dg.AssetKey([one.name, step.name]) for one in connectors() if one.name in switched_on for step in one.steps]
    records = instance.get_freshness_state_records(keys) if keys else {}
    found: dict[str, list[str]] = {}
    for key in keys:
        if (record := records.get(key)) is not None and record.freshness_state is FreshnessState.FAIL:
            found.setdefault(key.path[0], []).append(key.path[1])
    return found


def late(assets: Mapping[str, Sequence[str]], settings: Settings) -> list[Alert]:
    """One alert for each connector with late data; assets: the steps that are late, by connector."""
    base = settings.webserver_url.rstrip("/")
    return [
        Alert(
            connector,
            "",
            LATE,
            SIGN + languages.told(f"{connector} is late"),
            languages.told(
                f"Older than it should be: {names(steps)}. No run has renewed it in time: did its "
                "schedule start, and did its last run complete?"
            ),
            f"{base}/assets/{connector}/{steps[0]}",
        )
        for connector, steps in sorted(assets.items())
    ]


def spent(left: Mapping[str, Sequence[WindowLeft]], settings: Settings) -> list[Alert]:
    """One alert for each account whose calls are used up for long, or that was told to wait for long.

    left: what is left of the windows of each principal. What our own callers may is not ours to save.
    """
    found = []
    for principal, windows in sorted(left.items()):
        used = [one for one in windows if one.window.seconds >= LONG_WINDOW_SECONDS and not one.left]
        blocked = max((one.blocked_seconds for one in windows), default=0.0)
        if principal.startswith("catalogue:") or not (used or blocked >= LONG_BLOCK_SECONDS):
            continue
        said = [
            languages.told(f"All {one.window.calls} calls of {one.window.seconds // 60} minutes are used up.")
            for one in used
        ]
        if blocked:
            said.append(languages.told(f"It asks us to wait for {blocked / 60:.0f} minutes more."))
        connector = principal.partition(" ")[0]
        title = SIGN + languages.told(f"the calls of {principal} are used up")
        body = "\n".join([*said, languages.told("Runs wait, or end and go on later; what they did is kept.")])
        known = connector in {one.name for one in connectors()}
        link = f"{settings.webserver_url.rstrip('/')}/runs"
        found.append(Alert(connector if known else "", principal, SPENT, title, body, link))
    return found


def not_begun(waiting: Sequence[dg.DagsterRun], settings: Settings) -> list[Alert]:
    """One alert for each connector with runs that should have started long ago; waiting: the oldest first."""
    link = f"{settings.webserver_url.rstrip('/')}/runs?view=queued"
    of: dict[str, list[dg.DagsterRun]] = {}
    for run in waiting:
        of.setdefault(claimed_connector(run) or "", []).append(run)
    return [
        Alert(
            connector,
            "",
            WAITING,
            SIGN + languages.told(f"runs of {connector} do not start" if connector else "runs do not start"),
            languages.told(
                f"Asked for more than an hour ago and not started: {len(runs)} runs, of "
                f"{names(dict.fromkeys(_part(run) for run in runs))}. Runs before them are still at "
                "work, or a pool has no place free (Deployment, Concurrency), or the daemon does not "
                "work."
            ),
            link,
        )
        for connector, runs in of.items()
    ]


def _part(run: dg.DagsterRun) -> str:
    partition = partition_text(run)
    return f"{run.job_name} for {partition}" if partition else run.job_name


def _waiting_runs(instance: dg.DagsterInstance, now: datetime) -> list[dg.DagsterRun]:
    wanted = dg.RunsFilter(statuses=list(NOT_BEGUN), created_before=now - WAITS_TOO_LONG)
    return list(reversed(instance.get_runs(wanted, limit=1000)))


def digest_is_due(last: datetime | None, now: datetime, settings: Settings) -> bool:
    """Whether the digest of a day is to be made; last: when one was made, None: never."""
    if settings.alert_digest_at is None:
        return False
    here = now.astimezone(ZoneInfo(settings.timezone))
    passed = [_moment(day, settings.alert_digest_at, here) for day in (here, here - A_DAY)]
    newest = next(moment for moment in passed if moment <= now)
    return last is None or last < newest


def _moment(day: datetime, at: time, here: datetime) -> datetime:
    return datetime.combine(day.date(), at, here.tzinfo).astimezone(UTC)


def digest(engine: sa.Engine, instance: dg.DagsterInstance, settings: Settings, now: datetime) -> Alert:
    """The last 24 hours in one message: how runs ended, what was told, what waits for a person."""
    records = instance.get_run_records(dg.RunsFilter(created_after=now - A_DAY))
    runs = Counter((claimed_connector(one.dagster_run) or "others", one.dagster_run.status.value) for one in records)
    alerts = not_over(kept_alerts(engine), now)
    with engine.connect() as connection:
        by_connector = sa.select(quarantine.c.connector, sa.func.count()).group_by(quarantine.c.connector)
        aside = {str(name): int(number) for name, number in connection.execute(by_connector)}
    body = digest_text(runs, alerts, sentences(undecided(engine)), aside)
    return Alert("", "", DIGEST, SIGN + languages.told("the last 24 hours"), body, settings.webserver_url.rstrip("/"))


def not_over(kept: Iterable[KeptAlert], now: datetime) -> list[KeptAlert]:
    """What a digest names: the failures of the day, and all that lasts, which is noted when it begins."""
    return [
        one
        for one in kept
        if one.over_at is None and one.error != DIGEST and (one.error in LASTS or one.noted_at > now - A_DAY)
    ]


def digest_text(
    runs: Mapping[tuple[str, str], int], alerts: Sequence[KeptAlert], held: Collection[str], aside: Mapping[str, int]
) -> str:
    """The body of a digest. runs: how many by connector and status; aside: what is quarantined, by connector."""
    lines = [languages.told("Runs:")] if runs else [languages.told("No run was started.")]
    for connector in sorted({name for name, _ in runs}):
        ends = ", ".join(_ended(one[1], runs[one]) for one in sorted(runs) if one[0] == connector)
        lines.append(f"  {connector}: {ends}")
    lines += [languages.told("Not over yet:")] if alerts else [languages.told("Nothing went wrong that is not over.")]
    lines += [f"  {_with_time(one)}" for one in alerts[:SHOWN]]
    lines += ["  " + languages.told(f"and {len(alerts) - SHOWN} more")] if len(alerts) > SHOWN else []
    lines += [languages.told(f"Held back: {line}") for line in list(held)[:SHOWN]]
    lines += [languages.told(f"Quarantined: {number} of {name}") for name, number in sorted(aside.items())]
    return "\n".join(lines)


def _ended(status: str, number: int) -> str:
    return _ENDS[status].format(number=number) if status in _ENDS else f"{number} {status.lower()}"


def _with_time(one: KeptAlert) -> str:
    title = one.title.removeprefix(SIGN)
    # What lasts may have been noted days ago.
    return languages.told(
        f"{title} (noted at {one.noted_at:%Y-%m-%d %H:%M} UTC)"
        if one.error in LASTS
        else f"{title} (last at {one.noted_at:%H:%M} UTC)"
    )
