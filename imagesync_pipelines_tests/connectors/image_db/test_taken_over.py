"""What is taken over from an earlier reading: unchanged records alone, and never those that were read otherwise."""

import subprocess
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from upath import UPath

from imagesync_pipelines.connectors.image_db import taken_over
from imagesync_pipelines.connectors.image_db.columns import SCHEMA, RawPage, chunk_of
from imagesync_pipelines.connectors.image_db.in_order import bytes_digest
from imagesync_pipelines.connectors.image_db.record_store import Stored, read_table, write_chunks
from imagesync_pipelines.connectors.image_db.taken_over import NOTHING, KnownFile, code_key, open_known, reading_key
from imagesync_pipelines_tests.connectors.image_db.made_up import export, link, page, record

START = datetime(2026, 3, 1, 3, tzinfo=UTC)


def raw_pages(*pages: list[Any]) -> list[RawPage]:
    return [RawPage(number, START, page(*records)) for number, records in enumerate(pages, 1)]


def write(path: UPath, pages: list[RawPage], known: KnownFile = NOTHING) -> Stored:
    """Read the pages one by one into a record file."""
    return write_chunks(path, (chunk_of([raw], 600, known.records) for raw in pages), known)


def again(folder: UPath, first: list[RawPage], second: list[RawPage]) -> tuple[Stored, Stored, Stored]:
    """A first reading; a second one that takes over; and the second as if nothing were known."""
    before = write(folder / "before", first)
    with open_known(folder / "before", before.sha256) as known:
        after = write(folder / "after", second, known)
    return before, after, write(folder / "anew", second)


def rows(path: UPath) -> list[dict[str, Any]]:
    found = read_table(path, SCHEMA.names).to_pylist()
    return sorted(found, key=lambda row: int(row["external_id"]))


def test_an_unchanged_record_is_taken_over_whatever_its_stock_is(tmp_path: Path) -> None:
    folder = UPath(tmp_path)
    before, after, anew = again(
        folder,
        raw_pages([record(1, links=[link(stock=4)]), record(2)], [record(3, links=[link(stock=None)])]),
        raw_pages([record(1, links=[link(stock=-18)]), record(2)], [record(3, links=[link(stock=10)])]),
    )
    assert (after.taken_over, after.records, after.facts) == (3, 3, anew.facts)
    assert after.sha256 == before.sha256
    assert (folder / "after").read_bytes() == (folder / "before").read_bytes()
    assert rows(folder / "after") == rows(folder / "anew")


def test_what_changed_came_or_went_is_as_if_nothing_were_known(tmp_path: Path) -> None:
    folder = UPath(tmp_path)
    _, after, anew = again(
        folder,
        raw_pages([record(1), record(2), record(3)], [record(4), record(5, exports=[export(filename=7)])]),
        raw_pages(
            [record(1), record(2, type="Szene")], [record(4), record(5, exports=[export(filename=7)]), record(6)]
        ),
    )
    assert after.taken_over == 2
    assert (after.records, after.facts, after.rejects) == (anew.records, anew.facts, anew.rejects)
    assert after.left_out == anew.left_out != (), "what cannot be read of a record is told by every run"
    assert rows(folder / "after") == rows(folder / "anew")


def test_taken_over_records_are_taken_over_again(tmp_path: Path) -> None:
    folder, stored = UPath(tmp_path), None
    for number, pages in enumerate(([1, 2, 3], [1, 2, 4], [2, 4], [2, 4])):
        with ExitStack() as stack:
            known = stack.enter_context(open_known(folder / str(number - 1), stored.sha256)) if stored else NOTHING
            stored = write(folder / str(number), raw_pages([record(one) for one in pages]), known)
    assert stored is not None
    assert (stored.records, stored.taken_over) == (2, 2)


VERSIONS = st.builds(
    lambda number, kind, stock: record(number, type=kind, links=[link(stock=stock)]),
    st.integers(1, 4),
    st.sampled_from(["a", "b", " c", "x" * 51]),
    st.integers(0, 2),
)
READINGS = st.lists(st.tuples(st.lists(VERSIONS, max_size=4), st.integers(0, 2)), max_size=4)


@settings(max_examples=60, deadline=None)
@given(READINGS, READINGS)
def test_taking_over_gives_what_reading_everything_gives(first: list[Any], second: list[Any]) -> None:
    both = [
        [RawPage(number, START + timedelta(seconds=late), page(*found)) for number, (found, late) in enumerate(one, 1)]
        for one in (first, second)
    ]
    folder = UPath("memory://taken-over")
    _, after, anew = again(folder, *both)
    assert rows(folder / "after") == rows(folder / "anew")
    for name in ("records", "repeated", "conflicts", "rejects", "left_out"):
        assert getattr(after, name) == getattr(anew, name)
    assert [sorted(one.file_ids) for one in after.facts] == [sorted(one.file_ids) for one in anew.facts]


SAME = [b'"stock":4', b'"stock": 4', b'"stock":null', b'"stock":-18', b'"stock":0']
OTHER = [b'"stock":4.5', b'"stock":"4"', b'"stock":04', b'"stack":4', b'"stock":[4]', b'"Stock":4', b'"stock":true']


@pytest.mark.parametrize("text", SAME)
def test_the_stock_of_an_article_counts_for_nothing(text: bytes) -> None:
    digests = [bytes_digest(b'{"articles":[{"number":"1",%b}]}' % one) for one in (text, b'"stock":7')]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("text", OTHER)
def test_anything_else_counts(text: bytes) -> None:
    digests = [bytes_digest(b'{"articles":[{"number":"1",%b}]}' % one) for one in (text, b'"stock":4')]
    assert digests[0] != digests[1]


def test_a_file_that_is_damaged_or_gone_is_not_taken_over_from(tmp_path: Path) -> None:
    path = UPath(tmp_path) / "records"
    stored = write(path, raw_pages([record(1)]))
    body = path.read_bytes()
    path.write_bytes(body[:200] + bytes([body[200] ^ 1]) + body[201:])
    for where in (path, UPath(tmp_path) / "gone"):
        with open_known(where, stored.sha256) as known:
            assert known is NOTHING


def test_records_are_of_other_settings_another_source_or_another_version() -> None:
    keys = {reading_key(600, "https://a/api/"), reading_key(601, "https://a/api/"), reading_key(600, "https://b/api/")}
    assert len(keys) == 3
    assert reading_key(600, "https://a/api/") in keys


def test_another_rule_is_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = reading_key(600, "")
    monkeypatch.setattr(taken_over, "CHOICE_VERSION", 99)
    assert reading_key(600, "") != before


def test_another_library_or_line_of_code_is_another_version_from_the_next_process_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, running = [code_key()], reading_key(600, "")
    with monkeypatch.context() as changed:
        changed.setattr(taken_over, "version", lambda name: f"{name} 99")
        keys.append(code_key())
    (tmp_path / "a_rule_of_tests.py").write_text("A = 1")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(taken_over, "MODULES", ("a_rule_of_tests",))
    for text in ("A = 1", "A = 2"):
        (tmp_path / "a_rule_of_tests.py").write_text(text)
        keys.append(code_key())
    assert len(set(keys)) == len(keys)
    assert reading_key(600, "") == running


def test_the_small_groups_of_many_nights_do_not_add_up(tmp_path: Path) -> None:
    path, stored = UPath(tmp_path) / "0", None
    for night in range(8):
        pages = raw_pages(
            *(
                [record(n, type="abcdefgh"[night] if n == night + 1 else "a") for n in range(first, first + 5)]
                for first in (1, 6, 11)
            )
        )
        with ExitStack() as stack:
            known = stack.enter_context(open_known(path, stored.sha256)) if stored else NOTHING
            path = UPath(tmp_path) / str(night)
            stored = write(path, pages, known)
    assert pq.ParquetFile(str(path)).num_row_groups <= 3


def test_the_version_covers_every_module_that_has_a_part_in_a_record() -> None:
    names = [f"imagesync_pipelines.connectors.image_db.{name}" for name in ("columns", "records")]
    program = f"import sys, {', '.join(names)}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    ours = {name for name in loaded if name.startswith("imagesync_pipelines.") and Path(_file(name)).stat().st_size}
    assert ours == set(taken_over.MODULES)


def _file(name: str) -> str:
    return str(__import__(name, fromlist=["_"]).__file__)
