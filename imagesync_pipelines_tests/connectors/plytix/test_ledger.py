"""The ledger of an account: one asset per picture, links that are ours only once they are made, intents that settle."""

from datetime import UTC, datetime
from typing import Any
from unittest.mock import create_autospec

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.errors import HourSpentError
from imagesync_pipelines.connectors.plytix.gallery import IN_GALLERY, Row
from imagesync_pipelines.connectors.plytix.ledger import Ledger, NotedAsset
from imagesync_pipelines.connectors.plytix.model import UploadsMade
from imagesync_pipelines.connectors.plytix.planning import Back, Task
from imagesync_pipelines.connectors.plytix.reading import settle
from imagesync_pipelines.connectors.plytix.target import GalleryTarget
from imagesync_pipelines.connectors.plytix.undoing import UndoTarget
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.storage.effects import Author, effects_of_run
from imagesync_pipelines.storage.outbox import Intent
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.effects import planned_rows
from imagesync_pipelines.sync.frames import row_frame
from imagesync_pipelines.sync.model import Change, GroupWork, Outcome, PlanRow
from imagesync_pipelines.sync.remote import WHOLE_FRESH_FOR
from imagesync_pipelines_tests.connectors.plytix.worlds import PATCH, listing, product

A, B = "A.jpg", "B.jpg"


@pytest.fixture
def ledger(database: sa.Engine) -> Ledger:
    return Ledger(database, "main", "run")


def test_accounts_know_nothing_of_each_other(ledger: Ledger, database: sa.Engine) -> None:
    ledger.note_assets([NotedAsset("a", A, "A.jpg"), NotedAsset("x", None)])
    ledger.end_links("S", {A: "a"})
    assert ledger.known().keys == {"a": A}
    assert ledger.known().foreign == {"x"}
    other = Ledger(database, "other").known()
    assert (other.keys, other.foreign, other.links) == ({}, frozenset(), {})


def test_a_newer_asset_of_a_picture_makes_the_older_one_foreign(ledger: Ledger) -> None:
    ledger.note_assets([NotedAsset("old", A)])
    ledger.note_assets([NotedAsset("new", A)])
    assert (ledger.known().keys, ledger.known().foreign) == ({"new": A}, {"old"})
    ledger.note_assets([NotedAsset("new", A, "A.jpg")])
    assert ledger.known().keys == {"new": A}
    ledger.forget_asset("new")
    assert ledger.known().keys == {}


def test_a_link_is_ours_when_it_was_made_and_not_before(ledger: Ledger) -> None:
    ledger.begin_links("S", {A: "a", B: "b"}, {})
    assert ledger.known().links == {}
    ledger.end_links("S", {A: "a"})
    assert ledger.known().links == {("S", A): "a"}
    assert ledger.linked_skus() == ["S"]
    ledger.begin_links("S", {A: "newer"}, {})
    assert ledger.known().links == {("S", A): "a"}, "the asset is another one only once it is linked"
    ledger.end_links("S", {A: "newer"})
    assert ledger.known().links == {("S", A): "newer"}
    ledger.end_links("S", {}, taken=[A])
    assert ledger.known().links == {}


def test_what_a_crash_left_open_is_settled_by_what_the_gallery_holds(ledger: Ledger) -> None:
    ledger.begin(Intent("S", "f"))
    ledger.begin_links("S", {A: "a", B: "b"}, {})
    ledger.begin_links("T", {A: "a"}, {})
    assert [intent.group for intent in ledger.open_intents()] == ["S"]
    ledger.settle(row_frame([Row(f"S/{A}", "S", 1, "gallery")]), ["S"])
    assert ledger.open_intents() == []
    assert ledger.known().links == {("S", A): "a"}


def work(change: Change, before: str | None, after: str | None) -> GroupWork:
    """One picture's row of a product."""
    return GroupWork("S", (PlanRow(f"S/{A}", f"S/{A}", "S", 1, change, "", before, after),), None)


@pytest.mark.parametrize(("gallery", "removed"), [(["old"], 0), (["new"], 0), ([], 1)])
def test_a_removal_that_broke_off_is_told_where_no_asset_of_its_picture_is_shown_any_more(
    ledger: Ledger, database: sa.Engine, gallery: list[str], removed: int
) -> None:
    ledger.note_assets([NotedAsset("old", A)])
    ledger.end_links("S", {A: "old"})
    ledger.note_assets([NotedAsset("new", A)])
    ledger.begin(Intent("S", "f", planned_rows(work(Change.REMOVE, IN_GALLERY, None)), Author("run")))
    settle(ledger, [product("S", *gallery)])
    assert ledger.open_intents() == []
    assert len(effects_of_run(database, "run")) == removed


BACK = Back({A: "a", B: "b"}, {}, before=("a", "x", "b"), after=("b", "x", "a"))


@pytest.mark.parametrize(("gallery", "noted"), [(["a", "x", "b"], 1), (["b", "x", "a"], 0), (["a", "b", "x"], 0)])
def test_an_order_given_back_is_told_and_marked_where_the_gallery_has_it_though_nobody_heard(
    ledger: Ledger, database: sa.Engine, gallery: list[str], noted: int
) -> None:
    ledger.note_assets([NotedAsset("a", A), NotedAsset("b", B)])
    now, places = datetime.now(UTC), {A: 0, B: 2}
    rows = (
        PlanRow(f"S/{key}", f"S/{key}", "S", place, Change.UPDATE, "", IN_GALLERY, IN_GALLERY)
        for key, place in places.items()
    )
    moved = GroupWork("S", tuple(rows), None)
    api = create_autospec(PlytixApi, instance=True)
    api.search_products.return_value = {"S": product("S", "b", "x", "a")}
    api.patch_product.side_effect = AnswerLostError("nobody heard")
    target = UndoTarget(api, ledger, {"S": Task(product("S"), (), back=BACK)}, lambda: now)
    target.read(["S"])
    ledger.begin(Intent("S", "f", planned_rows(moved), Author("run", plan_id=2, undoes_run="other")))
    with pytest.raises(AnswerLostError):
        target.apply(moved)
    settle(ledger, [product("S", *gallery)])
    assert ledger.open_intents() == []
    assert len(effects_of_run(database, "run")) == noted
    assert len(held.entries(database)) == 2 * noted


def test_an_undo_writes_no_gallery_that_it_cannot_read_again(ledger: Ledger) -> None:
    now, api = [datetime.now(UTC)], create_autospec(PlytixApi, instance=True)
    api.search_products.side_effect = [
        {"S": product("S", "b", "x", "a")},
        HourSpentError("none is left", host="plytix", path="/"),
    ]
    target = UndoTarget(api, ledger, {"S": Task(product("S", "b"), (), back=BACK)}, lambda: now[0])
    target.read(["S"])
    now[0] += WHOLE_FRESH_FOR * 2
    (result,) = target.apply(work(Change.UPDATE, IN_GALLERY, IN_GALLERY))
    assert (result.outcome, result.reason) == (Outcome.REFUSED, "plytix/: none is left")
    api.patch_product.assert_not_called()


def test_what_was_so_already_is_not_told(ledger: Ledger, database: sa.Engine) -> None:
    ledger.note_assets([NotedAsset("a", A)])
    ledger.end_links("S", {A: "a"})
    now, moved = datetime.now(UTC), work(Change.UPDATE, IN_GALLERY, IN_GALLERY)
    tasks = {"S": Task(product("S", "a"), listing("S", A, main=False).images)}
    nobody: Any = None
    target = GalleryTarget(nobody, ledger, tasks, PATCH, UploadsMade(run_id="run", plan_id=1), now, lambda: now)
    ledger.begin(Intent("S", "f", planned_rows(moved), Author("run")))
    results = target.apply(moved)
    ledger.finish(moved, results)
    assert [result.outcome for result in results] == [Outcome.DONE]
    assert effects_of_run(database, "run") == []


def test_contents_are_noted_for_pictures_that_have_an_asset(ledger: Ledger, database: sa.Engine) -> None:
    ledger.note_assets([NotedAsset("a", A)])
    ledger.note_contents({A: "00", B: "11"})
    with database.connect() as connection:
        found = connection.execute(sa.text("SELECT asset_id, content_sha256 FROM imagesync.plytix_asset")).all()
    assert [tuple(row) for row in found] == [("a", "00")]


def test_a_ledger_that_was_lost_takes_all_links_of_a_large_account_at_once(ledger: Ledger) -> None:
    ledger.adopt_links((f"S{number}", A, "a") for number in range(14_000))
    assert len(ledger.known().links) == 14_000
