"""A listing brings the mirror up to date and moves the cursor only over what was surely seen."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.listing import NOT_LISTED
from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.storage.scans import get_scan, latest_scan
from imagesync_pipelines.storage.schema import mirror
from imagesync_pipelines.upstream.errors import UnavailableError
from imagesync_pipelines_tests.connectors.edge.head_office import NOON, Call, Reply, row, uid
from imagesync_pipelines_tests.connectors.edge.listing_connectors import STORE, Connector, between, ids


def test_a_first_listing_is_a_full_one_and_proves_itself(connector: Connector) -> None:
    assert connector.cursor is None
    listed = connector.take()
    assert (listed.full, listed.complete, listed.reason) == (True, True, "")
    assert (listed.seen, listed.new, listed.changed, listed.gone) == (25, 25, 0, 0)
    assert connector.marked_ids == connector.live == ids(*range(1, 26))
    assert listed.cursor == connector.cursor == NOON + timedelta(seconds=25)
    assert [call.query["offset"] for call in connector.office.listings] == ["0", "10", "20"]
    assert listed.calls == 4
    assert listed.bytes > 5000
    assert listed.scan_id is not None
    scan = get_scan(connector.database, listed.scan_id)
    assert (scan.state, scan.first_count, scan.pages, scan.connector) == ("proven", 25, 3, f"edge/{STORE}")


def test_nothing_changed_is_one_request_and_no_write(connector: Connector) -> None:
    connector.take()
    connector.office.photos.insert(0, connector.office.photos.pop())
    with connector.database.connect() as connection:
        before = connection.execute(sa.select(sa.literal_column("ctid::text || xmin::text")).select_from(mirror)).all()
    calls = len(connector.office.calls)
    listed = connector.take(overlap_minutes=0)
    assert len(connector.office.calls) == calls + 1
    assert (listed.full, listed.scan_id, listed.seen, listed.new, listed.changed) == (False, None, 1, 0, 0)
    assert listed.lag_seconds == 0.0
    assert connector.marked == []
    with connector.database.connect() as connection:
        after = connection.execute(sa.select(sa.literal_column("ctid::text || xmin::text")).select_from(mirror)).all()
    assert after == before
    newest = latest_scan(connector.database, f"edge/{STORE}")
    assert newest is not None
    assert newest.pages == 3


def test_an_incremental_listing_asks_since_the_cursor_minus_the_overlap(connector: Connector) -> None:
    connector.take()
    connector.take(overlap_minutes=10)
    assert connector.office.listings[-1].query["since"] == "2026-02-03T11:50:25Z"


def test_what_is_new_or_changed_is_marked_before_the_cursor_moves(connector: Connector) -> None:
    connector.take()
    connector.office.photos[3] |= {"sort_order": 7, "updated_at": "2026-02-03T13:00:00.5+00:00"}
    connector.office.photos.append(row(30, updated_at="2026-02-03T13:00:01+00:00"))
    before = connector.cursor
    seen: list[datetime | None] = []
    connector.mark = lambda photos: (seen.append(connector.cursor), connector.marked.extend(photos))  # type: ignore[method-assign, func-returns-value]
    listed = connector.take()
    assert (listed.new, listed.changed) == (1, 1)
    assert connector.marked_ids == ids(4, 30)
    assert seen == [before]
    assert connector.cursor == datetime.fromisoformat("2026-02-03T13:00:01+00:00")


def test_when_the_store_cannot_be_told_nothing_moves(connector: Connector) -> None:
    def fail(photos: Sequence[Photo]) -> None:
        raise OSError("disk full")

    connector.mark = fail  # type: ignore[method-assign]
    with pytest.raises(OSError, match="disk full"):
        connector.take()
    assert connector.live == set()
    assert connector.cursor is None
    connector.mark = connector.marked.extend  # type: ignore[method-assign]
    assert connector.take().new == 25


def test_a_page_that_fails_moves_nothing(connector: Connector) -> None:
    connector.take()
    cursor = connector.cursor
    connector.office.photos = [row(number, sort_order=1) for number in range(1, 30)]
    connector.office.hook = lambda call: Reply(500, (b"<html>",)) if call.query.get("offset") == "20" else None
    with pytest.raises(UnavailableError):
        connector.take(full=True)
    assert connector.cursor == cursor
    assert connector.marked == []
    assert connector.live == ids(*range(1, 26))


def test_the_cursor_is_hos_time_and_never_ours_or_hos_future(connector: Connector) -> None:
    connector.office.photos[0]["updated_at"] = "2031-01-01T00:00:00Z"
    listed = connector.take()
    assert listed.cursor == connector.office.date
    connector.office.server_time = "2026-02-03T12:30:00Z"
    assert connector.take(full=True).cursor == NOON + timedelta(minutes=30)


def test_a_late_commit_inside_the_overlap_is_found(connector: Connector) -> None:
    connector.take()
    connector.office.photos.append(row(40, updated_at="2026-02-03T11:55:00Z"))
    assert connector.take(overlap_minutes=10).new == 1


def test_naive_times_are_hos_own_zone(connector: Connector) -> None:
    connector.office.photos = [row(1, updated_at="2026-02-03T19:00:00")]
    assert connector.take().cursor == NOON


# --- proof


def test_a_deletion_between_two_pages_is_noticed_and_scanned_again(connector: Connector) -> None:
    connector.take()
    between(connector, "10", lambda: connector.office.photos.pop(0))
    listed = connector.take(full=True)
    assert listed.complete
    assert (listed.seen, listed.gone) == (24, 1)
    assert connector.gone() == {uid(1): NOT_LISTED}


def test_a_row_that_moved_to_the_end_is_noticed_although_the_total_stays(connector: Connector) -> None:
    connector.take()
    between(connector, "10", lambda: connector.office.photos.append(connector.office.photos.pop(0)))
    listed = connector.take(full=True, walk_repeats=0)
    assert not listed.complete
    assert "24 different photos were read, but HO counts 25" in listed.reason
    assert listed.gone == 0
    assert connector.live == ids(*range(1, 26))


def test_a_scan_that_never_proves_itself_keeps_what_it_saw_and_leaves_the_cursor(connector: Connector) -> None:
    connector.take()
    cursor = connector.cursor

    def always_another(call: Call) -> None:
        if call.query.get("offset") == "10":
            connector.office.photos.append(row(1000 + len(connector.office.photos), updated_at="2026-02-03T15:00:00Z"))

    connector.office.hook = always_another
    connector.office.max_limit = 10
    connector.office.photos.pop(5)
    listed = connector.take(full=True, walk_repeats=2)
    assert not listed.complete
    assert "changed while reading" in listed.reason
    assert "the cursor stays" in listed.warnings[0]
    assert len(connector.office.listings) == 3 + 3 * 3
    assert listed.new == 3
    assert connector.cursor == cursor == listed.cursor
    assert uid(6) in connector.live
    assert listed.scan_id is not None
    assert get_scan(connector.database, listed.scan_id).state == "unproven"


def test_an_arbitrary_order_is_read_on_one_page(connector: Connector) -> None:
    def shuffled(call: Call) -> None:
        connector.office.photos = connector.office.photos[7:] + connector.office.photos[:7]

    connector.office.hook = shuffled
    listed = connector.take()
    assert (listed.complete, listed.seen) == (True, 25)
    assert [call.query["limit"] for call in connector.office.listings] == ["10", "10", "10", "35"]


def test_an_incremental_listing_that_does_not_prove_itself_leaves_the_cursor_too(connector: Connector) -> None:
    connector.take()
    cursor = connector.cursor
    connector.office.photos += [row(number) for number in range(100, 120)]
    between(connector, "10", lambda: connector.office.photos.pop(25))
    listed = connector.take(walk_repeats=0, overlap_minutes=0)
    assert not listed.complete
    assert connector.cursor == cursor
    assert connector.take(overlap_minutes=0).complete


def test_a_row_that_cannot_be_read_is_no_reason_to_retire_its_photo(connector: Connector) -> None:
    connector.take()
    connector.office.photos[2]["size"] = "large"
    listed = connector.take(full=True)
    assert listed.complete
    assert listed.rejects == ((uid(3), "size: not a whole number"),)
    assert "1 rows of the listing cannot be read" in listed.warnings[0]
    assert connector.gone() == {}


def test_a_row_without_a_legible_id_takes_the_proof(connector: Connector) -> None:
    connector.take()
    connector.office.photos[2]["id"] = "?"
    listed = connector.take(full=True)
    assert (listed.complete, listed.gone) == (False, 0)
    assert "1 photos have no legible id" in listed.reason


def test_rows_without_an_image_upstream_are_listed_and_counted(connector: Connector) -> None:
    connector.office.photos[0] |= {"object_key": None, "checksum": "", "size": 0, "image_url": "/media/a.jpg"}
    listed = connector.take()
    assert listed.unusable == 1
    assert uid(1) in connector.live


# --- retiring
