"""A listing brings the mirror up to date and moves the cursor only over what was surely seen."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from imagesync_pipelines.edge.listing import NOT_LISTED, walk_room
from imagesync_pipelines.edge.model import Photo
from imagesync_pipelines.storage.schema import mirror
from imagesync_pipelines.storage.walks import get_walk, latest_walk
from imagesync_pipelines.upstream.errors import Unavailable
from imagesync_pipelines_tests.edge.head_office import (
    NOON,
    Call,
    Reply,
    row,
    uid,
)
from imagesync_pipelines_tests.edge.listing_rooms import STORE, Room, between, ids


def test_a_first_listing_is_a_full_one_and_proves_itself(room: Room) -> None:
    listed = room.take()
    assert (listed.full, listed.complete, listed.reason) == (True, True, "")
    assert (listed.seen, listed.new, listed.changed, listed.gone) == (25, 25, 0, 0)
    assert room.marked_ids == room.live == ids(*range(1, 26))
    assert listed.cursor_before is None
    assert listed.cursor_after == room.cursor == NOON + timedelta(seconds=25)
    assert [call.query["offset"] for call in room.office.listings] == ["0", "10", "20"]
    assert listed.calls == 4
    assert listed.bytes > 5000
    assert listed.walk_id is not None
    walk = get_walk(room.database, listed.walk_id)
    assert (walk.state, walk.first_count, walk.pages, walk.room) == ("proven", 25, 3, walk_room(STORE))


def test_nothing_changed_is_one_request_and_no_write(room: Room) -> None:
    room.take()
    room.office.photos.insert(0, room.office.photos.pop())
    with room.database.connect() as connection:
        before = connection.execute(sa.select(sa.literal_column("ctid::text || xmin::text")).select_from(mirror)).all()
    calls = len(room.office.calls)
    listed = room.take(overlap_minutes=0)
    assert len(room.office.calls) == calls + 1
    assert (listed.full, listed.walk_id, listed.seen, listed.new, listed.changed) == (False, None, 1, 0, 0)
    assert listed.lag_seconds == 0.0
    assert room.marked == []
    with room.database.connect() as connection:
        after = connection.execute(sa.select(sa.literal_column("ctid::text || xmin::text")).select_from(mirror)).all()
    assert after == before
    newest = latest_walk(room.database, walk_room(STORE))
    assert newest is not None
    assert newest.pages == 3


def test_an_incremental_listing_asks_since_the_cursor_minus_the_overlap(room: Room) -> None:
    room.take()
    room.take(overlap_minutes=10)
    assert room.office.listings[-1].query["since"] == "2026-02-03T11:50:25Z"


def test_what_is_new_or_changed_is_marked_before_the_cursor_moves(room: Room) -> None:
    room.take()
    room.office.photos[3] |= {"sort_order": 7, "updated_at": "2026-02-03T13:00:00.5+00:00"}
    room.office.photos.append(row(30, updated_at="2026-02-03T13:00:01+00:00"))
    before = room.cursor
    seen: list[datetime | None] = []
    room.mark = lambda photos: (seen.append(room.cursor), room.marked.extend(photos))  # type: ignore[method-assign, func-returns-value]
    listed = room.take()
    assert (listed.new, listed.changed) == (1, 1)
    assert room.marked_ids == ids(4, 30)
    assert seen == [before]
    assert room.cursor == datetime.fromisoformat("2026-02-03T13:00:01+00:00")


def test_when_the_store_cannot_be_told_nothing_moves(room: Room) -> None:
    def fail(photos: Sequence[Photo]) -> None:
        raise OSError("disk full")

    room.mark = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="disk full"):
        room.take()
    assert room.live == set()
    assert room.cursor is None
    room.mark = room.marked.extend  # type: ignore[method-assign]
    assert room.take().new == 25


def test_a_page_that_fails_moves_nothing(room: Room) -> None:
    room.take()
    cursor = room.cursor
    room.office.photos = [row(number, sort_order=1) for number in range(1, 30)]
    room.office.hook = lambda call: Reply(500, (b"<html>",)) if call.query.get("offset") == "20" else None
    with pytest.raises(Unavailable):
        room.take(full=True)
    assert room.cursor == cursor
    assert room.marked == []
    assert room.live == ids(*range(1, 26))


def test_the_cursor_is_hos_time_and_never_ours_or_hos_future(room: Room) -> None:
    room.office.photos[0]["updated_at"] = "2031-01-01T00:00:00Z"
    listed = room.take()
    assert listed.cursor_after == room.office.date
    room.office.server_time = "2026-02-03T12:30:00Z"
    assert room.take(full=True).cursor_after == NOON + timedelta(minutes=30)


def test_a_late_commit_inside_the_overlap_is_found(room: Room) -> None:
    room.take()
    room.office.photos.append(row(40, updated_at="2026-02-03T11:55:00Z"))
    assert room.take(overlap_minutes=10).new == 1


def test_naive_times_are_hos_own_zone(room: Room) -> None:
    room.office.photos = [row(1, updated_at="2026-02-03T19:00:00")]
    assert room.take().cursor_after == NOON


# --- proof


def test_a_deletion_between_two_pages_is_noticed_and_walked_again(room: Room) -> None:
    room.take()
    between(room, "10", lambda: room.office.photos.pop(0))
    listed = room.take(full=True)
    assert listed.complete
    assert (listed.seen, listed.gone) == (24, 1)
    assert room.gone() == {uid(1): NOT_LISTED}


def test_a_row_that_moved_to_the_end_is_noticed_although_the_total_stays(room: Room) -> None:
    room.take()
    between(room, "10", lambda: room.office.photos.append(room.office.photos.pop(0)))
    listed = room.take(full=True, walk_repeats=0)
    assert not listed.complete
    assert "24 different photos were read, but HO counts 25" in listed.reason
    assert listed.gone == 0
    assert room.live == ids(*range(1, 26))


def test_a_walk_that_never_proves_itself_keeps_what_it_saw_and_leaves_the_cursor(room: Room) -> None:
    room.take()
    cursor = room.cursor

    def always_another(call: Call) -> None:
        if call.query.get("offset") == "10":
            room.office.photos.append(row(1000 + len(room.office.photos), updated_at="2026-02-03T15:00:00Z"))

    room.office.hook = always_another
    room.office.max_limit = 10
    room.office.photos.pop(5)
    listed = room.take(full=True, walk_repeats=2)
    assert not listed.complete
    assert "changed while reading" in listed.reason
    assert "the cursor stays" in listed.warnings[0]
    assert len(room.office.listings) == 3 + 3 * 3
    assert listed.new == 3
    assert room.cursor == cursor == listed.cursor_after
    assert uid(6) in room.live
    assert listed.walk_id is not None
    assert get_walk(room.database, listed.walk_id).state == "unproven"


def test_an_arbitrary_order_is_read_on_one_page(room: Room) -> None:
    def shuffled(call: Call) -> None:
        room.office.photos = room.office.photos[7:] + room.office.photos[:7]

    room.office.hook = shuffled
    listed = room.take()
    assert (listed.complete, listed.seen) == (True, 25)
    assert [call.query["limit"] for call in room.office.listings] == ["10", "10", "10", "35"]


def test_an_incremental_listing_that_does_not_prove_itself_leaves_the_cursor_too(room: Room) -> None:
    room.take()
    cursor = room.cursor
    room.office.photos += [row(number) for number in range(100, 120)]
    between(room, "10", lambda: room.office.photos.pop(25))
    listed = room.take(walk_repeats=0, overlap_minutes=0)
    assert not listed.complete
    assert room.cursor == cursor
    assert room.take(overlap_minutes=0).complete


def test_a_row_that_cannot_be_read_is_no_reason_to_retire_its_photo(room: Room) -> None:
    room.take()
    room.office.photos[2]["size"] = "large"
    listed = room.take(full=True)
    assert listed.complete
    assert listed.rejects == ((uid(3), "size: not a whole number"),)
    assert "1 rows of the listing cannot be read" in listed.warnings[0]
    assert room.gone() == {}


def test_a_row_without_a_legible_id_takes_the_proof(room: Room) -> None:
    room.take()
    room.office.photos[2]["id"] = "?"
    listed = room.take(full=True)
    assert (listed.complete, listed.gone) == (False, 0)
    assert "1 photos have no legible id" in listed.reason


def test_rows_without_an_image_upstream_are_listed_and_counted(room: Room) -> None:
    room.office.photos[0] |= {"object_key": None, "checksum": "", "size": 0, "image_url": "/media/a.jpg"}
    listed = room.take()
    assert listed.unusable == 1
    assert uid(1) in room.live


# --- retiring
