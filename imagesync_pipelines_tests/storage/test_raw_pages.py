"""A page is given back exactly as received, or not at all with a name for what is wrong."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from upath import UPath

from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.scans import RawPages, finish_scan, get_scan, start_scan, under_way


@pytest.fixture(params=["folder", "memory"])
def pages(request: pytest.FixtureRequest, database: sa.Engine, tmp_path: Path) -> RawPages:
    """The pages of a connector, in a folder and in another kind of store."""
    root = UPath(tmp_path / "storage") if request.param == "folder" else UPath(f"memory://{tmp_path.name}")
    return RawPages(database, root, "image_db")


def _scan(pages: RawPages, connector: str = "image_db") -> int:
    return start_scan(pages.engine, connector, page_size=100, block_size=10)


def _files(pages: RawPages) -> list[str]:
    return sorted(path.name for path in pages.root.glob("**/*") if path.is_file())


def test_pages_come_back_as_received_in_page_order(pages: RawPages) -> None:
    scan = _scan(pages)
    bodies = {page: f'{{"page": {page}}}'.encode() * 100 for page in (12, 3, 1, 2)}
    for page, body in bodies.items():
        pages.put(scan, page, body, records=20, api_count=2489)
    assert [(entry.page, body) for entry, body in pages.iterate(scan)] == sorted(bodies.items())
    entries = pages.entries(scan)
    assert {(entry.records, entry.api_count, entry.bytes) for entry in entries} == {(20, 2489, 1100), (20, 2489, 1200)}


def test_some_pages_of_a_scan_can_be_read_alone(pages: RawPages) -> None:
    scan = _scan(pages)
    for page in range(1, 6):
        pages.put(scan, page, str(page).encode(), records=1)
    assert [body for _, body in pages.iterate(scan, only={4, 2, 9})] == [b"2", b"4"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.binary(max_size=300))
def test_any_bytes_survive(pages: RawPages, body: bytes) -> None:
    scan = _scan(pages)
    pages.put(scan, 1, body, records=0)
    assert [found for _, found in pages.iterate(scan)] == [body]


def test_a_page_of_a_scan_can_be_written_again_and_leaves_one_file(pages: RawPages) -> None:
    scan = _scan(pages)
    for body in (b"first", b"second", b"second"):
        pages.put(scan, 1, body, records=1)
    assert [body for _, body in pages.iterate(scan)] == [b"second"]
    assert len(_files(pages)) == 1


@pytest.mark.parametrize("damage", [b"", b"not compressed at all", None], ids=["emptied", "overwritten", "cut short"])
def test_a_damaged_page_is_an_error_that_names_page_and_scan(pages: RawPages, damage: bytes | None) -> None:
    scan = _scan(pages)
    entry = pages.put(scan, 7, b"what was received" * 50, records=1)
    file = pages.root / entry.path
    file.write_bytes(damage if damage is not None else file.read_bytes()[:-3])
    with pytest.raises(StorageError, match=f"page 7 of scan {scan} is damaged"):
        list(pages.iterate(scan))


def test_another_pages_bytes_are_damage_too(pages: RawPages) -> None:
    scan = _scan(pages)
    one, other = pages.put(scan, 1, b"aaa", records=1), pages.put(scan, 2, b"bbb", records=1)
    (pages.root / one.path).write_bytes((pages.root / other.path).read_bytes())
    with pytest.raises(StorageError, match=r"page 1 of scan \d+ is damaged"):
        list(pages.iterate(scan))


def test_what_is_not_there_is_said_so(pages: RawPages) -> None:
    scan = _scan(pages)
    entry = pages.put(scan, 4, b"x", records=1)
    (pages.root / entry.path).unlink()
    with pytest.raises(StorageError, match=f"page 4 of scan {scan}: its file .* is gone"):
        list(pages.iterate(scan))
    with pytest.raises(StorageError, match="scan 999"):
        pages.put(999, 1, b"x", records=1)


def test_pruning_keeps_the_newest_scans_and_the_newest_proof(pages: RawPages) -> None:
    scans = [_scan(pages) for _ in range(6)]
    elsewhere = _scan(pages, connector="another")
    for scan in scans:
        pages.put(scan, 1, f"page of {scan}".encode(), records=1)
    for scan in scans[:3]:
        finish_scan(pages.engine, scan, "" if scan != scans[2] else "page 2 is missing")
    assert pages.prune(keep_scans=2) == 3
    kept = [scans[1], scans[4], scans[5]]
    assert [bool(pages.entries(scan)) for scan in scans] == [scan in kept for scan in scans]
    assert len(_files(pages)) == 3
    assert [body for _, body in pages.iterate(scans[1])] == [f"page of {scans[1]}".encode()]
    assert get_scan(pages.engine, elsewhere).connector == "another"


def test_pruning_everything_leaves_no_page_and_no_scan(pages: RawPages) -> None:
    scan = _scan(pages)
    pages.put(scan, 1, b"x", records=1)
    finish_scan(pages.engine, scan, "")
    assert pages.prune(keep_scans=0) == 1
    assert _files(pages) == []
    with pytest.raises(StorageError, match=f"no scan {scan}"):
        get_scan(pages.engine, scan)


def test_pruning_clears_what_a_killed_prune_left(pages: RawPages) -> None:
    scan = _scan(pages)
    entry = pages.put(scan, 1, b"x", records=1)
    left = pages.root / "raw_pages" / "image_db" / "999999" / "000001-left.zst"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"left over")
    pages.prune(keep_scans=1)
    assert _files(pages) == [Path(entry.path).name]


def test_pruning_leaves_what_is_being_read_whoever_reads_it(pages: RawPages) -> None:
    read, *newer = [_scan(pages) for _ in range(4)]
    with under_way(pages.engine, read):
        assert pages.prune(keep_scans=1) == 2
        pages.put(read, 1, b"x", records=1)
    assert get_scan(pages.engine, read).state == "open"
    assert pages.prune(keep_scans=1) == 1
    assert get_scan(pages.engine, newer[-1]).state == "open"
