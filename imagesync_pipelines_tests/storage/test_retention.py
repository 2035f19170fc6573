"""What is old goes and what is protected stays: the rules as tables, and the clean-up itself on a real database."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.imaging.validation import check_image
from imagesync_pipelines.storage import retention, subscriptions
from imagesync_pipelines.storage.alerts import Alert, note_alert
from imagesync_pipelines.storage.contents import COPY_SOURCE, Contents, own_source
from imagesync_pipelines.storage.effects import (
    Author,
    Effect,
    EffectRow,
    effects_of_group,
    has_untold,
    known_since,
    note_effects,
)
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.storage.liveness import alive
from imagesync_pipelines.storage.plans import BATCH, NewPlan, Plans
from imagesync_pipelines.storage.quarantine import REFUSED_STAGE, QuarantineItem, QuarantineTable
from imagesync_pipelines.storage.retention import (
    Ages,
    HandOverFact,
    PlanFact,
    Retention,
    ScanFact,
    old_plans,
    old_runs,
    old_scans,
)
from imagesync_pipelines.storage.scans import PROVEN, UNPROVEN, RawPages, finish_scan, start_scan, under_way
from imagesync_pipelines.storage.schema_effects import effects_known
from imagesync_pipelines.storage.subscriptions import Attempt, Event, NewSubscription, write_events
from imagesync_pipelines_tests.cli.test_cleanup import picture
from imagesync_pipelines_tests.storage.test_handovers import Counted

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
BEFORE = NOW - timedelta(days=30)
OLD, YOUNG = NOW - timedelta(days=40), NOW - timedelta(days=3)
AGES = Ages(*[timedelta(days=30)] * 9)


def plan(number: int, *, at: datetime = OLD, account: str = "a", run: str | None = None, applied: str = "") -> PlanFact:
    return PlanFact(number, "edge", account, at, run, at if applied else None, applied or None, None)


@pytest.mark.parametrize(
    ("plans", "gone"),
    [
        pytest.param([plan(1), plan(2)], [1], id="the newest stays, however old"),
        pytest.param([plan(1), plan(2, account="b")], [], id="of each account"),
        pytest.param([plan(1), plan(2, at=YOUNG), plan(3)], [1], id="what is young stays"),
        pytest.param([plan(1), plan(2, applied="r"), plan(3)], [1], id="the one that was applied last"),
        pytest.param([plan(1, applied="q"), plan(2, applied="r"), plan(3)], [1], id="and no earlier one"),
        pytest.param([plan(1, run="r"), plan(2, applied="r"), plan(3)], [], id="its pieces, which an undo needs too"),
        pytest.param([plan(7), plan(8)], [], id="what people see held back"),
        pytest.param([plan(1, run="alive"), plan(2)], [], id="of a run that is alive"),
        pytest.param([replace(plan(1), begun_run="r"), plan(2)], [], id="begun and not ended"),
    ],
)
def test_a_plan_is_forgotten_unless_somebody_may_need_it(plans: Sequence[PlanFact], gone: Sequence[int]) -> None:
    assert old_plans(plans, BEFORE, shown={7}, alive={"alive"}) == gone


def scan(number: int, state: str = PROVEN, *, part: str = "", at: datetime = OLD, ended: bool = True) -> ScanFact:
    return ScanFact(number, "image_db", state, part, at, at if ended else None)


@pytest.mark.parametrize(
    ("scans", "gone"),
    [
        pytest.param([scan(1), scan(2)], [1], id="the newest proof stays"),
        pytest.param([scan(1), scan(2, UNPROVEN)], [], id="and what came after it"),
        pytest.param([scan(1), scan(2, part="pages 1-9")], [], id="a part is no proof of the whole"),
        pytest.param([scan(1, UNPROVEN), scan(2, "open", ended=False), scan(3)], [1, 2], id="what was broken off"),
        pytest.param([scan(7), scan(8), scan(9)], [], id="named by a plan, under way"),
        pytest.param([scan(1, at=YOUNG), scan(2)], [], id="what is young stays"),
    ],
)
def test_a_scan_is_forgotten_unless_it_proves_something(scans: Sequence[ScanFact], gone: Sequence[int]) -> None:
    assert old_scans(scans, BEFORE, named={7}, under_way={8}) == gone


def left(run: str, number: int, *, step: str = "plan", at: datetime = OLD, account: str = "a") -> HandOverFact:
    return HandOverFact("edge", account, run, step, number, at)


@pytest.mark.parametrize(
    ("hand_overs", "gone"),
    [
        pytest.param([left("r1", 1), left("r2", 2)], ["r1"], id="the newest of a step stays"),
        pytest.param([left("r1", 1), left("r2", 2, step="listing")], [], id="of each step"),
        pytest.param([left("r1", 1), left("r2", 2, account="b")], [], id="of each account"),
        pytest.param([left("used", 1), left("alive", 2), left("r3", 3)], [], id="of a stored plan, of a live run"),
        pytest.param([left("r1", 1), left("r1", 2, at=YOUNG), left("r2", 3)], [], id="a part of it is young"),
    ],
)
def test_a_hand_over_is_forgotten_unless_its_lineage_may_go_on(
    hand_overs: Sequence[HandOverFact], gone: Sequence[str]
) -> None:
    found = old_runs(hand_overs, BEFORE, used={"used"}, alive={"alive"})
    assert [run for _, _, run in found] == gone


def told_receivers(engine: sa.Engine) -> None:
    """Two old events, the first of which an active receiver had; a paused one had none."""
    with engine.begin() as connection:
        write_events(connection, [Event(f"msg_{one}", "1", [], [], [], "{}", OLD) for one in range(2)])
    for name in ("shop", "paused"):
        subscriptions.add(engine, NewSubscription(name, "standard", "https://shop.example.com/", "env:S"))
    subscriptions.pause(engine, "paused", "")
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE imagesync.webhook_subscription SET cursor = CASE name WHEN 'shop' THEN "
            "(SELECT min(id) FROM imagesync.webhook_event) ELSE 0 END"
        )
        connection.exec_driver_sql(f"UPDATE imagesync.webhook_event SET noted_at = '{OLD.isoformat()}'")
    shop = subscriptions.named(engine, "shop")
    subscriptions.note(engine, shop, Attempt(None, "msg_0", "1", 1, OLD, True, 204, 0.1, ""))
    subscriptions.note(engine, shop, Attempt(None, "msg_0", "1", 1, NOW, True, 204, 0.1, ""))


@pytest.fixture
def kept(database: sa.Engine, tmp_path: Path) -> Retention:
    """An installation with something old and something protected of every kind."""
    root = UPath(tmp_path)
    rows, plans = pd.DataFrame({"key": ["k"]}), Plans(database, root)
    new = NewPlan("edge", "maker", {"account": "a", BATCH: "batch"}, {}, {}, None)
    first, second, _ = (plans.save(rows, None, one) for one in (replace(new, run_id="gone"), new, new))
    plans.mark_applied(second, "applier")
    steps = HandOvers(database, root, "edge", "a")
    for run in ("gone", "lonely", "maker", "applier", "batch", "newest"):
        steps.keep(run, "plan", Counted(number=1))
        steps.file(run, "frame").parent.mkdir(parents=True)
        steps.file(run, "frame").write_bytes(b"frame")
    pages = RawPages(database, root, "image_db")
    for _ in range(2):
        number = start_scan(database, "image_db", page_size=10, block_size=10)
        pages.put(number, 1, b"body", 1)
        finish_scan(database, number, "")
    table = QuarantineTable(database, "edge")
    table.put([QuarantineItem("k1", None, "read", "r", None), QuarantineItem("k2", None, REFUSED_STAGE, "r", None)])
    contents = Contents(database, root, lambda: OLD)
    shown = check_image(picture("shown"))
    for source, body in (
        (f"{COPY_SOURCE}x", picture("copy")), ("old", picture("old")), (own_source(shown.sha256), picture("shown"))
    ):  # fmt: skip
        contents.put(source, body, check_image(body), timedelta(0))
    note_alert(database, Alert("edge", "a", "x", "t", "b", "l"), OLD, timedelta(0))
    done = (("gone", OLD), ("lasting", OLD), (None, OLD), ("lasting", YOUNG))
    row = EffectRow("k", "add", "new")
    with database.begin() as connection:
        note_effects(connection, [Effect("edge", "a", "g", (row,), Author(by), at) for by, at in done])
        connection.execute(sa.update(effects_known).values(since=OLD - timedelta(days=9)))
    told_receivers(database)
    with database.begin() as connection:
        run = connection.exec_driver_sql
        for column in (
            "plan.created_at",
            "handover.made_at",
            "scan.started_at",
            "scan.ended_at",
            "quarantine.last_seen",
        ):
            name, _, field = column.partition(".")
            run(f"UPDATE imagesync.{name} SET {field} = '{OLD.isoformat()}'")
        run("UPDATE imagesync.alert SET sent_at = noted_at, due_at = NULL")
        run("INSERT INTO imagesync.product (kind, erp_id, sku) VALUES ('parent', '1', '1')")
        run(
            "INSERT INTO imagesync.product_image (product_id, external_id, image_url) SELECT id, '1', "
            f"'https://images.example.com/images/content/{shown.sha256}' FROM imagesync.product"
        )
    assert first < second
    return Retention(database, root, AGES, NOW)


EXPECTED = {
    "plans": (1, 2), "hand-overs": (2, 4), "scans": (1, 1), "quarantined items": (1, 1), "smaller copies": (1, 0),
    "pictures": (1, 1), "alerts": (1, 0), "effects in the history": (2, 1), "webhook deliveries": (1, 0),
    "webhook events": (1, 1),
}  # fmt: skip
_COUNTED = ("plan", "handover", "scan", "raw_page", "quarantine", "image_content", "alert", "effect",
            "webhook_delivery", "webhook_event")  # fmt: skip


def state(kept: Retention) -> tuple[dict[str, int], set[str]]:
    """How many rows each table has, and every file."""
    with kept.engine.connect() as connection:
        rows = {
            name: connection.exec_driver_sql(f"SELECT count(*) FROM imagesync.{name}").scalar() for name in _COUNTED
        }
    files = {str(file.relative_to(kept.root)) for file in Path(kept.root.path).rglob("*") if file.is_file()}
    return {name: int(number or 0) for name, number in rows.items()}, files


def cleaned(kept: Retention) -> dict[str, tuple[int, int]]:
    return {one.kind: (one.count, one.kept) for one in kept.all()}


def test_what_is_old_goes_with_its_files_and_what_is_protected_stays(kept: Retention) -> None:
    before, files = state(kept)
    assert before == {
        "plan": 3, "handover": 6, "scan": 2, "raw_page": 2, "quarantine": 2, "image_content": 3, "alert": 1,
        "effect": 4,
        "webhook_delivery": 2, "webhook_event": 2,
    }  # fmt: skip
    dry = replace(kept, dry_run=True)
    assert cleaned(dry) == EXPECTED
    assert state(kept) == (before, files), "a dry run changes nothing"
    assert cleaned(kept) == EXPECTED
    after, left = state(kept)
    assert after == {
        "plan": 2, "handover": 4, "scan": 1, "raw_page": 1, "quarantine": 1, "image_content": 1, "alert": 0,
        "effect": 2,
        "webhook_delivery": 1, "webhook_event": 1,
    }  # fmt: skip
    assert left < files
    assert len(files - left) == 1 + 2 + 1 + 2
    assert set(cleaned(kept).values()) <= {(0, kept) for _, kept in EXPECTED.values()}


def since(kept: Retention) -> datetime:
    with kept.engine.connect() as connection:
        return known_since(connection)


def test_a_run_is_forgotten_whole_and_since_when_all_is_known_is_told(kept: Retention, database_url: str) -> None:
    with alive(database_url, "gone"):
        kept.effects()
    assert [one.by.run_id for one in effects_of_group(kept.engine, "edge", "a", "g")] == ["gone", "lasting", "lasting"]
    assert since(kept) == OLD
    replace(kept, now=NOW + timedelta(days=90)).effects()
    assert effects_of_group(kept.engine, "edge", "a", "g") == []
    assert since(kept) == YOUNG


def test_a_run_of_which_webhooks_are_still_to_tell_stays_as_long_as_what_they_told(kept: Retention) -> None:
    with kept.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO imagesync.webhook_effect SELECT id FROM imagesync.effect WHERE run_id = 'gone'"
        )
    replace(kept, ages=replace(AGES, webhooks=timedelta(days=60))).effects()
    assert [one.by.run_id for one in effects_of_group(kept.engine, "edge", "a", "g")] == ["gone", "lasting", "lasting"]
    with kept.engine.connect() as connection:
        assert has_untold(connection)
    kept.effects()
    assert [one.by.run_id for one in effects_of_group(kept.engine, "edge", "a", "g")] == ["lasting", "lasting"]
    with kept.engine.connect() as connection:
        assert not has_untold(connection), "no mark outlasts what it is of"


@pytest.mark.parametrize("kind", ["plans", "handovers", "pages"])
def test_a_clean_up_that_was_interrupted_lost_nothing_protected_and_goes_on(
    kept: Retention, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        """The process ends here."""

    def ends(folder: UPath) -> None:
        next(path for path in Path(folder.path).rglob("*") if path.is_file()).unlink()
        raise KilledError

    before, _ = state(kept)
    with monkeypatch.context() as patch:
        for module in ("retention", "handovers"):
            patch.setattr(f"imagesync_pipelines.storage.{module}.remove_folder", ends)
        with pytest.raises(KilledError):
            getattr(kept, kind)()
    assert state(kept)[0] == before, "its rows are there until its files are gone"
    assert cleaned(kept) == EXPECTED


def test_what_is_used_at_this_moment_stays(kept: Retention, database_url: str) -> None:
    with kept.engine.connect() as connection:
        oldest = connection.exec_driver_sql("SELECT min(id) FROM imagesync.scan").scalar_one()
    with under_way(kept.engine, int(oldest)), alive(database_url, "gone"):
        found = cleaned(kept)
    assert (found["plans"], found["hand-overs"], found["scans"]) == ((0, 3), (1, 5), (0, 2))


def test_rows_go_in_batches(kept: Retention, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 3)
    items = [QuarantineItem(f"k{number}", None, "read", "r", None) for number in range(10)]
    QuarantineTable(kept.engine, "edge").put(items)
    with kept.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE imagesync.quarantine SET last_seen = '{OLD.isoformat()}'")
    told: list[int] = []
    replace(kept, report=lambda kind, done, total: told.append(done)).quarantined()
    assert told == [3, 6, 9, 10]
