"""What lasts is told when it begins and when it is over; the digest comes once a day, where one is wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange

from imagesync_pipelines.defs import lasting
from imagesync_pipelines.defs.lasting import (
    DIGEST,
    LASTS,
    LATE,
    build_lasting_alert,
    digest_is_due,
    digest_text,
    late,
    not_begun,
    not_over,
    spent,
)
from imagesync_pipelines.defs.launching import origin_of
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.alerts import KeptAlert
from imagesync_pipelines.storage.rate_budget import Window, WindowLeft, block, take
from imagesync_pipelines.sync.job_runs import PARTITION_TAG
from imagesync_pipelines_tests.defs.conftest import Receiver
from imagesync_pipelines_tests.defs.test_watching import state_of

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
HERE = Settings(webserver_url="https://ui.example/", timezone="Europe/Berlin")


def left(calls: int, seconds: int = 3600, blocked: float = 0.0) -> list[WindowLeft]:
    """A window of 100 calls with so many left."""
    return [WindowLeft(Window(100, seconds), 100 - calls, calls, blocked)]


@pytest.mark.parametrize(
    ("principal", "windows", "said"),
    [
        pytest.param("plytix shop", left(1), None, id="calls are left"),
        pytest.param("plytix shop", left(0), "All 100 calls of 60 minutes", id="spent"),
        pytest.param("plytix shop", left(0, 10), None, id="a short window is full all the time"),
        pytest.param("plytix shop", left(9, 10, 299), None, id="told to wait for a moment"),
        pytest.param("plytix shop", left(9, 10, 600), "wait for 10 minutes", id="told to wait for long"),
        pytest.param("catalogue:key:1", left(0), None, id="of who calls us"),
    ],
)
def test_a_budget_that_is_spent_for_long_is_told(
    principal: str, windows: Sequence[WindowLeft], said: str | None
) -> None:
    found = spent({principal: windows}, HERE)
    assert [one.body for one in found if said is None or said not in one.body] == []
    assert len(found) == (said is not None)
    assert [(one.connector, one.partition) for one in found] == [("plytix", principal)] * len(found)


def test_late_data_is_one_message_for_each_connector() -> None:
    one, other = late({"edge": ["photos", "plan"], "plytix": ["plan"]}, HERE)
    assert (one.title, one.link) == ("imagesync: edge is late", "https://ui.example/assets/edge/photos")
    assert "photos, plan" in one.body
    assert other.connector == "plytix"
    assert late({}, HERE) == []


def test_runs_that_do_not_start_are_one_message_for_each_connector() -> None:
    def run(job: str, account: str) -> dg.DagsterRun:
        return dg.DagsterRun(job_name=job, tags={PARTITION_TAG: account})

    shops = [run("edge__sync", f"shop {number:03}") for number in (0, *range(300))]
    found = not_begun([*shops, run("plytix__sync", "main")], HERE)
    assert [(one.title, one.partition) for one in found] == [
        ("imagesync: runs of edge do not start", ""),
        ("imagesync: runs of plytix do not start", ""),
    ]
    assert "301 runs, of edge__sync for shop 000, edge__sync for shop 001, " in found[0].body
    assert "edge__sync for shop 019 and 280 more." in found[0].body
    assert not_begun([], HERE) == []


def at(hours: float) -> datetime:
    return NOW + timedelta(hours=hours)


@pytest.mark.parametrize(
    ("last", "now", "wanted", "due"),
    [
        pytest.param(None, NOW, None, False, id="none is wanted"),
        pytest.param(None, NOW, time(7, 30), True, id="the first comes at once"),
        pytest.param(NOW, at(1), time(7, 30), False, id="told today"),
        pytest.param(NOW, at(18.4), time(7, 30), False, id="a minute before, in Berlin"),
        pytest.param(NOW, at(18.5), time(7, 30), True, id="at half past seven in Berlin"),
        pytest.param(NOW, at(100), time(7, 30), True, id="after days without a daemon"),
    ],
)
def test_a_digest_is_due_once_a_day(last: datetime | None, now: datetime, wanted: time | None, due: bool) -> None:
    assert digest_is_due(last, now, HERE.model_copy(update={"alert_digest_at": wanted})) is due


@pytest.mark.parametrize(
    ("error", "hours", "over", "named"),
    [
        *(pytest.param(error, -100, False, True, id=f"{error}, for days") for error in LASTS),
        pytest.param(LATE, -1, False, True, id="late since an hour"),
        pytest.param(LATE, -100, True, False, id="over, which waits to be told"),
        pytest.param("RuntimeError", -23, False, True, id="a failure of the day"),
        pytest.param("RuntimeError", -25, False, False, id="a failure of the day before"),
        pytest.param(DIGEST, -1, False, False, id="a digest"),
    ],
)
def test_a_digest_names_the_failures_of_the_day_and_all_that_lasts(
    error: str, hours: float, over: bool, named: bool
) -> None:
    kept = KeptAlert("edge", "a", error, "t", "b", "l", at(hours), 0, NOW, None, 0, over_at=NOW if over else None)
    assert not_over([kept], NOW) == [kept] * named


def test_a_digest_says_how_runs_ended_and_what_waits() -> None:
    kept = KeptAlert("edge", "a", "x", "imagesync: edge__sync failed", "b", "l", NOW, 0, NOW, None, 0)
    old = replace(kept, error=LATE, title="imagesync: plytix is late", noted_at=NOW - timedelta(days=3))
    runs: Mapping[tuple[str, str], int] = {("edge", "SUCCESS"): 23, ("edge", "FAILURE"): 1, ("plytix", "SUCCESS"): 1}
    assert digest_text(runs, [kept, old], ["2 of edge/a"], {"image_db": 3}).splitlines() == [
        "Runs:",
        "  edge: 1 failure, 23 success",
        "  plytix: 1 success",
        "Not over yet:",
        "  edge__sync failed (last at 12:00 UTC)",
        "  plytix is late (noted at 2026-11-18 12:00 UTC)",
        "Held back: 2 of edge/a",
        "Quarantined: 3 of image_db",
    ]
    assert digest_text({}, [], [], {}).splitlines() == [
        "No run was started.", "Nothing went wrong that is not over."
    ]  # fmt: skip


def test_what_lasts_is_told_once_and_so_is_its_end(
    postgres_instance: dg.DagsterInstance, database: sa.Engine, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lasting, "WAITS_TOO_LONG", timedelta(0))
    now = datetime.now(UTC).timestamp()

    def look() -> list[str]:
        receiver.messages.clear()
        with dg.build_sensor_context(instance=postgres_instance) as context:
            build_lasting_alert().evaluate_tick(context)
        return receiver.titles()

    take(database, "moysklad main", [Window(45, 3)], now)
    run = dg.DagsterRun(
        job_name="edge__sync", status=dg.DagsterRunStatus.QUEUED, remote_job_origin=origin_of("edge__sync")
    )
    assert look() == []
    block(database, "moysklad main", now + 1200, now)
    postgres_instance.add_run(run)
    told = ["imagesync: the calls of moysklad main are used up", "imagesync: runs of edge do not start"]
    assert sorted(look()) == sorted(told)
    assert look() == []
    with database.begin() as connection:
        connection.execute(sa.text("UPDATE imagesync.rate_budget SET blocked_until = NULL"))
    assert look() == ["imagesync: over: the calls of moysklad main are used up"]
    postgres_instance.report_run_canceled(run)
    monkeypatch.setenv("IMAGESYNC_ALERT_DIGEST_AT", "00:00")
    assert look() == ["imagesync: over: runs of edge do not start", "imagesync: the last 24 hours"]
    assert look() == []


def test_late_is_what_dagster_calls_late_of_connectors_that_start_by_themselves(
    postgres_instance: dg.DagsterInstance,
) -> None:
    instance = postgres_instance
    change = FreshnessStateChange(
        key=dg.AssetKey(["folder", "plan"]),
        previous_state=FreshnessState.UNKNOWN,
        new_state=FreshnessState.FAIL,
        state_change_timestamp=NOW.timestamp(),
    )
    instance._report_runless_asset_event(change)
    assert lasting.late_assets(instance) == {}
    instance.add_instigator_state(state_of("folder__sync__hourly"))
    assert lasting.late_assets(instance) == {"folder": ["plan"]}
