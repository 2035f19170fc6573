"""The calls of a principal are counted once for all processes, and no span of a window holds more than its limit."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesync_pipelines.storage.rate_budget import LONGEST_BLOCK_SECONDS, Lease, Window, block, give_back, left, take
from imagesync_pipelines.storage.schema_accounts import rate_budget

TEN = Window(4, 10)
HOUR = Window(10, 3600)
NOON = 1_800_000_000.0


def _drain(engine: sa.Engine, now: float, *windows: Window) -> int:
    """How many calls are let through at one moment."""
    taken = 0
    while taken < 1000 and take(engine, "a", windows, now) == 0.0:
        taken += 1
    return taken


def test_calls_are_let_through_up_to_the_limit(database: sa.Engine) -> None:
    assert _drain(database, NOON, TEN) == 4
    assert take(database, "a", [TEN], NOON) == pytest.approx(10.5)
    assert take(database, "another", [TEN], NOON) == 0.0


def test_a_call_is_let_through_after_exactly_the_wait_that_was_named(database: sa.Engine) -> None:
    _drain(database, NOON + 0.3, TEN)
    wait = take(database, "a", [TEN], NOON + 0.3)
    assert take(database, "a", [TEN], NOON + 0.3 + wait - 0.01) == pytest.approx(0.01, abs=0.005)
    assert take(database, "a", [TEN], NOON + 0.3 + wait) == 0.0


def test_a_call_counts_in_every_window_or_in_none(database: sa.Engine) -> None:
    assert _drain(database, NOON, TEN, HOUR) == 4
    assert _drain(database, NOON + 11, TEN, HOUR) == 4
    assert _drain(database, NOON + 22, TEN, HOUR) == 2
    # The hour is full; what it refused is not missing in the ten seconds.
    assert take(database, "a", [TEN, HOUR], NOON + 23) > 3500
    assert [state.used for state in left(database, "a", [TEN, HOUR], NOON + 23)] == [2, 10]


@pytest.mark.parametrize("windows", [(TEN, Window(9, 10)), (Window(9, 10), TEN)])
def test_of_two_limits_for_the_same_time_the_stricter_one_holds(
    database: sa.Engine, windows: tuple[Window, Window]
) -> None:
    assert _drain(database, NOON, *windows) == 4


def test_what_is_left_is_told_without_counting(database: sa.Engine) -> None:
    assert left(database, "a", [TEN], NOON)[0] == (TEN, 0, 4, 0.0)
    take(database, "a", [TEN], NOON)
    assert left(database, "a", [TEN], NOON)[0][:3] == (TEN, 1, 3)
    assert left(database, "a", [TEN], NOON + 10.5)[0][:3] == (TEN, 0, 4)


def test_a_limit_that_changes_holds_from_the_next_call_on(database: sa.Engine) -> None:
    _drain(database, NOON, TEN)
    assert take(database, "a", [Window(5, 10)], NOON) == 0.0
    assert take(database, "a", [Window(2, 10)], NOON) > 0
    with database.connect() as connection:
        assert connection.execute(sa.select(rate_budget.c.call_limit)).scalar_one() == 2


def test_a_block_holds_for_everybody_until_its_end_and_an_earlier_one_does_not_shorten_it(database: sa.Engine) -> None:
    take(database, "a", [TEN, HOUR], NOON)
    block(database, "a", NOON + 100, NOON)
    block(database, "a", NOON + 50, NOON)
    assert take(database, "a", [TEN, HOUR], NOON + 60) == pytest.approx(40)
    assert left(database, "a", [TEN], NOON + 60)[0].blocked_seconds == pytest.approx(40)
    assert take(database, "a", [TEN, HOUR], NOON + 100.01) == 0.0


def test_a_clock_that_was_wrong_does_not_block_for_ever(database: sa.Engine) -> None:
    future = NOON + 365 * 86400
    _drain(database, future, TEN)
    block(database, "a", future + 3000, future)
    assert take(database, "a", [TEN], NOON) == 0.0
    block(database, "a", NOON + 20, NOON)
    assert take(database, "a", [TEN], NOON + 1) == pytest.approx(19)
    block(database, "a", NOON + 10 * LONGEST_BLOCK_SECONDS, NOON)
    assert take(database, "a", [TEN], NOON + 1) == pytest.approx(LONGEST_BLOCK_SECONDS - 1)


def test_a_clock_a_little_behind_counts_as_well(database: sa.Engine) -> None:
    assert take(database, "a", [TEN], NOON) == 0.0
    assert [take(database, "a", [TEN], NOON - 2) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert take(database, "a", [TEN], NOON - 2) == pytest.approx(12.5)
    assert take(database, "a", [TEN], NOON - 50) == pytest.approx(60.5)
    assert left(database, "a", [TEN], NOON - 50)[0].left == 0
    assert left(database, "a", [TEN], NOON - 500)[0].left == 4
    assert take(database, "a", [TEN], NOON - 500) == 0.0


def test_workers_who_come_together_get_no_call_too_many(database: sa.Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda _: take(database, "a", [Window(20, 10), HOUR], NOON), range(40)))
    assert waits.count(0.0) == 10


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gaps=st.lists(st.floats(0, 6), min_size=1, max_size=40), limit=st.integers(1, 6))
def test_no_span_of_a_windows_length_holds_more_calls_than_its_limit(
    database: sa.Engine, gaps: list[float], limit: int
) -> None:
    with database.begin() as connection:
        connection.execute(rate_budget.delete())
    now, taken = NOON, []
    for gap in gaps:
        now += gap
        if take(database, "a", [Window(limit, 10)], now) == 0.0:
            taken.append(now)
    assert taken, "the first call is always let through"
    assert all(taken[i + limit] - taken[i] >= 10 for i in range(len(taken) - limit))


UNITS = Window(45, 3)


def test_a_call_takes_its_weight(database: sa.Engine) -> None:
    taken = sum(take(database, "a", [UNITS], NOON, units=4) == 0.0 for _ in range(20))
    assert taken == 11
    assert take(database, "a", [UNITS], NOON, units=1) == 0.0
    assert take(database, "a", [UNITS], NOON, units=1) == pytest.approx(3.15)


def test_so_many_calls_are_in_flight_and_no_more_until_one_ends_or_is_given_up(database: sa.Engine) -> None:
    leases = [Lease(str(number), 5, NOON + 300) for number in range(7)]
    assert [take(database, "a", [UNITS], NOON, lease=lease) == 0.0 for lease in leases] == [True] * 5 + [False] * 2
    assert left(database, "a", [UNITS], NOON)[0].used == 5
    give_back(database, "a", leases[2], NOON)
    assert take(database, "a", [UNITS], NOON, lease=leases[5]) == 0.0
    assert take(database, "a", [UNITS], NOON, lease=leases[6]) == pytest.approx(0.05)
    # Whoever held them was killed.
    assert take(database, "a", [UNITS], NOON + 301, lease=leases[6]) == 0.0


@pytest.mark.parametrize(
    ("said", "after", "used"),
    [(44, 0.0, 3), (30, 0.0, 15), (0, 0.5, 45), (0, 100.0, 45)],
    ids=["the server has not seen all yet", "others use the account too", "nothing is left", "long after"],
)
def test_what_the_server_says_is_left_lowers_ours_and_never_raises_it(
    database: sa.Engine, said: int, after: float, used: int
) -> None:
    lease = Lease("one", 5, NOON + 300)
    take(database, "a", [UNITS], NOON, units=3, lease=lease)
    give_back(database, "a", lease, NOON + after, window=UNITS, units_left=said)
    with database.connect() as connection:
        assert sum(connection.execute(sa.select(rate_budget.c.counts)).scalar_one()) - (3 if after > 3 else 0) == used


def test_leases_are_shared_by_workers_who_come_together(database: sa.Engine) -> None:
    with ThreadPoolExecutor(8) as pool:
        waits = list(
            pool.map(lambda n: take(database, "a", [UNITS], NOON, lease=Lease(str(n), 5, NOON + 9)), range(24))
        )
    assert waits.count(0.0) == 5


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(st.tuples(st.floats(0, 2), st.integers(1, 5)), min_size=1, max_size=40))
def test_no_span_of_a_windows_length_holds_more_units_than_its_limit(
    database: sa.Engine, calls: list[tuple[float, int]]
) -> None:
    with database.begin() as connection:
        connection.execute(rate_budget.delete())
    now, taken = NOON, []
    for gap, units in calls:
        now += gap
        if take(database, "a", [Window(9, 3)], now, units=units) == 0.0:
            taken.append((now, units))
    assert taken, "the first call is always let through"
    for begin, _ in taken:
        assert sum(units for moment, units in taken if begin <= moment < begin + 3) <= 9
