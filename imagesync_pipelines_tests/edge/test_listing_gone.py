"""A listing retires nothing on bad news: only HO's word about a photo, or a proven walk over everything."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from imagesync_pipelines.edge.errors import BadListing, NotAllowed, StoreUnknown
from imagesync_pipelines.edge.listing import DELETED, NOT_FOUND, NOT_LISTED, take_listing
from imagesync_pipelines.edge.model import Photo
from imagesync_pipelines.edge.settings import EdgeSettings
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines_tests.edge.head_office import (
    NOON,
    PHOTO_GONE,
    STORE_GONE,
    Reply,
    json_reply,
    row,
    store_of,
    uid,
)
from imagesync_pipelines_tests.edge.listing_rooms import Room, between, ids


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
    assert room.live == ids(*range(6, 26))


def test_a_product_that_came_back_with_its_old_time_is_found_by_a_full_listing(room: Room) -> None:
    photos = list(room.office.photos)
    room.take()
    room.office.photos = photos[1:]
    room.take(full=True)
    room.office.photos = photos
    assert room.take(overlap_minutes=0).changed == 0
    listed = room.take(full=True)
    assert listed.changed == 1
    assert room.marked_ids == ids(1)
    assert room.gone() == {}


def test_deleted_ids_are_hos_word_and_stay_known(room: Room) -> None:
    room.take()
    room.office.photos = room.office.photos[2:]
    room.office.deleted = [uid(1), uid(2), uid(999)]
    listed = room.take()
    assert listed.gone == 2
    assert listed.absent == ids(1, 2)
    assert set(room.gone().values()) == {DELETED}
    at = listed.mirror_at
    again = room.take()
    assert (again.gone, again.absent, again.mirror_at) == (0, ids(1, 2), at)


def test_a_deleted_id_that_is_listed_as_well_stays(room: Room) -> None:
    room.take()
    room.office.deleted = [uid(25)]
    assert (room.take().gone, room.gone()) == (0, {})


def test_a_deletion_is_believed_even_when_the_walk_proves_nothing(room: Room) -> None:
    room.take()
    room.office.photos = room.office.photos[1:] + [row(number) for number in range(100, 120)]
    room.office.deleted = [uid(1)]
    between(room, "10", lambda: room.office.photos.pop())
    listed = room.take(walk_repeats=0)
    assert not listed.complete
    assert listed.absent == ids(1)


def test_a_replaced_photo_retires_the_old_one_when_ho_answers_404_for_it(room: Room) -> None:
    room.take()
    room.replace(3, 50)
    listed = room.take()
    assert (listed.new, listed.gone) == (1, 1)
    assert listed.absent == ids(3)
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
    assert room.take().absent == ids(3)
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
    assert room.take().absent == ids(3)


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
    assert listed.absent == ids(3)
    assert uid(4) in room.live
