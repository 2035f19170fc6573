"""What Dagster does not tell by itself: a schedule's or sensor's tick that failed, and a daemon that stopped.

Ticks are looked at by a sensor. A stopped daemon cannot tell of itself, and a sensor that does not work cannot either:
both are looked at by `imagesync serve`.
"""

import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg
import sqlalchemy as sa
from dagster._core.scheduler.instigation import InstigatorState, InstigatorTick, TickStatus

from imagesync_pipelines import languages
from imagesync_pipelines.defs.alerts import ASKED_FOR, NOBODY, TICK, runs_over, tell, tell_from_anywhere
from imagesync_pipelines.defs.history import error_message, root_error
from imagesync_pipelines.defs.launching import Memory
from imagesync_pipelines.defs.metadata import clean_text
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.alerts import Alert, KeptAlert
from imagesync_pipelines.storage.installation import Installation

SENSOR = "dagster_alert"
LOOK_SECONDS = 60
# A tick is stored under the moment it began; one that takes longer than this is ended by Dagster.
LONGEST_TICK = timedelta(minutes=15)
# Every daemon writes each half minute. One of them may be at work for long; all of them are not.
SILENT, ONE_SILENT = timedelta(minutes=5), timedelta(minutes=30)
WHILE_IT_LASTS = timedelta(days=1)
DAEMON, WATCHING = "daemon", "watching"

_UNREACHABLE = "DagsterUserCodeUnreachableError"


class TicksSeen(Memory):
    """What the sensor remembers between two looks: when the last was, and the failed ticks since then and shortly
    before it, by their numbers in Dagster's records."""

    looked_at: datetime | None = None
    told: tuple[int, ...] = ()


def build_dagster_alert() -> dg.SensorDefinition:
    """The sensor: failed ticks of every schedule and sensor; and whatever waits to be sent is sent."""

    @dg.sensor(
        name=SENSOR,
        description="One message per failed tick of a schedule or sensor; alerts that reached nobody are sent again.",
        minimum_interval_seconds=LOOK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def dagster_alert(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        settings, now, memory = load_settings(Settings), datetime.now(UTC), TicksSeen.of(context.cursor)
        found = failed_ticks(context.instance, (memory.looked_at or now) - LONGEST_TICK)
        news = [tick for tick in found if tick.tick_id not in memory.told]
        told = [tick_alert(tick, settings) for tick in news] if settings.alert_urls and memory.looked_at else []
        ended = partial(over_by_now, context.instance)
        outcome = tell_from_anywhere(told, settings, context.log, ended) if settings.alert_urls else None
        context.update_cursor(TicksSeen(looked_at=now, told=tuple(tick.tick_id for tick in found)).model_dump_json())
        if outcome is None:
            return dg.SkipReason(NOBODY)
        return dg.SkipReason(
            f"{len(told)} failed ticks, {outcome.sent} messages sent, {outcome.waiting} wait to be sent."
        )

    return dagster_alert


def failed_ticks(instance: dg.DagsterInstance, after: datetime) -> list[InstigatorTick]:
    """The failed ticks of all schedules and sensors that began after a moment, the first one first."""
    found = [
        tick
        for state in instance.all_instigator_state()
        if state.is_running
        for tick in instance.get_ticks(
            state.instigator_origin_id, state.selector_id, after=after.timestamp(), statuses=[TickStatus.FAILURE]
        )
    ]
    return sorted(found, key=lambda tick: tick.timestamp)


def over_by_now(instance: dg.DagsterInstance, told: Sequence[KeptAlert]) -> list[KeptAlert]:
    """Of what was told of failed runs and ticks, that after which the same went well."""
    told = [one for one in told if one.noted_at > datetime.now(UTC) - ASKED_FOR]
    of_ticks = [one for one in told if one.ends_with.startswith(TICK)]
    states = {state.name: state for state in instance.all_instigator_state()} if of_ticks else {}
    return [
        *runs_over(instance, told),
        *(one for one in of_ticks if _ticked_since(instance, states.get(one.ends_with.removeprefix(TICK)), one)),
    ]


def _ticked_since(instance: dg.DagsterInstance, state: InstigatorState | None, told: KeptAlert) -> bool:
    if state is None:
        return False
    well = instance.get_ticks(
        state.instigator_origin_id,
        state.selector_id,
        after=told.noted_at.timestamp(),
        statuses=[TickStatus.SUCCESS, TickStatus.SKIPPED],
        limit=1,
    )
    return bool(well)


def tick_alert(tick: InstigatorTick, settings: Settings) -> Alert:
    """What is told about a tick that failed: of what, why, what it means.

    While the code location does not answer every tick fails: that is one thing to tell, not one for each of them.
    """
    name, kind = tick.instigator_name, tick.instigator_type.value.lower()
    error = root_error(tick.error) if tick.error is not None else None
    error_class = (error.cls_name if error is not None else "") or "RuntimeError"
    text = (
        clean_text(error_message(error), settings.alert_urls)
        if error is not None
        else languages.told("it gave no reason")
    )
    everywhere = error_class == _UNREACHABLE
    connector = name.partition("__")[0]
    return Alert(
        connector if not everywhere and connector in {one.name for one in connectors()} else "",
        "",
        error_class if everywhere else f"{name} {error_class}",
        languages.told(f"imagesync: the {kind} {name} failed ({error_class})"),
        languages.told(
            f"{kind.capitalize()}: {name}\nError: {text or error_class}\nWhat it would have started was not started; "
            "it is tried again at its next tick."
        ),
        f"{settings.webserver_url.rstrip('/')}/automation",
        ends_with=f"{TICK}{name}",
    )


@contextmanager
def watched(place: Installation, instance: dg.DagsterInstance, log: logging.Logger) -> Iterator[None]:
    """Look every minute, as long as the block lasts, whether Dagster's daemon and its sensors work."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            try:
                watch(place.engine, instance, place.settings, log, datetime.now(UTC))
            except Exception as error:  # noqa: BLE001 - a database that does not answer now may answer in a minute
                log.warning("Whether Dagster's daemon works could not be looked at: %s", type(error).__name__)

    watcher = threading.Thread(target=look, name="watching the daemon", daemon=True)
    if place.settings.alert_urls:
        watcher.start()
    try:
        yield
    finally:
        over.set()
        if watcher.is_alive():
            watcher.join(timeout=LOOK_SECONDS)


def watch(
    engine: sa.Engine, instance: dg.DagsterInstance, settings: Settings, log: logging.Logger, now: datetime
) -> None:
    """Tell, once and again each day it lasts, that the daemon stopped or that its sensors do not work.

    And send whatever waits: with a stopped daemon nobody else does.
    """
    states = [state for state in instance.all_instigator_state() if state.name == SENSOR and state.is_running]
    base = settings.webserver_url.rstrip("/")
    stopped = silent_daemon(instance, now)
    # Of sensors nothing is known while no daemon asks them.
    found = {DAEMON: stopped} if stopped else {DAEMON: None, WATCHING: not_looking(states, now)}
    told = [
        Alert("", "", DAEMON, languages.told("imagesync: Dagster's daemon stopped"), text, f"{base}/deployment/daemons")
        if error == DAEMON
        else Alert(
            "", "", WATCHING, languages.told("imagesync: Dagster's sensors do not work"), text, f"{base}/automation"
        )
        for error, text in found.items()
        if text
    ]

    def ended(before: Sequence[KeptAlert]) -> list[KeptAlert]:
        return [one for one in before if not one.connector and one.error in found and not found[one.error]]

    tell(engine, told, settings, log, now, WHILE_IT_LASTS, ended)


def silent_daemon(instance: dg.DagsterInstance, now: datetime | None = None) -> str | None:
    """What there is to say when Dagster's daemon, or a part of it, is silent; None: it works, or there never was one.

    Raises whatever Dagster raises.
    """
    beats = {name: beat.timestamp for name, beat in instance.get_daemon_heartbeats().items()}
    return daemon_stopped(beats, instance.get_required_daemon_types(), now or datetime.now(UTC))


def daemon_stopped(beats: Mapping[str, float], required: Collection[str], now: datetime) -> str | None:
    """What there is to say when the daemon stopped, or one of its parts; None: it works, or there never was one.

    beats: the last sign of life of each part, in seconds since 1970. required: the parts that this instance has.
    """
    last = {name: datetime.fromtimestamp(beat, UTC) for name, beat in beats.items() if name in required}
    if not last:
        return None
    silent = sorted(name for name, at in last.items() if now - at > ONE_SILENT)
    newest = max(last.values())
    if now - newest > SILENT:
        return languages.told(
            f"Its last sign of life was at {newest:%Y-%m-%d %H:%M} UTC. No schedule and no sensor starts anything, and "
            "no failed run is told, until it runs again: start it with the variables that `imagesync env` prints."
        )
    if silent:
        return languages.told(
            f"It runs, but these parts of it have been silent for half an hour: {', '.join(silent)}. Start it anew."
        )
    return None


def not_looking(states: Sequence[InstigatorState], now: datetime) -> str | None:
    """What there is to say when the sensor that looks at failed ticks does not work itself; None: it does.

    states: its state where it is switched on.
    """
    for state in states:
        data = state.instigator_data
        marks = [getattr(data, name, None) for name in ("last_tick_success_timestamp", "last_sensor_start_timestamp")]
        known = [datetime.fromtimestamp(mark, UTC) for mark in marks if mark]
        if known and now - max(known) > LONGEST_TICK:
            return languages.told(
                f"The sensor {SENSOR} has not ended well since {max(known):%Y-%m-%d %H:%M} UTC: the code location "
                "cannot be loaded, or the database does not answer. Failed runs and ticks are not told until it does."
            )
    return None
