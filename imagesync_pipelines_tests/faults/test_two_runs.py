"""Two runs at once on one installation: the second waits, and nothing is written twice."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagesync_pipelines.sandbox.image_db.server import Sandbox
from imagesync_pipelines.storage.locks import account_lock
from imagesync_pipelines_tests.e2e.connectors import Connector, Connectors, Synced, assert_same_tables, from_scratch

pytestmark = pytest.mark.slow


def test_a_second_run_waits_for_the_first_and_then_finds_nothing_to_do_twice(
    connectors: Connectors, sandbox: Sandbox
) -> None:
    connector = connectors.make(sandbox, shared={"lock_wait_seconds": 30})
    release, held = threading.Event(), threading.Event()

    def hold() -> None:
        with account_lock(connector.place.engine, "image_db", 0):
            held.set()
            release.wait(30)

    with ThreadPoolExecutor(2) as pool:
        pool.submit(hold)
        assert held.wait(10)
        second = pool.submit(connector.sync)
        assert not second.done()
        release.set()
        assert second.result(30).written[0] > 100
    assert_same_tables(connector, from_scratch(connectors, sandbox))


@pytest.mark.parametrize("there_before", [False, True])
def test_runs_at_the_same_moment_take_nothing_away_and_the_next_ends_as_one_run_does(
    connectors: Connectors, sandbox: Sandbox, there_before: bool
) -> None:
    connector = connectors.make(sandbox, shared={"lock_wait_seconds": 30})
    if there_before:
        connector.sync()
        for file_id in connector.table()["external_id"].unique()[:8]:
            sandbox.mutate("re_export", file_id=int(file_id))
    before = connector.stamps()
    both = threading.Barrier(2)

    def run(_: int) -> Synced:
        both.wait(10)
        return connector.sync()

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(run, range(2)))
    connector.assert_one_primary_each()
    assert [result.done.summary.failed for result in results] == [0, 0]
    assert len(connector.stamps()) >= len(before)
    assert min(sum(result.written) for result in results) == 0, "one of the two wrote; the other found it done"
    connector.sync()  # without Dagster's pool a run may take the other's half-read scan: it adds less, removes nothing
    assert connector.sync().written == (0, 0, 0)
    assert_same_tables(connector, from_scratch(connectors, sandbox))


def test_a_plan_from_before_another_run_writes_nothing_that_the_other_run_changed(
    connectors: Connectors, sandbox: Sandbox
) -> None:
    connector: Connector = from_scratch(connectors, sandbox)
    shown = connector.table()["external_id"].unique()
    sandbox.mutate("re_export", file_id=int(shown[0]))
    stale = connector.new_run()
    connector.sync_up_to_the_plan(stale)
    sandbox.mutate("re_export", file_id=int(shown[0]))
    connector.sync()
    after = connector.stamps()
    done = connector.apply(stale)
    assert (done.summary.images_added, done.summary.images_updated, done.summary.images_deleted) == (0, 0, 0)
    assert done.summary.refused == len(connector.rows(shown[0]))
    assert any("plan again" in error for error in done.errors)
    assert connector.stamps() == after
