"""A run whose lock is cut stops before it writes another group, whatever it writes into, and tells what it wrote."""

import time
from itertools import count
from typing import Any

import pytest

from imagesync_pipelines.defs import assets, runs
from imagesync_pipelines.storage.locks import HeldLock
from imagesync_pipelines_tests.conformance.subject import Subject


@pytest.mark.slow
def test_a_run_whose_lock_is_cut_writes_nothing_more_tells_what_it_wrote_and_the_next_one_goes_on(
    subject: Subject, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asks, times = HeldLock.check, count(1)

    def cut_at_the_second_ask(held: HeldLock) -> None:
        if next(times) == 1:
            return
        session = held._connection.connection.driver_connection
        assert session is not None
        site.rows(f"SELECT pg_terminate_backend({session.info.backend_pid})")
        until = time.monotonic() + 10
        while time.monotonic() < until:
            asks(held)
            time.sleep(0.01)
        pytest.fail("the cut was not noticed")

    with monkeypatch.context() as patch:
        # Else the step is tried again by itself ten seconds later.
        patch.setattr(assets.dg, "RetryPolicy", lambda **_: None)
        patch.setattr(HeldLock, "check", cut_at_the_second_ask)
        patch.setattr("imagesync_pipelines.storage.liveness.WATCH_SECONDS", 600)
        before = site.number()
        outcome = site.sync(**subject.whole)
        assert outcome.status is runs.Status.FAILED
        assert "the connection to the database was cut that held the lock of this run" in outcome.error
        assert site.number() - before == outcome.summary["images_added"] > 0, "the report says what was done until then"
    after = site.sync(**subject.whole)
    assert after.status is not runs.Status.FAILED, after.error
    site.assert_right()
