"""The record store: what goes in comes out, each image once, the page fetched last counts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from upath import UPath

from imagesync_pipelines.image_db import record_store
from imagesync_pipelines.image_db.record_store import ReadPage, read_canonical, read_rows, write_records
from imagesync_pipelines.image_db.records import Link, read_page
from imagesync_pipelines_tests.image_db.made_up import link, page, record

START = datetime(2026, 3, 1, 3, tzinfo=UTC)


def read_pages(*pages: list, at: datetime = START) -> list[ReadPage]:
    return [ReadPage(number, at, read_page(page(*records))) for number, records in enumerate(pages, 1)]


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    links = [link("2", "", False), link("1", "BE", True)]
    pages = read_pages([record(1, links=links), record(2, links=[])], [record(3, exports=[], type=None)])
    stored = write_records(tmp_path / "records.parquet", pages)
    assert (stored.records, stored.repeated, stored.conflicts) == (3, 0, 0)
    rows = list(read_rows(tmp_path / "records.parquet"))
    expected = [found for one in pages for found in one.content.records]
    assert [row.links for row in rows] == [
        (Link("1", "BE", True), Link("2", "", False)),
        (),
        (Link("803721", "BE", True),),
    ]
    assert [(row.external_id, row.fingerprint, row.image_type, row.file_url, row.showable) for row in rows] == [
        (found.external_id, found.fingerprint, found.image_type, found.file_url, found.showable) for found in expected
    ]
    canonical = dict(read_canonical(tmp_path / "records.parquet", ["3", "1", "99"]))
    assert canonical == {found.external_id: found.canonical for found in expected if found.external_id != "2"}


@pytest.mark.parametrize("rows_per_group", [1, 2, 5000])
def test_an_image_on_two_pages_counts_as_on_the_page_fetched_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows_per_group: int
) -> None:
    monkeypatch.setattr(record_store, "ROWS_PER_GROUP", rows_per_group)
    early, late = START, START + timedelta(seconds=9)
    pages = [
        ReadPage(1, late, read_page(page(record(1, type="new"), record(2)))),
        ReadPage(2, early, read_page(page(record(3), record(1, type="old")))),
        ReadPage(3, early, read_page(page(record(2), record(4)))),
    ]
    results = []
    for order in (pages, pages[::-1]):
        stored = write_records(tmp_path / "records.parquet", order)
        assert (stored.records, stored.repeated, stored.conflicts) == (4, 2, 1)
        results.append({row.external_id: row.image_type for row in read_rows(tmp_path / "records.parquet")})
    assert results[0] == results[1] == {"1": "new", "2": "Produktfoto", "3": "Produktfoto", "4": "Produktfoto"}


def test_of_two_pages_fetched_at_the_same_moment_the_later_counts(tmp_path: Path) -> None:
    write_records(tmp_path / "records.parquet", read_pages([record(1, type="a")], [record(1, type="b")]))
    assert [row.image_type for row in read_rows(tmp_path / "records.parquet")] == ["b"]


def test_rejects_and_page_facts_come_with_their_page(tmp_path: Path) -> None:
    stored = write_records(tmp_path / "records.parquet", read_pages([record(1)], [record(2), record(None), None]))
    assert [(reject.page, reject.place, reject.reject.external_id) for reject in stored.rejects] == [
        (2, 1, None),
        (2, 2, None),
    ]
    assert [(facts.page, facts.file_ids, facts.unidentified) for facts in stored.facts] == [
        (1, ("1",), 0),
        (2, ("2",), 2),
    ]


def test_no_pages_make_an_empty_store(tmp_path: Path) -> None:
    assert write_records(tmp_path / "records.parquet", []).records == 0
    assert list(read_rows(tmp_path / "records.parquet")) == []
    assert list(read_canonical(tmp_path / "records.parquet", ["1"])) == []


def test_a_crash_while_writing_leaves_the_store_of_before(tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    write_records(path, read_pages([record(1)]))

    def breaking():  # type: ignore[no-untyped-def]
        yield read_pages([record(2)])[0]
        raise OSError("power cut")

    with pytest.raises(OSError, match="power cut"):
        write_records(path, breaking())
    assert [row.external_id for row in read_rows(path)] == ["1"]


def test_the_store_may_lie_in_an_object_store() -> None:
    path = UPath("memory://records/walk-1/records.parquet")
    write_records(path, read_pages([record(1)], [record(1)]))
    assert [row.external_id for row in read_rows(path)] == ["1"]
    assert [name.name for name in path.parent.iterdir()] == ["records.parquet"]
