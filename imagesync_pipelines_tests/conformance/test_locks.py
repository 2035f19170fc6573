"""A run whose lock is cut commits nothing more, whatever it writes into, and tells what it wrote until then."""

import time
from collections.abc import Callable
from itertools import count
from typing import Any

import dagster as dg
import pytest

from imagesync_pipelines.defs import assets, runs
from imagesync_pipelines.defs.history import history
from imagesync_pipelines.storage.locks import HeldLock
from imagesync_pipelines_tests.conformance.subject import Subject
from imagesync_pipelines_tests.conformance.test_lineage import executed_again

# What a run that only reads brings up to date.
READ = ("mirror", "cursor", "moysklad_entity_map", "moysklad_child_images", "plytix_asset", "plytix_link", "intent")

# Applications that began and did not end.
BEGUN = "SELECT count(*) FROM imagesync.plan WHERE begun_run IS NOT NULL"


def cut(site: Any, when: Callable[[], bool]) -> Callable[[HeldLock], None]:
    """A look at a lock, whose connection is cut when that is so."""
    asks = HeldLock.check

    def check(held: HeldLock) -> None:
        if not when():
            return
        session = held._connection.connection.driver_connection
        assert session is not None
        site.rows(f"SELECT pg_terminate_backend({session.info.backend_pid})")
        until = time.monotonic() + 10
        while time.monotonic() < until:
            asks(held)
            time.sleep(0.01)
        pytest.fail("the cut was not noticed")

    return check


@pytest.mark.slow
def test_a_run_whose_lock_is_cut_commits_nothing_more_tells_what_it_wrote_and_the_next_one_goes_on(
    subject: Subject, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "the connection to the database was cut that held the lock of this run"
    before = site.number()
    with monkeypatch.context() as patch:
        # Else the step is tried again by itself ten seconds later.
        patch.setattr(assets.dg, "RetryPolicy", lambda **_: None)
        patch.setattr("imagesync_pipelines.storage.liveness.WATCH_SECONDS", 600)
        patch.setattr(HeldLock, "check", cut(site, lambda: True))
        outcome = site.sync(**subject.whole)
        assert said in outcome.error
        assert site.number() == before
        assert [site.rows(f"SELECT count(*) FROM imagesync.{table}") for table in READ] == [[(0,)]] * len(READ)
        asked, begun = count(), site.rows(BEGUN)
        patch.setattr(HeldLock, "check", cut(site, lambda: site.rows(BEGUN) > begun and next(asked) > 0))
        outcome = site.sync(**subject.whole)
        assert outcome.status is runs.Status.FAILED
        assert said in outcome.error
        assert site.number() - before == outcome.summary["images_added"] > 0, "the report says what was done until then"
    with site.opened() as (_, instance):
        assert executed_again(instance, outcome.run_id, from_failure=True) is dg.DagsterRunStatus.SUCCESS
        (again, *_) = history(instance, 1)
    # What was written before it broke off is no change of somebody else's.
    assert (again.status, again.summary["refused"], again.summary["warnings"]) == ("completed", 0, [])
    assert site.number() - before == again.added
    site.assert_right()
