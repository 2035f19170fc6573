"""Stored pictures are hashed again, and what differs is repaired by the next plan."""

import pytest

from imagesync_pipelines.connectors.edge.store import StoreDatabase, anything_pending, mark_pending
from imagesync_pipelines.connectors.edge.store_care import SCRUBBED, scrub
from imagesync_pipelines_tests.connectors.edge.photos import photo, picture, rows_of, run_sql, some_id
from imagesync_pipelines_tests.connectors.edge.test_applying import plan, source_of, sync
from imagesync_pipelines_tests.connectors.edge.test_store import put


def test_good_pictures_are_left_alone(store: StoreDatabase) -> None:
    put(store, *range(5))
    mark_pending(store, [photo(9)])
    before = rows_of(store, "xmin::text")
    assert scrub(store) == (5, [])
    assert rows_of(store, "xmin::text") == before


def test_a_flipped_byte_is_found_and_repaired_from_upstream(store: StoreDatabase) -> None:
    put(store, *range(5))
    rotten = some_id("photo", 3)
    run_sql(store, "UPDATE product_photo SET image_binary = set_byte(image_binary, 9, 7) WHERE id = :id", id=rotten)
    assert scrub(store) == (5, [rotten])
    assert (rows_of(store)[rotten]["sync_status"], rows_of(store)[rotten]["sync_error"]) == ("pending", SCRUBBED)
    assert anything_pending(store)
    photos = [photo(number) for number in range(5)]
    source = source_of(*range(5))
    assert sync(store, photos, source).verified == 1
    assert source.opened == [rotten]
    assert bytes(rows_of(store)[rotten]["image_binary"]) == picture(3)
    assert set(plan(store, photos).plan["change"]) == {"keep"}


def test_every_picture_is_hashed_whatever_their_number(store: StoreDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagesync_pipelines.connectors.edge.store_care.ROWS_PER_STATEMENT", 3)
    put(store, *range(10))
    run_sql(store, "UPDATE product_photo SET checksum = upper(checksum)")
    seen: list[tuple[int, int]] = []
    assert scrub(store, on_progress=lambda done, total: seen.append((done, total)))[0] == 10
    assert seen == [(3, 10), (6, 10), (9, 10), (10, 10)]
