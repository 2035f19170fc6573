"""Proves that the sandbox's clock moves without sleeping and that its ledger counts what reached a server."""

from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.ledger import Call, CallLedger

MOMENT = datetime(2025, 11, 3, 2, 0, tzinfo=UTC)


def call(endpoint: str = "media", status: int = 200) -> Call:
    return Call(MOMENT, endpoint, "", "GET", "/", "", "localhost", "", False, status, "", 0.0)


def test_a_standing_clock_moves_only_when_it_is_moved() -> None:
    clock = SandboxClock(MOMENT)
    assert clock.now() == MOMENT
    clock.move(7200)
    assert clock.now() == MOMENT + timedelta(hours=2)
    clock.move(-3600)
    assert clock.now() == MOMENT + timedelta(hours=1)


def test_a_running_clock_can_be_moved_too() -> None:
    clock = SandboxClock()
    clock.move(86_400)
    assert timedelta(hours=23) < clock.now() - datetime.now(UTC) < timedelta(hours=25)


def test_a_clock_without_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        SandboxClock(datetime(2025, 11, 3))


def test_the_ledger_counts_per_endpoint_and_status() -> None:
    ledger = CallLedger()
    for status in (200, 200, 404):
        ledger.add(call("media", status))
    ledger.add(call("pages", 200))
    assert ledger.count() == 4
    assert ledger.count("media") == 3
    assert ledger.count("media", 200) == 2
    assert ledger.count(status=200) == 3
    assert ledger.as_json() == {"media": {"200": 2, "404": 1}, "pages": {"200": 1}}


def test_the_ledger_keeps_the_last_calls_and_still_counts_all() -> None:
    ledger = CallLedger(keep=2)
    for status in (200, 201, 202):
        ledger.add(call(status=status))
    assert [kept.status for kept in ledger.calls("media")] == [201, 202]
    assert ledger.count() == 3
    ledger.clear()
    assert ledger.count() == 0
    assert ledger.calls() == ()


def test_the_ledger_is_exact_with_many_threads() -> None:
    ledger = CallLedger()
    threads = [Thread(target=lambda: [ledger.add(call()) for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.count("media") == 4000


def test_the_peak_is_the_most_calls_at_one_moment() -> None:
    ledger = CallLedger()
    with ledger.in_flight("media"), ledger.in_flight("media"):
        pass
    with ledger.in_flight("media"):
        pass
    assert ledger.peak("media") == 2
    assert ledger.peak("pages") == 0
