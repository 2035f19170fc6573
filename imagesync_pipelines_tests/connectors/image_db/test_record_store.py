"""The record store: what goes in comes out, each image once, the page fetched last counts."""

from datetime import UTC, datetime, timedelta
from itertools import compress
from pathlib import Path

import pyarrow as pa
import pytest
from upath import UPath

from imagesync_pipelines.connectors.image_db.columns import RawPage, chunk_of
from imagesync_pipelines.connectors.image_db.record_store import (
    MATCHED_BY,
    WRITTEN,
    Stored,
    read_external_ids,
    read_table,
    stored_texts,
    write_chunks,
)
from imagesync_pipelines.connectors.image_db.records import MIN_HEIGHT, Link, read_page
from imagesync_pipelines_tests.connectors.image_db.made_up import link, page, record

START = datetime(2026, 3, 1, 3, tzinfo=UTC)


def read_pages(*pages: list, at: datetime = START) -> list[RawPage]:
    return [RawPage(number, at, page(*records)) for number, records in enumerate(pages, 1)]


def write(folder: Path, pages: list[RawPage], pages_per_chunk: int = 2) -> Stored:
    chunks = (chunk_of(pages[at : at + pages_per_chunk], MIN_HEIGHT) for at in range(0, len(pages), pages_per_chunk))
    return write_chunks(UPath(folder) / "records.parquet", chunks)


def types_of(path: Path) -> dict[str, str]:
    """The image type of every record in the store, by its external id."""
    table = read_table(path, ["external_id", "image_type"])
    return dict(zip(*(column.to_pylist() for column in table.columns), strict=True))


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    links = [link("2", "", False), link("1", "BE", True)]
    pages = read_pages([record(1, links=links), record(2, links=[])], [record(3, exports=[], type=None)])
    stored = write(tmp_path, pages)
    assert (stored.records, stored.repeated, stored.conflicts) == (3, 0, 0)
    rows = read_table(tmp_path / "records.parquet", [*MATCHED_BY, *WRITTEN]).to_pylist()
    expected = [found for one in pages for found in read_page(one.body).records]
    assert [[Link(**link) for link in row.pop("links")] for row in rows] == [
        [Link("1", "BE", True), Link("2", "", False)],
        [],
        [Link("803721", "BE", True)],
    ]
    own = ("external_id", "fingerprint", "image_type", "file_url")
    whole = [{**{name: getattr(one, name) for name in own}, **one.chosen._asdict()} for one in expected]
    assert rows == [{name: value for name, value in one.items() if name != "picture_url"} for one in whole]
    assert read_table(tmp_path / "records.parquet", ["picture_url"])["picture_url"].to_pylist() == [
        one["picture_url"] for one in whole
    ]
    ids = read_external_ids(tmp_path / "records.parquet")
    for chosen in ([True] * len(ids), [number == 1 for number in range(len(ids))], [False] * len(ids)):
        texts = [found.canonical for found in compress(expected, chosen)]
        with stored_texts(UPath(tmp_path) / "records.parquet", pa.array(chosen)) as texts_of:
            backwards = range(len(texts) - 1, -1, -1)
            assert texts_of(pa.array(backwards, pa.int64())).to_pylist() == texts[::-1]
            assert texts_of(pa.array([0, 0][: 2 * len(texts)], pa.int64())).to_pylist() == texts[:1] * 2


@pytest.mark.parametrize("pages_per_chunk", [1, 2, 3])
def test_an_image_on_two_pages_counts_as_on_the_page_fetched_last(tmp_path: Path, pages_per_chunk: int) -> None:
    early, late = START, START + timedelta(seconds=9)
    pages = [
        RawPage(1, late, page(record(1, type="new"), record(2))),
        RawPage(2, early, page(record(3), record(1, type="old"))),
        RawPage(3, early, page(record(2), record(4))),
    ]
    results = []
    for order in (pages, pages[::-1]):
        stored = write(tmp_path, order, pages_per_chunk)
        assert (stored.records, stored.repeated, stored.conflicts) == (4, 2, 1)
        results.append(types_of(tmp_path / "records.parquet"))
    assert results[0] == results[1] == {"1": "new", "2": "Produktfoto", "3": "Produktfoto", "4": "Produktfoto"}


def test_of_two_pages_fetched_at_the_same_moment_the_later_counts(tmp_path: Path) -> None:
    write(tmp_path, read_pages([record(1, type="a")], [record(1, type="b")]))
    assert types_of(tmp_path / "records.parquet") == {"1": "b"}


def test_rejects_and_page_facts_come_with_their_page(tmp_path: Path) -> None:
    stored = write(tmp_path, read_pages([record(1)], [record(2), record(None), None]))
    assert [(reject.page, reject.place, reject.external_id) for reject in stored.rejects] == [
        (2, 1, None),
        (2, 2, None),
    ]
    assert [(facts.page, facts.file_ids, facts.unidentified) for facts in stored.facts] == [
        (1, ("1",), 0),
        (2, ("2",), 2),
    ]


def test_no_pages_make_an_empty_store(tmp_path: Path) -> None:
    assert write(tmp_path, []).records == 0
    assert read_external_ids(tmp_path / "records.parquet") == []
    with stored_texts(UPath(tmp_path) / "records.parquet", pa.array([], pa.bool_())) as texts_of:
        assert texts_of(pa.array([], pa.int64())).to_pylist() == []


def test_a_crash_while_writing_leaves_the_store_of_before(tmp_path: Path) -> None:
    path = tmp_path / "records.parquet"
    write(tmp_path, read_pages([record(1)]))

    def breaking():  # type: ignore[no-untyped-def]
        yield chunk_of(read_pages([record(2)]), MIN_HEIGHT)
        raise OSError("power cut")

    with pytest.raises(OSError, match="power cut"):
        write_chunks(path, breaking())
    assert read_external_ids(path) == ["1"]


def test_the_store_may_lie_in_an_object_store() -> None:
    path = UPath("memory://records/scan-1/records.parquet")
    write_chunks(path, [chunk_of(read_pages([record(1)], [record(1)]), MIN_HEIGHT)])
    assert read_external_ids(path) == ["1"]
    assert [name.name for name in path.parent.iterdir()] == ["records.parquet"]
