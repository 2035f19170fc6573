"""A listing retires nothing on bad news: only HO's word about a photo, or a proven scan over everything."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from imagesync_pipelines.connectors.edge.errors import BadListingError, StoreNotAllowedError, StoreUnknownError
from imagesync_pipelines.connectors.edge.listing import DELETED, NOT_FOUND, NOT_LISTED, take_listing
from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines_tests.connectors.edge.head_office import (
    NOON,
    PHOTO_GONE,
    STORE_GONE,
    Reply,
    json_reply,
    row,
    store_of,
    uid,
)
from imagesync_pipelines_tests.connectors.edge.listing_connectors import Connector, between, ids


def test_a_listing_of_nothing_retires_nothing(connector: Connector) -> None:
    connector.take()
    cursor = connector.cursor
    connector.office.photos.clear()
    listed = connector.take(full=True)
    assert not listed.complete
    assert "HO lists no photo at all, but there were 25" in listed.reason
    assert (listed.gone, connector.cursor) == (0, cursor)
    assert len(connector.live) == 25


def test_a_store_that_has_no_photo_yet_is_no_trouble(connector: Connector) -> None:
    connector.office.photos.clear()
    listed = connector.take()
    assert (listed.complete, listed.seen, listed.cursor) == (True, 0, None)


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (STORE_GONE, StoreUnknownError),
        (json_reply(403, {}), StoreNotAllowedError),
        (json_reply(200, {"data": None}), BadListingError),
    ],
    ids=["the store is unknown or inactive", "403", "no listing"],
)
@pytest.mark.parametrize("full", [True, False], ids=["full", "incremental"])
def test_a_store_that_cannot_be_listed_retires_nothing(
    connector: Connector, reply: Reply, error: type[UpstreamError], full: bool
) -> None:
    connector.take()
    connector.office.hook = lambda call: reply
    with pytest.raises(error):
        connector.take(full=full)
    assert len(connector.live) == 25
    assert connector.cursor == NOON + timedelta(seconds=25)


def test_only_a_full_listing_finds_what_vanished(connector: Connector) -> None:
    connector.take()
    connector.office.photos = connector.office.photos[5:]
    assert connector.take().gone == 0
    assert len(connector.live) == 25
    listed = connector.take(full=True)
    assert (listed.gone, connector.absent) == (5, ids(*range(1, 6)))
    assert set(connector.gone().values()) == {NOT_LISTED}
    assert connector.live == ids(*range(6, 26))


def test_a_product_that_came_back_with_its_old_time_is_found_by_a_full_listing(connector: Connector) -> None:
    photos = list(connector.office.photos)
    connector.take()
    connector.office.photos = photos[1:]
    connector.take(full=True)
    connector.office.photos = photos
    assert connector.take(overlap_minutes=0).changed == 0
    listed = connector.take(full=True)
    assert listed.changed == 1
    assert connector.marked_ids == ids(1)
    assert connector.gone() == {}


def test_deleted_ids_are_hos_word_and_stay_known(connector: Connector) -> None:
    connector.take()
    connector.office.photos = connector.office.photos[2:]
    connector.office.deleted = [uid(1), uid(2), uid(999)]
    listed = connector.take()
    assert listed.gone == 2
    assert connector.absent == ids(1, 2)
    assert set(connector.gone().values()) == {DELETED}
    at = listed.mirror_at
    again = connector.take()
    assert (again.gone, connector.absent, again.mirror_at) == (0, ids(1, 2), at)


def test_a_deleted_id_that_is_listed_as_well_stays(connector: Connector) -> None:
    connector.take()
    connector.office.deleted = [uid(25)]
    assert (connector.take().gone, connector.gone()) == (0, {})


def test_a_deletion_is_believed_even_when_the_scan_proves_nothing(connector: Connector) -> None:
    connector.take()
    connector.office.photos = connector.office.photos[1:] + [row(number) for number in range(100, 120)]
    connector.office.deleted = [uid(1)]
    between(connector, "10", lambda: connector.office.photos.pop())
    listed = connector.take(walk_repeats=0)
    assert not listed.complete
    assert connector.absent == ids(1)


def test_a_replaced_photo_retires_the_old_one_when_ho_answers_404_for_it(connector: Connector) -> None:
    connector.take()
    connector.replace(3, 50)
    listed = connector.take()
    assert (listed.new, listed.gone) == (1, 1)
    assert connector.absent == ids(3)
    assert connector.gone() == {uid(3): NOT_FOUND}
    assert [call.path.split("/")[-3] for call in connector.office.of("/download/")] == [uid(3)]


def test_a_second_photo_of_a_product_stays_because_ho_still_has_the_first(connector: Connector) -> None:
    connector.take()
    connector.office.photos.append(row(50, product_id=uid(1_000_003), is_primary=True))
    listed = connector.take(overlap_minutes=0)
    assert (listed.new, listed.gone) == (1, 0)
    assert len(connector.office.of("/download/")) == 1


@pytest.mark.parametrize(
    "reply",
    [Reply(503, (b"",)), Reply(404, (b"<html>",)), json_reply(403, {}), STORE_GONE],
    ids=["503", "HTML 404", "403", "the store is gone"],
)
def test_any_other_answer_about_an_old_photo_leaves_it_and_says_so(connector: Connector, reply: Reply) -> None:
    connector.take()
    connector.replace(3, 50)
    connector.office.hook = lambda call: reply if "/download/" in call.path else None
    listed = connector.take()
    assert (listed.complete, listed.gone) == (True, 0)
    assert "HO did not say of every replaced photo" in listed.warnings[0]
    connector.office.hook = lambda call: None
    assert connector.take(full=True).gone == 1


def test_a_head_office_that_is_down_is_not_asked_about_every_photo(connector: Connector) -> None:
    connector.take()
    for number in range(1, 21):
        connector.replace(number, 100 + number)
    connector.office.hook = lambda call: Reply(500, (b"<html>",)) if "/download/" in call.path else None
    listed = connector.take(concurrency=1)
    assert (listed.new, listed.gone) == (20, 0)
    assert len({call.path for call in connector.office.of("/download/")}) == 3


def test_a_complete_full_listing_does_not_ask_about_old_photos(connector: Connector) -> None:
    connector.take()
    connector.replace(3, 50)
    listed = connector.take(full=True)
    assert listed.gone == 1
    assert not connector.office.of("/download/")


def test_an_old_id_called_deleted_is_not_asked_about(connector: Connector) -> None:
    connector.take()
    connector.replace(3, 50)
    connector.office.deleted = [uid(3)]
    connector.take()
    assert connector.absent == ids(3)
    assert not connector.office.of("/download/")


def test_nothing_is_retired_when_the_run_ends_before_the_mirror_is_written(connector: Connector) -> None:
    connector.take()
    connector.replace(3, 50)

    def fail(photos: Sequence[Photo]) -> None:
        raise OSError

    kept, connector.mark = connector.mark, fail  # type: ignore[method-assign]
    with pytest.raises(OSError):
        connector.take()
    assert connector.gone() == {}
    connector.mark = kept  # type: ignore[method-assign]
    connector.take()
    assert connector.absent == ids(3)


# --- figures


def test_the_lag_is_the_age_of_the_oldest_change_by_hos_clock(connector: Connector) -> None:
    assert connector.take().lag_seconds is None
    connector.office.server_time = "2026-02-03T13:00:00Z"
    connector.office.photos[0]["updated_at"] = "2026-02-03T12:40:00Z"
    connector.office.photos[1]["updated_at"] = "2026-02-03T12:50:00Z"
    assert connector.take().lag_seconds == 20 * 60
    assert connector.take().lag_seconds == 0.0


def test_two_stores_do_not_share_mirror_or_cursor(connector: Connector) -> None:
    connector.take()
    settings = EdgeSettings(_env_file=None, page_size=10)
    listed = take_listing(
        connector.database,
        store_of(connector.office, name="bali"),
        connector.api,
        settings,
        full=False,
        mark_pending=connector.mark,
    )
    assert (listed.full, listed.new) == (True, 25)


def test_a_gone_photo_of_one_scan_is_asked_for_by_its_own_id_only(connector: Connector) -> None:
    connector.take()
    connector.replace(3, 50)
    connector.replace(4, 51)
    connector.office.hook = lambda call: (
        PHOTO_GONE if uid(3) in call.path else json_reply(500, {}) if uid(4) in call.path else None
    )
    connector.take()
    assert connector.absent == ids(3)
    assert uid(4) in connector.live
