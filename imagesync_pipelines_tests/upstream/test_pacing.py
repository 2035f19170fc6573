"""Proves the pause between calls and the arithmetic of backoff."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.upstream.retries import RetryPolicy, Timing, pause_after
from imagesync_pipelines.upstream.transport import Pacer
from imagesync_pipelines_tests.upstream.servers import FakeTime


def test_calls_are_at_least_the_interval_apart() -> None:
    fake = FakeTime()
    pacer = Pacer(2.0, Timing(clock=fake.clock, sleep=fake.sleep))
    for _ in range(3):
        pacer.wait()
    assert fake.sleeps == [2.0, 2.0]


def test_time_that_has_passed_anyway_is_not_waited_for_again() -> None:
    fake = FakeTime()
    pacer = Pacer(2.0, Timing(clock=fake.clock, sleep=fake.sleep))
    pacer.wait()
    fake.now += 1.5
    pacer.wait()
    fake.now += 100.0
    pacer.wait()
    assert fake.sleeps == [0.5]


def test_threads_get_turns_of_their_own() -> None:
    lock, turns = threading.Lock(), []

    def note(seconds: float) -> None:
        with lock:
            turns.append(seconds)

    pacer = Pacer(1.0, Timing(clock=lambda: 0.0, sleep=note))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: pacer.wait(), range(20)))
    assert sorted(turns) == [float(number) for number in range(1, 20)]


@given(st.integers(1, 5000), st.floats(0, 1, exclude_max=True), st.none() | st.floats(0, 1e6))
def test_a_pause_is_never_shorter_than_asked_for_nor_longer_than_both(
    attempt: int, chance: float, asked: float | None
) -> None:
    policy = RetryPolicy(tries=3, backoff_first=0.5, backoff_max=30.0, total_deadline=60.0)
    pause = pause_after(attempt, asked, policy, Timing(random=lambda: chance))
    assert (asked or 0.0) <= pause <= max(asked or 0.0, 30.0)


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.5), (2, 1.0), (3, 2.0), (7, 30.0), (100, 30.0)])
def test_backoff_doubles_up_to_its_ceiling(attempt: int, longest: float) -> None:
    policy = RetryPolicy(tries=3, backoff_first=0.5, backoff_max=30.0, total_deadline=60.0)
    assert pause_after(attempt, None, policy, Timing(random=lambda: 1.0)) == longest
