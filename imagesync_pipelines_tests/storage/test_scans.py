"""A scan is open, then proven or unproven; a proof can be lost and never comes back."""

import pytest
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.scans import (
    KEPT_SCANS,
    PROVEN,
    UNPROVEN,
    RawPages,
    finish_scan,
    get_scan,
    latest_scan,
    start_scan,
    void_scan,
)

COUNTS = {"page_length": 20, "first_count": 2489, "last_count": 2489, "pages": 125, "calls": 127, "bytes": 2**33}


def test_a_scan_keeps_what_was_asked_and_what_was_seen(database: sa.Engine) -> None:
    scan = start_scan(database, "image_db", page_size=100, block_size=10)
    assert get_scan(database, scan).state == "open"
    done = finish_scan(database, scan, "", **COUNTS)
    assert (done.page_size, done.page_length, done.block_size, done.pages) == (100, 20, 10, 125)
    assert (done.first_count, done.last_count, done.calls, done.bytes) == (2489, 2489, 127, 2**33)
    assert (done.state, done.reason) == (PROVEN, "")
    assert done == get_scan(database, scan)


def test_a_scan_ends_when_its_last_page_came(database: sa.Engine) -> None:
    scan = start_scan(database, "image_db", page_size=100, block_size=10)
    pages = RawPages(database, UPath("memory://scans"), "image_db")
    times = [pages.put(scan, page, b"x", records=1).fetched_at for page in (2, 1)]
    done = finish_scan(database, scan, "", **COUNTS)
    assert done.ended_at == max(times)
    assert done.started_at <= min(times)


def test_a_scan_that_was_voided_while_open_does_not_become_proven(database: sa.Engine) -> None:
    scan = start_scan(database, "image_db", page_size=100, block_size=10)
    void_scan(database, scan, "pages 1-10 were read again by themselves")
    done = finish_scan(database, scan, "", **COUNTS)
    assert (done.state, done.reason) == (UNPROVEN, "pages 1-10 were read again by themselves")
    assert done.pages == 125


def test_voiding_takes_a_proof_away_and_the_first_reason_stays(database: sa.Engine) -> None:
    scan = start_scan(database, "image_db", page_size=100, block_size=10)
    finish_scan(database, scan, "", **COUNTS)
    assert void_scan(database, scan, "first").reason == "first"
    assert void_scan(database, scan, "second").reason == "first"
    assert get_scan(database, scan).state == UNPROVEN


def test_the_latest_scan_is_the_connectors_own_and_came_to_its_end(database: sa.Engine) -> None:
    scan = start_scan(database, "image_db", page_size=100, block_size=10)
    assert latest_scan(database, "image_db") is None
    finish_scan(database, scan, "", **COUNTS)
    other = start_scan(database, "another", page_size=100, block_size=10)
    finish_scan(database, other, "", **COUNTS)
    start_scan(database, "image_db", page_size=100, block_size=10)
    assert latest_scan(database, "image_db").id == scan


@pytest.mark.parametrize("act", [void_scan, lambda e, w, _: finish_scan(e, w, "", **COUNTS)])
def test_a_scan_that_is_not_there_is_said_so(database: sa.Engine, act: object) -> None:
    with pytest.raises(StorageError, match=r"no scan 77.*new scan"):
        act(database, 77, "reason")  # type: ignore[operator]


def test_a_scan_that_ends_with_a_reason_is_unproven(database: sa.Engine) -> None:
    scan = start_scan(database, "image_db", page_size=100, block_size=10)
    done = finish_scan(database, scan, "page 3 is missing", **COUNTS)
    assert (done.state, done.reason, done.pages) == (UNPROVEN, "page 3 is missing", 125)


def test_old_scans_are_forgotten_whoever_reads_but_for_the_newest_proven_one(database: sa.Engine) -> None:
    elsewhere = start_scan(database, "edge/store2", page_size=1, block_size=1)
    scans = []
    for number in range(KEPT_SCANS + 5):
        scans.append(start_scan(database, "edge/store1", page_size=1, block_size=1))
        finish_scan(database, scans[-1], "" if number == 2 else "a page is missing")
    with database.connect() as connection:
        left = connection.execute(sa.text("SELECT id FROM imagesync.scan ORDER BY id")).scalars().all()
    assert left == [elsewhere, scans[2], *scans[5:]]
