"""Ticks that failed, a daemon that stopped and sensors that do not work are told; what a person switched off is not."""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from imagesync_pipelines.defs.watching import SENSOR, build_dagster_alert, daemon_stopped, not_looking, watch
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.alerts import kept_alerts
from imagesync_pipelines_tests.defs.conftest import Receiver

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LOG = logging.getLogger(__name__)


def state_of(name: str, status: InstigatorStatus = InstigatorStatus.RUNNING, **data: float) -> InstigatorState:
    place = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="imagesync_pipelines.definitions"))
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(place, "__repository__"), name)
    return InstigatorState(origin, InstigatorType.SENSOR, status, SensorInstigatorData(**data))  # type: ignore[arg-type]


def tick_of(
    instance: dg.DagsterInstance, state: InstigatorState, at: datetime, error: str = "", cls: str = "ValueError"
) -> None:
    """A tick that Dagster's daemon has recorded."""
    instance.create_tick(
        TickData(
            instigator_origin_id=state.instigator_origin_id,
            instigator_name=state.name,
            instigator_type=state.instigator_type,
            status=TickStatus.FAILURE if error else TickStatus.SUCCESS,
            timestamp=at.timestamp(),
            selector_id=state.selector_id,
            run_ids=[],
            error=SerializableErrorInfo(f"{cls}: {error}\n", [], cls) if error else None,
        )
    )


def look(instance: dg.DagsterInstance, cursor: str | None) -> tuple[str, str]:
    """What the sensor says and remembers after a tick of its own."""
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        data = build_dagster_alert().evaluate_tick(context)
    return data.skip_message or "", data.cursor or ""


def test_a_tick_that_failed_is_told_once_and_one_before_the_sensor_was_on_is_not(
    postgres_instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    instance = postgres_instance
    photos, nightly = state_of("edge__new_photos"), state_of("image_db__sync__daily")
    off = state_of("moysklad__requests", InstigatorStatus.STOPPED)
    for state in (photos, nightly, off):
        instance.add_instigator_state(state)
    now = datetime.now(UTC)
    tick_of(instance, photos, now, "long ago")
    _, cursor = look(instance, None)
    assert receiver.messages == []
    tick_of(instance, photos, now, "no such file")
    tick_of(instance, photos, now)
    tick_of(instance, nightly, now, "the page partitions are gone")
    tick_of(instance, off, now, "of a sensor that somebody switched off")
    said, cursor = look(instance, cursor)
    assert said == "2 failed ticks, 2 messages sent, 0 wait to be sent."
    assert look(instance, cursor)[0] == "0 failed ticks, 0 messages sent, 0 wait to be sent."
    assert sorted(receiver.titles()) == [
        "imagesync: the sensor edge__new_photos failed (ValueError)",
        "imagesync: the sensor image_db__sync__daily failed (ValueError)",
    ]
    assert "Error: no such file" in " ".join(message["message"] for message in receiver.messages)
    receiver.messages.clear()
    tick_of(instance, photos, datetime.now(UTC) + timedelta(seconds=5))
    _, cursor = look(instance, cursor)
    assert receiver.titles() == ["imagesync: over: the sensor edge__new_photos failed (ValueError)"]
    look(instance, cursor)
    assert len(receiver.messages) == 1, "its end is told once"


def test_a_code_location_that_does_not_answer_is_one_message_and_not_one_per_sensor(
    postgres_instance: dg.DagsterInstance, receiver: Receiver
) -> None:
    instance = postgres_instance
    _, cursor = look(instance, None)
    for name in ("edge__new_photos", "moysklad__requests", "run_failure_alert"):
        state = state_of(name)
        instance.add_instigator_state(state)
        tick_of(instance, state, datetime.now(UTC), "unreachable", "DagsterUserCodeUnreachableError")
    look(instance, cursor)
    assert len(receiver.messages) == 1


def ago(**parts: timedelta) -> dict[str, float]:
    return {name: (NOW - passed).timestamp() for name, passed in parts.items()}


@pytest.mark.parametrize(
    ("beats", "said"),
    [
        pytest.param({}, None, id="no daemon was ever started here"),
        pytest.param(ago(SENSOR=timedelta(seconds=40), SCHEDULER=timedelta(seconds=20)), None, id="it works"),
        pytest.param(ago(SENSOR=timedelta(minutes=20), SCHEDULER=timedelta(0)), None, id="one part is busy"),
        pytest.param(ago(SENSOR=timedelta(minutes=6), SCHEDULER=timedelta(hours=2)), "11:54 UTC", id="it stopped"),
        pytest.param(ago(SENSOR=timedelta(minutes=31), SCHEDULER=timedelta(0)), "silent for half", id="a part hangs"),
        pytest.param(ago(OLD=timedelta(days=9), SENSOR=timedelta(0)), None, id="a part of an earlier release"),
    ],
)
def test_a_daemon_stopped_when_none_of_its_parts_gives_a_sign_of_life(
    beats: Mapping[str, float], said: str | None
) -> None:
    found = daemon_stopped(beats, ["SENSOR", "SCHEDULER"], NOW)
    assert (found is None) if said is None else (said in (found or ""))


@pytest.mark.parametrize(
    ("minutes", "told"), [pytest.param(14, False, id="looked lately"), pytest.param(16, True, id="looks no more")]
)
def test_a_sensor_that_looks_no_more_is_told(minutes: int, told: bool) -> None:
    last = (NOW - timedelta(minutes=minutes)).timestamp()
    assert (not_looking([state_of(SENSOR, last_tick_success_timestamp=last)], NOW) is not None) is told
    assert not_looking([], NOW) is None, "somebody switched it off"


def test_a_daemon_that_stopped_is_told_once_a_day_and_at_once_when_it_stops_again(
    postgres_instance: dg.DagsterInstance, database: sa.Engine, receiver: Receiver
) -> None:
    instance, settings = postgres_instance, load_settings(Settings)

    def beat(at: datetime) -> None:
        for name in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), name, "x"))

    def told(after: timedelta) -> int:
        receiver.messages.clear()
        watch(database, instance, settings, LOG, NOW + after)
        return len(receiver.messages)

    beat(NOW)
    assert told(timedelta(minutes=4)) == 0
    assert told(timedelta(minutes=6)) == 1
    assert told(timedelta(hours=12)) == 0, "it is the same stop"
    assert told(timedelta(hours=25)) == 1
    beat(NOW + timedelta(hours=26))
    assert told(timedelta(hours=26)) == 1
    assert receiver.titles() == ["imagesync: over: Dagster's daemon stopped"]
    assert kept_alerts(database) == []
    assert told(timedelta(hours=26, minutes=1)) == 0, "its end is told once"
    assert told(timedelta(hours=27)) == 1
    assert receiver.titles() == ["imagesync: Dagster's daemon stopped"]
