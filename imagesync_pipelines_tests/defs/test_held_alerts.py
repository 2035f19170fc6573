"""What is held back is told when it is new, and once a day as long as it is: never at each look."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa

from imagesync_pipelines.defs.held_alerts import DIGEST, HELD, build_held_alert, held_alerts, over
from imagesync_pipelines.storage.alerts import KeptAlert, kept_alerts
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.held import HeldEntry, HeldRow
from imagesync_pipelines_tests.defs.conftest import Receiver

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def entry(hours: float, account: str = "north") -> HeldEntry:
    """Something that is held since so many hours."""
    since = NOW - timedelta(hours=hours)
    return HeldEntry("k", "g", "f", held.LIMIT, "too many at once", connector="edge", account=account, since=since)


def told(hours: float | None, error: str = HELD, account: str = "north") -> KeptAlert:
    """A message that was sent so many hours ago, or waits."""
    sent = None if hours is None else NOW - timedelta(hours=hours)
    owner = ("", "") if error == DIGEST else ("edge", account)
    return KeptAlert(*owner, error, "t", "b", "l", NOW, 0, sent, NOW if sent is None else None, 0)


@pytest.mark.parametrize(
    ("waiting", "before", "expected"),
    [
        pytest.param([], [], [], id="nothing is held"),
        pytest.param([entry(1)], [], [HELD], id="new"),
        pytest.param([entry(1)], [told(None)], [], id="its message waits to be sent"),
        pytest.param([entry(2)], [told(1)], [], id="told"),
        pytest.param([entry(2), entry(0.5)], [told(1)], [HELD], id="more of it"),
        pytest.param([entry(2), entry(1, "south")], [told(1)], [HELD], id="another store's"),
        pytest.param([entry(25)], [told(24)], [DIGEST], id="a day later"),
        pytest.param([entry(50)], [told(49), told(23, DIGEST)], [], id="less than a day after the digest"),
        pytest.param([entry(50)], [told(49), told(24, DIGEST)], [DIGEST], id="a day after the digest"),
        pytest.param([entry(50), entry(1)], [told(49), told(24, DIGEST)], [HELD, DIGEST], id="both"),
    ],
)
def test_what_is_held_is_told_when_it_is_new_and_then_once_a_day(
    waiting: Sequence[HeldEntry], before: Sequence[KeptAlert], expected: Sequence[str]
) -> None:
    assert [one.error for one in held_alerts(waiting, before, "link", NOW)] == expected


def test_what_is_over_is_forgotten_so_that_the_next_is_news() -> None:
    before = [told(5), told(5, account="south"), told(5, DIGEST)]
    assert over([entry(6)], before) == [before[1]]
    assert over([], before) == before[:2]


def test_a_message_says_whose_rows_are_held_and_what_to_type(
    instance: dg.DagsterInstance, database: sa.Engine, receiver: Receiver
) -> None:
    row = HeldRow("p1/1", "p1", "f", held.LIMIT, "held back: 12 of 48 would go")

    def look() -> int:
        receiver.messages.clear()
        with dg.build_sensor_context(instance=instance) as context:
            build_held_alert().evaluate_tick(context)
        return len(receiver.messages)

    held.hold(database, "edge", "north", held.GUARD, [row, replace(row, key="p1/2")], plan_id=7)
    assert look() == 1
    message = receiver.messages[0]
    assert message["title"] == "imagesync: 2 newly held back of edge/north"
    for part in ("12 of 48 would go", "`imagesync apply 7`", "`imagesync held list`"):
        assert part in message["message"]
    assert look() == 0
    held.release(database, "edge", "north", ["p1/1", "p1/2"])
    assert look() == 1
    assert receiver.titles() == ["imagesync: over: 2 newly held back of edge/north"]
    assert kept_alerts(database) == []
    held.hold(database, "edge", "north", held.GUARD, [row])
    assert look() == 1
