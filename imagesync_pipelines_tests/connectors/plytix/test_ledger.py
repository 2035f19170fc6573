"""The ledger of an account: one asset per picture, links that are ours only once they are made, intents that settle."""

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.plytix.gallery import Row
from imagesync_pipelines.connectors.plytix.ledger import Ledger, NotedAsset
from imagesync_pipelines.storage.outbox import Intent
from imagesync_pipelines.sync.frames import row_frame

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


def test_contents_are_noted_for_pictures_that_have_an_asset(ledger: Ledger, database: sa.Engine) -> None:
    ledger.note_assets([NotedAsset("a", A)])
    ledger.note_contents({A: "00", B: "11"})
    with database.connect() as connection:
        found = connection.execute(sa.text("SELECT asset_id, content_sha256 FROM imagesync.plytix_asset")).all()
    assert [tuple(row) for row in found] == [("a", "00")]


def test_a_ledger_that_was_lost_takes_all_links_of_a_large_account_at_once(ledger: Ledger) -> None:
    ledger.adopt_links((f"S{number}", A, "a") for number in range(14_000))
    assert len(ledger.known().links) == 14_000
