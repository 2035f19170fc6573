"""Lost answers, used-up limits and crashes: nothing is made twice, nothing is lost, and the next run goes on."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
import sqlalchemy as sa

from imagesync_pipelines.sandbox.amazon.listings import demo_listings
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import Lost
from imagesync_pipelines.sandbox.plytix.model import WaitNamed
from imagesync_pipelines_tests.connectors.plytix.accounts import Connector, Told, assert_converged, open_connector
from imagesync_pipelines_tests.sync.fakes import Crash

pytestmark = pytest.mark.slow

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
# Two products with the same four images: 4 uploads, then 8 links and 2 thumbnails, or 2 patches.
PAIR = demo_listings()[11:13]


@pytest.fixture(params=["link", "patch"])
def pair(database: sa.Engine, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Connector]:
    with open_connector(database, tmp_path, listings=PAIR, strategy=request.param, workers=1) as connector:
        yield connector


@pytest.mark.parametrize("how", list(Lost), ids=str)
@pytest.mark.parametrize("endpoint", ["asset create", "link", "product patch"])
def test_a_write_whose_answer_was_lost_is_found_by_the_next_run(pair: Connector, endpoint: str, how: Lost) -> None:
    pair.plytix.lost.lose(endpoint, how, skip=1)
    first = pair.sync()
    second = pair.sync()
    assert_converged(pair)
    assert second.report["errors"] == []
    # A link whose own answer was lost was made, but nobody saw it being made.
    lost = {"asset create": 0, "link": 1, "product patch": 4 if pair.settings.strategy == "patch" else 0}[endpoint]
    asked = pair.plytix.ledger.count(endpoint) > 0
    assert first.report["links_created"] + second.report["links_created"] == 8 - (lost if asked else 0)
    assert first.report["images_uploaded"] == 4
    assert pair.sync().summary.api_calls == 1
    assert len(pair.ledger.known().links) == 8, "what a lost call did is ours too"


def test_only_what_was_read_is_settled_and_a_product_that_is_gone_waits_until_it_is_back(pair: Connector) -> None:
    gone = PAIR[0].suggested_sku
    for endpoint in ("link", "product patch"):
        pair.plytix.lost.lose(endpoint, times=4)
    assert pair.sync().summary.unknown == 8
    pair.plytix.lost.clear()
    pair.plytix.mutate("delete_product", sku=gone)
    pair.sync()
    assert [intent.group for intent in pair.ledger.open_intents()] == [gone]
    pair.plytix.mutate("add_product", sku=gone)
    while pair.sync().summary.api_calls > 1:
        pass
    assert not pair.ledger.open_intents()
    assert_converged(pair)


def test_a_run_that_gets_no_answers_stops_and_the_next_one_goes_on(pair: Connector) -> None:
    for endpoint in ("link", "product patch"):
        pair.plytix.lost.lose(endpoint, times=4)
    done = pair.sync()
    assert done.summary.unknown == 8
    assert "the next run looks" in " ".join(done.summary.warnings)
    pair.plytix.lost.lose("none")
    while pair.sync().summary.api_calls > 1:
        pass
    assert_converged(pair)


@pytest.mark.parametrize("named", get_args(WaitNamed), ids=str)
def test_when_the_hour_is_spent_the_run_checkpoints_and_the_next_one_goes_on(
    database: sa.Engine, tmp_path: Path, named: WaitNamed
) -> None:
    clock = SandboxClock(MONDAY)
    limits = ((100, 10), (10, 3600))
    with open_connector(database, tmp_path, listings=PAIR, limits=limits, clock=clock, workers=1) as connector:
        connector.plytix.switches.wait_named = named
        connector.plytix.windows.hit(3)
        runs, stopped = 0, "not begun"
        while stopped:
            done = connector.sync()
            stopped = done.stopped
            assert done.summary.failed == done.summary.unknown == 0
            assert not connector.quarantined()
            if done.stopped:
                assert "the next run goes on" in " ".join(done.summary.warnings)
                assert done.step.goes_on_at is not None
                clock.move((done.step.goes_on_at - clock.now()).total_seconds())
            runs += 1
        assert runs > 1
        assert_converged(connector)
        assert connector.plytix.ledger.count("link", 409) == 0, "what was linked is not linked again"


def test_a_run_that_begins_with_the_hour_spent_is_a_checkpoint_and_the_next_one_goes_on(
    database: sa.Engine, tmp_path: Path
) -> None:
    clock = SandboxClock(MONDAY)
    with open_connector(
        database, tmp_path, listings=PAIR, limits=((100, 10), (40, 3600)), clock=clock, workers=1
    ) as connector:
        connector.plytix.windows.hit(40)
        for _ in range(2):
            done = connector.sync()
            assert "the next run goes on" in done.stopped
            assert done.step.goes_on_at is not None
            assert MONDAY + timedelta(minutes=59) < done.step.goes_on_at <= clock.now() + timedelta(hours=1)
            assert [text for text in done.summary.warnings if "nothing was planned or changed" in text] != []
            assert (done.report["total_products"], done.report["errors"], done.summary.products_affected) == (2, [], 0)
            assert connector.calls() == 1, "while the hour lasts, Plytix is not even asked"
        clock.move((done.step.goes_on_at - clock.now()).total_seconds() + 1)
        done = connector.sync()
        assert (done.stopped, done.step.goes_on_at, done.report["errors"]) == ("", None, [])
        assert_converged(connector)


def test_a_token_that_is_refused_in_mid_run_is_renewed(pair: Connector) -> None:
    pair.plytix.moments.before("asset create", lambda: pair.plytix.clock.move(901), skip=2)
    assert pair.sync().report["errors"] == []
    assert_converged(pair)


# Every effect of a run is met once; in parts, so that none of them takes long.
@pytest.mark.parametrize(
    ("strategy", "first", "step"),
    [*(("link", first, 4) for first in range(1, 5)), *(("patch", first, 2) for first in range(1, 3))],
)
def test_a_crash_at_any_effect_loses_nothing_and_doubles_nothing(
    database: sa.Engine, tmp_path: Path, strategy: str, first: int, step: int
) -> None:
    place, more = first, True
    while more:
        _empty(database)
        with open_connector(database, tmp_path, listings=PAIR, strategy=strategy, workers=1) as connector:
            more = _dies(connector, Crash(at=place), database)
            # One finds out what the crash left unknown, one more may have to do it, and then nothing is left.
            for _ in range(3):
                last = connector.sync()
                if last.summary.api_calls == 1:
                    break
            assert_converged(connector)
            assert (last.summary.api_calls, _undone(last)) == (1, 0), f"effect {place}"
            assert len(connector.ledger.known().links) == 8, f"effect {place}"
        place += step
    assert place > 20


def _undone(done: Told) -> int:
    return done.summary.failed + done.summary.refused + done.summary.unknown


def _dies(connector: Connector, crash: Crash, database: sa.Engine) -> bool:
    """Run until the crash, which comes just before a commit or just after a call; whether it came at all."""

    def before_commit(connection: sa.Connection) -> None:
        crash.point()

    sa.event.listen(database, "commit", before_commit)
    try:
        run_id = connector.run_id()
        with connector.api() as api:
            connector.plan(api, run_id)
            connector.apply(api, run_id)
    except KeyboardInterrupt:
        return True
    finally:
        sa.event.remove(database, "commit", before_commit)
    return False


def _empty(database: sa.Engine) -> None:
    tables = "plytix_asset, imagesync.plytix_link, imagesync.intent, imagesync.quarantine, imagesync.rate_budget"
    with database.begin() as connection:
        connection.execute(sa.text(f"TRUNCATE imagesync.{tables}"))
