"""A listing brings the mirror up to date, moves the cursor only over what was surely seen, and retires nothing on bad
news."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.edge.api import HeadOfficeApi
from imagesync_pipelines.edge.errors import BadListing, NotAllowed, StoreUnknown
from imagesync_pipelines.edge.listing import DELETED, NOT_FOUND, NOT_LISTED, ROOM, Listed, take_listing, walk_room
from imagesync_pipelines.edge.model import Photo
from imagesync_pipelines.edge.settings import EdgeSettings
from imagesync_pipelines.storage.cursors import read_cursor
from imagesync_pipelines.storage.mirror import read_mirror
from imagesync_pipelines.storage.schema import mirror
from imagesync_pipelines.storage.walks import get_walk, latest_walk
from imagesync_pipelines.upstream.errors import Unavailable, UpstreamError
from imagesync_pipelines_tests.edge.head_office import (
    NOON,
    PHOTO_GONE,
    STORE_GONE,
    Call,
    FakeHeadOffice,
    Reply,
    api_for,
    head_office,
    json_reply,
    row,
    store_of,
    uid,
)

STORE = "jakarta-1"


@dataclass
class Room:
    """A store's room in our database, beside a head office; `marked` is what the store was told to be pending."""

    database: sa.Engine
    office: FakeHeadOffice
    api: HeadOfficeApi
    marked: list[Photo] = field(default_factory=list)

    def take(self, *, full: bool = False, **settings: Any) -> Listed:
        self.marked.clear()
        return take_listing(
            self.database,
            store_of(self.office),
            self.api,
            EdgeSettings(_env_file=None, **{"page_size": 10, **settings}),
            full=full,
            mark_pending=self.mark,
        )

    def mark(self, photos: Sequence[Photo]) -> None:
        self.marked.extend(photos)

    @property
    def marked_ids(self) -> set[str]:
        return {photo.photo_id for photo in self.marked}

    @property
    def live(self) -> set[str]:
        with self.database.connect() as connection:
            return set(read_mirror(connection, ROOM, STORE)["key"])

    @property
    def cursor(self) -> datetime | None:
        with self.database.connect() as connection:
            value = read_cursor(connection, ROOM, STORE)
        return None if value is None else datetime.fromisoformat(value)

    def gone(self) -> dict[str, str]:
        query = sa.select(mirror.c.key, mirror.c.gone_because).where(mirror.c.gone_at.is_not(None))
        with self.database.connect() as connection:
            return {found[0]: found[1] for found in connection.execute(query)}

    def replace(self, old: int, new: int, **changes: Any) -> None:
        """Replace a photo as HO does: another id, the same product, now."""
        product = uid(1_000_000 + old)
        self.office.photos = [photo for photo in self.office.photos if photo["id"] != uid(old)]
        self.office.photos.append(row(new, product_id=product, **changes))


@pytest.fixture
def opened() -> Any:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def room(database: sa.Engine, opened: ExitStack) -> Room:
    office = opened.enter_context(head_office(photos=25))
    return Room(database, office, opened.enter_context(api_for(office)))


def _ids(*numbers: int) -> set[str]:
    return {uid(number) for number in numbers}


def test_a_first_listing_is_a_full_one_and_proves_itself(room: Room) -> None:
    listed = room.take()
    assert (listed.full, listed.complete, listed.reason) == (True, True, "")
    assert (listed.seen, listed.new, listed.changed, listed.gone) == (25, 25, 0, 0)
    assert room.marked_ids == room.live == _ids(*range(1, 26))
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
    assert room.marked_ids == _ids(4, 30)
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
    assert room.live == _ids(*range(1, 26))


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


def _between(room: Room, offset: str, action: Any) -> None:
    """Do something when a page is asked for, the first time only."""
    done: list[bool] = []

    def hook(call: Call) -> None:
        if call.query.get("offset") == offset and not done:
            done.append(True)
            action()

    room.office.hook = hook


def test_a_deletion_between_two_pages_is_noticed_and_walked_again(room: Room) -> None:
    room.take()
    _between(room, "10", lambda: room.office.photos.pop(0))
    listed = room.take(full=True)
    assert listed.complete
    assert (listed.seen, listed.gone) == (24, 1)
    assert room.gone() == {uid(1): NOT_LISTED}


def test_a_row_that_moved_to_the_end_is_noticed_although_the_total_stays(room: Room) -> None:
    room.take()
    _between(room, "10", lambda: room.office.photos.append(room.office.photos.pop(0)))
    listed = room.take(full=True, walk_repeats=0)
    assert not listed.complete
    assert "24 different photos were read, but HO counts 25" in listed.reason
    assert listed.gone == 0
    assert room.live == _ids(*range(1, 26))


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
    _between(room, "10", lambda: room.office.photos.pop(25))
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


def test_a_listing_of_nothing_retires_nothing(room: Room) -> None:
    room.take()
    cursor = room.cursor
    room.office.photos.clear()
    listed = room.take(full=True)
    assert not listed.complete
    assert "HO lists no photo at all, but there were 25" in listed.reason
    assert (listed.gone, room.cursor) == (0, cursor)
    assert len(room.live) == 25


def test_a_store_that_has_no_photo_yet_is_no_trouble(room: Room) -> None:
    room.office.photos.clear()
    listed = room.take()
    assert (listed.complete, listed.seen, listed.cursor_after) == (True, 0, None)


@pytest.mark.parametrize(
    ("reply", "error"),
    [(STORE_GONE, StoreUnknown), (json_reply(403, {}), NotAllowed), (json_reply(200, {"data": None}), BadListing)],
    ids=["the store is unknown or inactive", "403", "no listing"],
)
@pytest.mark.parametrize("full", [True, False], ids=["full", "incremental"])
def test_a_store_that_cannot_be_listed_retires_nothing(
    room: Room, reply: Reply, error: type[UpstreamError], full: bool
) -> None:
    room.take()
    room.office.hook = lambda call: reply
    with pytest.raises(error):
        room.take(full=full)
    assert len(room.live) == 25
    assert room.cursor == NOON + timedelta(seconds=25)


def test_only_a_full_listing_finds_what_vanished(room: Room) -> None:
    room.take()
    room.office.photos = room.office.photos[5:]
    assert room.take().gone == 0
    assert len(room.live) == 25
    listed = room.take(full=True)
    assert (listed.gone, listed.absent) == (5, frozenset())
    assert set(room.gone().values()) == {NOT_LISTED}
    assert room.live == _ids(*range(6, 26))


def test_a_product_that_came_back_with_its_old_time_is_found_by_a_full_listing(room: Room) -> None:
    photos = list(room.office.photos)
    room.take()
    room.office.photos = photos[1:]
    room.take(full=True)
    room.office.photos = photos
    assert room.take(overlap_minutes=0).changed == 0
    listed = room.take(full=True)
    assert listed.changed == 1
    assert room.marked_ids == _ids(1)
    assert room.gone() == {}


def test_deleted_ids_are_hos_word_and_stay_known(room: Room) -> None:
    room.take()
    room.office.photos = room.office.photos[2:]
    room.office.deleted = [uid(1), uid(2), uid(999)]
    listed = room.take()
    assert listed.gone == 2
    assert listed.absent == _ids(1, 2)
    assert set(room.gone().values()) == {DELETED}
    at = listed.mirror_at
    again = room.take()
    assert (again.gone, again.absent, again.mirror_at) == (0, _ids(1, 2), at)


def test_a_deleted_id_that_is_listed_as_well_stays(room: Room) -> None:
    room.take()
    room.office.deleted = [uid(25)]
    assert (room.take().gone, room.gone()) == (0, {})


def test_a_deletion_is_believed_even_when_the_walk_proves_nothing(room: Room) -> None:
    room.take()
    room.office.photos = room.office.photos[1:] + [row(number) for number in range(100, 120)]
    room.office.deleted = [uid(1)]
    _between(room, "10", lambda: room.office.photos.pop())
    listed = room.take(walk_repeats=0)
    assert not listed.complete
    assert listed.absent == _ids(1)


def test_a_replaced_photo_retires_the_old_one_when_ho_answers_404_for_it(room: Room) -> None:
    room.take()
    room.replace(3, 50)
    listed = room.take()
    assert (listed.new, listed.gone) == (1, 1)
    assert listed.absent == _ids(3)
    assert room.gone() == {uid(3): NOT_FOUND}
    assert [call.path.split("/")[-3] for call in room.office.of("/download/")] == [uid(3)]


def test_a_second_photo_of_a_product_stays_because_ho_still_has_the_first(room: Room) -> None:
    room.take()
    room.office.photos.append(row(50, product_id=uid(1_000_003), is_primary=True))
    listed = room.take(overlap_minutes=0)
    assert (listed.new, listed.gone) == (1, 0)
    assert len(room.office.of("/download/")) == 1


@pytest.mark.parametrize(
    "reply",
    [Reply(503, (b"",)), Reply(404, (b"<html>",)), json_reply(403, {}), STORE_GONE],
    ids=["503", "HTML 404", "403", "the store is gone"],
)
def test_any_other_answer_about_an_old_photo_leaves_it_and_says_so(room: Room, reply: Reply) -> None:
    room.take()
    room.replace(3, 50)
    room.office.hook = lambda call: reply if "/download/" in call.path else None
    listed = room.take()
    assert (listed.complete, listed.gone) == (True, 0)
    assert "HO did not say of every replaced photo" in listed.warnings[0]
    room.office.hook = lambda call: None
    assert room.take(full=True).gone == 1


def test_a_head_office_that_is_down_is_not_asked_about_every_photo(room: Room) -> None:
    room.take()
    for number in range(1, 21):
        room.replace(number, 100 + number)
    room.office.hook = lambda call: Reply(500, (b"<html>",)) if "/download/" in call.path else None
    listed = room.take(concurrency=1)
    assert (listed.new, listed.gone) == (20, 0)
    assert len({call.path for call in room.office.of("/download/")}) == 3


def test_a_complete_full_listing_does_not_ask_about_old_photos(room: Room) -> None:
    room.take()
    room.replace(3, 50)
    listed = room.take(full=True)
    assert listed.gone == 1
    assert not room.office.of("/download/")


def test_an_old_id_called_deleted_is_not_asked_about(room: Room) -> None:
    room.take()
    room.replace(3, 50)
    room.office.deleted = [uid(3)]
    assert room.take().absent == _ids(3)
    assert not room.office.of("/download/")


def test_nothing_is_retired_when_the_run_ends_before_the_mirror_is_written(room: Room) -> None:
    room.take()
    room.replace(3, 50)

    def fail(photos: Sequence[Photo]) -> None:
        raise OSError

    kept, room.mark = room.mark, fail  # type: ignore[method-assign]
    with pytest.raises(OSError):
        room.take()
    assert room.gone() == {}
    room.mark = kept  # type: ignore[method-assign]
    assert room.take().absent == _ids(3)


# --- figures


def test_the_lag_is_the_age_of_the_oldest_change_by_hos_clock(room: Room) -> None:
    assert room.take().lag_seconds is None
    room.office.server_time = "2026-02-03T13:00:00Z"
    room.office.photos[0]["updated_at"] = "2026-02-03T12:40:00Z"
    room.office.photos[1]["updated_at"] = "2026-02-03T12:50:00Z"
    assert room.take().lag_seconds == 20 * 60
    assert room.take().lag_seconds == 0.0


def test_two_stores_do_not_share_mirror_or_cursor(room: Room) -> None:
    room.take()
    settings = EdgeSettings(_env_file=None, page_size=10)
    listed = take_listing(
        room.database,
        store_of(room.office, name="bali"),
        room.api,
        settings,
        full=False,
        mark_pending=room.mark,
    )
    assert (listed.full, listed.new) == (True, 25)


def test_a_gone_photo_of_one_walk_is_asked_for_by_its_own_id_only(room: Room) -> None:
    room.take()
    room.replace(3, 50)
    room.replace(4, 51)
    room.office.hook = lambda call: (
        PHOTO_GONE if uid(3) in call.path else json_reply(500, {}) if uid(4) in call.path else None
    )
    listed = room.take()
    assert listed.absent == _ids(3)
    assert uid(4) in room.live
