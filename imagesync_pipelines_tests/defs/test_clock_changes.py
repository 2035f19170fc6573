"""Where the clock is changed, the daily run and each hourly run start once, as Dagster's own schedules have it."""

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from imagesync_pipelines.defs.assets import starts_at

ZONE = "Europe/Berlin"
DAILY, HOURLY = "0 2 * * *", "0 * * * *"


def starts(cron: str, day: datetime) -> list[datetime]:
    """When Dagster's daemon starts a schedule on a day of the zone, in UTC."""
    ticks = schedule_execution_time_iterator(day.timestamp(), cron, ZONE)
    # In one zone that is the next midnight, however many hours away it is.
    midnight = day + timedelta(days=1)
    return [tick.astimezone(UTC) for tick in takewhile(lambda tick: tick.astimezone(day.tzinfo) < midnight, ticks)]


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        pytest.param(datetime(2026, 11, 21), 24, id="an ordinary day"),
        pytest.param(datetime(2026, 3, 29), 23, id="spring: there is no 02:00"),
        pytest.param(datetime(2026, 10, 25), 25, id="autumn: there are two 02:00"),
    ],
)
def test_every_hour_has_one_run_and_one_of_them_is_the_daily_one(day: datetime, hours: int) -> None:
    day = day.replace(tzinfo=ZoneInfo(ZONE))
    daily, hourly = starts(DAILY, day), starts(HOURLY, day)
    assert len(daily) == 1
    left = [moment for moment in hourly if not starts_at(DAILY, ZONE, moment)]
    assert len({*daily, *left}) == len(daily) + len(left) == hours


@pytest.mark.parametrize(
    ("cron", "hour", "minute", "at_once"),
    [
        pytest.param("0 2 * * *", 2, 0, True, id="its minute"),
        pytest.param("0 2 * * *", 3, 0, False, id="another hour"),
        pytest.param("30 2 * * *", 2, 0, False, id="another minute"),
        pytest.param("0 2 * * 0", 2, 0, False, id="another day of the week"),
        pytest.param("0 2 * * 6", 2, 0, True, id="its day of the week"),
        pytest.param("0 */2 * * *", 2, 0, True, id="every second hour"),
    ],
)
def test_any_cron_is_recognised_by_when_it_starts(cron: str, hour: int, minute: int, at_once: bool) -> None:
    moment = datetime(2026, 11, 21, hour, minute, tzinfo=ZoneInfo(ZONE))
    assert starts_at(cron, ZONE, moment) is at_once
    assert starts_at(cron, ZONE, moment.astimezone(UTC)) is at_once
