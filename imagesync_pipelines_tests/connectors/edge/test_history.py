"""A store tells in its own database what became of its photos; our history takes it over, once."""

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.connectors.edge import history, shown
from imagesync_pipelines.connectors.edge.downloads import Downloads
from imagesync_pipelines.connectors.edge.model import EDGE, Photo, fingerprint
from imagesync_pipelines.connectors.edge.store import StoreDatabase, read_current, read_picture
from imagesync_pipelines.connectors.edge.target import apply_photos
from imagesync_pipelines.storage.effects import Author, effects_of_run
from imagesync_pipelines.storage.errors import LockLostError
from imagesync_pipelines.storage.plans import PlanHeader
from imagesync_pipelines.storage.schema import mirror
from imagesync_pipelines.sync.timeline import Line, lines_of
from imagesync_pipelines_tests.connectors.edge.photos import (
    PROVEN,
    Basket,
    Source,
    made_of,
    no_waiting,
    photo,
    picture,
    run_sql,
    settings_of,
    some_id,
)

STORE = "store1"
FIRST = [photo(1), photo(2), photo(3)]
# The first is replaced, the second gets another place, the third goes, the fourth is new.
SECOND = [photo(1, picture(11)), photo(2, sort_order=7), photo(4)]
# What may be kept (MB), and how large the whole database may be (bytes): how many of the two pictures are lost.
ROOM = {
    "room for all": (1.0, None, 0),
    "room for one": ((len(picture(1)) + 1) / 1024**2, None, 1),
    "none": (0.0, None, 2),
    "a database that is as large as it may be": (1.0, 1, 2),
    "a large one": (1.0, 1024**4, 0),
}


def apply(
    store: StoreDatabase, run_id: str, photos: Sequence[Photo], undo_mb: float = 1.0, most: int | None = None
) -> None:
    """Bring a store to these photos, as a run does."""
    first = picture(11) if photos is SECOND else picture(1)
    source = Source({some_id("photo", number): picture(number) for number in (2, 3, 4)} | {some_id("photo", 1): first})
    made = made_of(photos, read_current(store), PROVEN)
    downloads = Downloads(source.open, settings_of().model_copy(update={"undo_mb": undo_mb}), timing=no_waiting())
    by = Author(run_id, "anna", plan_id=7)
    apply_photos(made.plan, made.payload, store, downloads, Basket(), by=by, most_database_bytes=most)


def kept(store: StoreDatabase) -> dict[str, bytes]:
    """What the store keeps for an undo, by SHA-256."""
    with store.engine.connect() as connection:
        rows = connection.execute(sa.text(f"SELECT sha256, image_binary FROM {history.KEPT_PHOTOS}"))
        return {sha256: bytes(body) for sha256, body in rows}


def pictures_of(store: StoreDatabase, database: sa.Engine, line: Line) -> list[bytes]:
    """The pictures before and after that pages show, out of what the store keeps and of what it shows."""
    pictures = []
    for one in (line.past_before, line.past_after):
        address = shown.past_of(database, UPath("unused"), STORE, [one])[0] if one is not None else ""
        *_, key = address.split(":", 4)
        sha256 = key.removeprefix("sha256=")
        body = history.read_kept(store, sha256) if sha256 != key else read_picture(store, key) if key else b""
        pictures.append(bytes(body or b""))
    return pictures


def test_the_photo_after_a_plan_has_another_address_than_the_one_before(database: sa.Engine) -> None:
    """Copies are kept by their address: with the same one the old photo would be shown as the new one."""
    made = datetime(2026, 11, 30, tzinfo=UTC)
    plan = PlanHeader(EDGE, "run", {"account": STORE}, {}, {}, None, 7, made, "", {}, None, None)
    row = {"key": "a", "key_before": "a", "change": "update"}
    sides = []
    for header in (plan, replace(plan, begun_run="run"), replace(plan, applied_at=made)):
        (one,) = shown.pictures_of(database, UPath("unused"), header, [row])
        sides.append((one.before, one.after))
    assert [(bool(before), bool(after)) for before, after in sides] == [(True, False), (False, False), (False, True)]
    assert sides[0][0] != sides[2][1]


def test_a_product_is_known_by_the_sku_that_it_had_only_where_none_of_its_photos_is_listed(database: sa.Engine) -> None:
    """What is taken away of A must never be the photos of a product that was listed as A by mistake."""
    gone = {"gone_at": datetime(2026, 11, 30, tzinfo=UTC), "gone_because": "deleted"}
    there = dict.fromkeys(gone)
    listed = [("corrected", "A", gone), ("corrected", "B", there), ("other", "A", there), ("left", "A", gone)]
    own = {"connector": EDGE, "account": STORE, "fingerprint": "f"}
    rows = [
        {**own, "key": str(key), "group_key": product, "payload": {"product_sku": sku}, **when}
        for key, (product, sku, when) in enumerate(listed)
    ]
    with database.begin() as connection:
        connection.execute(mirror.insert(), [*rows, {**rows[1], "account": "store2", "group_key": "left"}])
        assert sorted(shown.groups_by_sku(connection, STORE, ["A"])) == [("left", "A"), ("other", "A")]
        assert shown.groups_by_sku(connection, STORE, ["B"]) == [("corrected", "B")]


@pytest.mark.parametrize("room", ROOM)
def test_what_leaves_a_store_is_kept_as_far_as_there_is_room(
    store: StoreDatabase, database: sa.Engine, room: str
) -> None:
    apply(store, "run-1", FIRST)
    undo_mb, most, are_lost = ROOM[room]
    apply(store, "run-2", SECOND, undo_mb, most)
    assert history.take_over(database, STORE, store) == 7
    told = effects_of_run(database, "run-2")
    assert {(one.connector, one.account, one.by) for one in told} == {(EDGE, STORE, Author("run-2", "anna", 7))}
    rows = {row.key: row for one in told for row in one.rows}
    assert {one.group for one in told} == {photo(number).product_id for number in (1, 2, 3, 4)}
    replaced, moved, removed, added = (rows[some_id("photo", number)] for number in (1, 2, 3, 4))
    assert [row.change for row in (replaced, moved, removed, added)] == ["update", "update", "remove", "add"]
    assert added.before is None
    assert added.after is not None
    assert added.after["product_sku"] == "00000004"
    assert moved.before is not None
    assert (moved.before["sort_order"], moved.lost, "sha256" in moved.before) == (0, None, False)
    for number, row in ((1, replaced), (3, removed)):
        assert row.before is not None
        known = {name: row.before[name] for name in ("filename", "checksum", "is_primary")}
        assert known == {name: getattr(photo(number), name) for name in known}
        assert row.fingerprint_before == fingerprint(photo(number))
        assert row.before["sha256"] == hashlib.sha256(picture(number)).hexdigest()
        assert (row.before["sha256"] in kept(store)) is (row.lost is None)
        assert row.lost in (None, history.NO_ROOM)
    lost = [row.lost is not None for row in (replaced, removed)].count(True)
    assert lost == are_lost
    there = {some_id("photo", number): [picture(number)] * 2 for number in (1, 2, 3, 4)}
    there[replaced.key] = [b"" if replaced.lost else picture(1), picture(11)]
    there[removed.key], there[added.key] = [b"" if removed.lost else picture(3), b""], [b"", picture(4)]
    assert {line.key: pictures_of(store, database, line) for line in lines_of(told)} == there
    assert set(kept(store).values()) <= {picture(1), picture(3)}


def test_what_was_taken_over_and_not_taken_away_is_not_taken_over_again(
    store: StoreDatabase, database: sa.Engine
) -> None:
    apply(store, "run-1", FIRST)
    run_sql(store, "CREATE TABLE left_behind AS SELECT * FROM imagesync_effect")
    assert history.take_over(database, STORE, store) == 3
    run_sql(store, "INSERT INTO imagesync_effect OVERRIDING SYSTEM VALUE SELECT * FROM left_behind")
    apply(store, "run-2", SECOND)
    assert history.take_over(database, STORE, store) == 4
    assert [len(effects_of_run(database, run)) for run in ("run-1", "run-2")] == [3, 4]
    assert history.take_over(database, STORE, store) == 0


def lost_of(database: sa.Engine, run_id: str) -> list[str | None]:
    """What the history says of a run's pictures that left: why they are lost."""
    rows = [row for one in effects_of_run(database, run_id) for row in one.rows]
    return [row.lost for row in rows if row.before is not None and "sha256" in row.before]


def refuse(store: StoreDatabase, table: str, code: str, when: str = "true") -> None:
    """The store's database raises an error with this code where a row is added."""
    run_sql(
        store,
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{code}'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION refuse()
        """,
    )


def test_a_disk_without_room_for_what_leaves_costs_no_picture(store: StoreDatabase, database: sa.Engine) -> None:
    apply(store, "run-1", FIRST)
    refuse(store, history.KEPT_PHOTOS, "53100")
    apply(store, "run-2", SECOND)
    assert set(read_current(store)["key"]) == {one.photo_id for one in SECOND}
    history.take_over(database, STORE, store)
    assert lost_of(database, "run-2") == [history.NO_DISK] * 2


def test_what_was_not_written_and_what_is_kept_already_takes_no_room(store: StoreDatabase, database: sa.Engine) -> None:
    apply(store, "run-1", FIRST)
    refuse(store, "product_photo", "23514", f"NEW.id = '{some_id('photo', 4)}'")
    apply(store, "run-2", SECOND, (len(picture(1)) + len(picture(3)) + 1) / 1024**2)
    assert len(read_current(store)) == 2, "all were written together first, and one of them was refused"
    apply(store, "run-3", FIRST)
    apply(store, "run-4", SECOND, 0.0)
    history.take_over(database, STORE, store)
    assert lost_of(database, "run-2") == lost_of(database, "run-4") == [None, None]


class BrokenOffError(Exception):
    """Of what a run does to its store."""


@pytest.mark.parametrize(("meanwhile", "taken_over"), [("nothing", 3), ("the lock is lost", 0), ("its table goes", 0)])
def test_what_a_run_did_that_broke_off_is_taken_over_under_the_lock_and_its_own_error_is_raised(
    store: StoreDatabase, database: sa.Engine, meanwhile: str, taken_over: int
) -> None:
    def check_locks() -> None:
        if meanwhile == "the lock is lost":
            raise LockLostError(meanwhile)

    assert history.take_over(database, STORE, store) == 0, "a store that was never written tells nothing"
    apply(store, "run-1", FIRST)
    if meanwhile == "its table goes":
        run_sql(store, "ALTER TABLE imagesync_effect DROP COLUMN rows")
    with pytest.raises(BrokenOffError), history.taken_over(database, STORE, store, check_locks):
        raise BrokenOffError
    assert len(effects_of_run(database, "run-1")) == taken_over


def test_what_another_run_tells_meanwhile_stays_until_it_is_taken_over(
    store: StoreDatabase, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(store, "run-1", FIRST)
    # Its number was drawn before the others and is committed after they were read.
    run_sql(store, "CREATE TABLE late AS SELECT * FROM imagesync_effect ORDER BY id LIMIT 1")
    run_sql(store, "DELETE FROM imagesync_effect WHERE id IN (SELECT id FROM late)")
    note = history.note_new

    def noted(connection: sa.Connection, *told: Any) -> int:
        run_sql(store, "INSERT INTO imagesync_effect OVERRIDING SYSTEM VALUE SELECT * FROM late")
        run_sql(store, "DELETE FROM late")
        return note(connection, *told)

    monkeypatch.setattr(history, "note_new", noted)
    assert history.take_over(database, STORE, store) == 3


def test_two_that_take_over_at_once_note_everything_once(
    store: StoreDatabase, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    apply(store, "run-1", FIRST)
    note, other = history.note_new, ThreadPoolExecutor(1)
    second = list[Future[int]]()
    waits = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    def noted(connection: sa.Connection, *told: Any) -> int:
        if not second:
            second.append(other.submit(history.take_over, database, STORE, store))
            while not second[0].done() and not connection.scalar(waits):
                time.sleep(0.01)
        return note(connection, *told)

    monkeypatch.setattr(history, "note_new", noted)
    with other:
        assert (history.take_over(database, STORE, store), second[0].result()) == (3, 0)
    assert len(effects_of_run(database, "run-1")) == 3


def test_a_store_that_lost_the_table_of_what_is_told_gets_it_again(store: StoreDatabase, database: sa.Engine) -> None:
    apply(store, "run-1", FIRST)
    run_sql(store, "DROP TABLE imagesync_effect")
    apply(store, "run-2", SECOND)
    assert history.take_over(database, STORE, store) == 4


def test_what_was_kept_goes_after_the_days_of_an_undo(store: StoreDatabase) -> None:
    apply(store, "run-1", FIRST)
    apply(store, "run-2", SECOND)
    run_sql(store, f"UPDATE {history.KEPT_PHOTOS} SET kept_at = now() - interval '31 days'")
    apply(store, "run-3", SECOND)
    assert len(kept(store)) == 2, "a run that writes nothing looks at nothing"
    apply(store, "run-4", FIRST)
    assert set(kept(store).values()) == {picture(11), picture(4)}
