"""Pages parsed by helper processes: the same columns in the same order as parsed here, whatever happens to a helper."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np
import psutil
import pytest

from imagesync_pipelines.connectors.image_db import parsing
from imagesync_pipelines.connectors.image_db.columns import Chunk, RawPage, chunk_of
from imagesync_pipelines.connectors.image_db.errors import BadPageError
from imagesync_pipelines.connectors.image_db.known import KnownRecords, known_by
from imagesync_pipelines.connectors.image_db.parsing import parse
from imagesync_pipelines_tests.connectors.image_db.made_up import page, record

START = datetime(2026, 3, 1, 3, tzinfo=UTC)
ENOUGH = parsing.HELPED_BYTES


def pages(number: int = 9) -> list[RawPage]:
    bodies = [page(record(2 * at + 1), record(2 * at + 2), None) for at in range(number)]
    return [RawPage(at, START, body) for at, body in enumerate(bodies, 1)]


def told(chunks: Iterator[Chunk] | list[Chunk]) -> list[tuple]:
    return [(chunk.table.to_pylist(), chunk.origins, chunk.facts, chunk.rejects) for chunk in chunks]


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "CHUNK_BYTES", 1)
    monkeypatch.setattr(parsing.os, "cpu_count", lambda: 2)


def test_helpers_give_what_parsing_here_gives_in_the_same_order() -> None:
    here = told(parse(pages(), 600, 0))
    assert [chunk[1][0][1] for chunk in here] == list(range(1, 10))
    assert told(parse(pages(), 600, ENOUGH)) == here


def test_the_least_height_reaches_the_helpers() -> None:
    assert told(parse(pages(2), 5000, ENOUGH)) == told(parse(pages(2), 5000, 0)) != told(parse(pages(2), 600, 0))


def test_no_pages_are_no_chunks() -> None:
    assert list(parse([], 600, 0)) == list(parse([], 600, ENOUGH)) == []


def test_a_helper_that_dies_costs_nothing() -> None:
    def killing() -> Iterator[RawPage]:
        for raw in pages():
            if raw.page == 4:
                for child in psutil.Process().children():
                    if parsing.__name__ in child.cmdline():
                        child.send_signal(signal.SIGKILL)
            yield raw

    assert told(parse(killing(), 600, ENOUGH)) == told(parse(pages(), 600, 0))


def test_a_page_that_cannot_be_parsed_raises_its_own_error_and_leaves_no_helper_behind() -> None:
    bad = [*pages(3), RawPage(4, START, b"<html>")]
    with pytest.raises(BadPageError):
        list(parse(bad, 600, ENOUGH))
    assert not [child for child in psutil.Process(os.getpid()).children() if parsing.__name__ in child.cmdline()]


def test_a_helper_loads_neither_pandas_nor_a_database_nor_pydantic_for_that_would_take_longer_than_its_work() -> None:
    in_order = [RawPage(1, START, page(record(1), record(2)))]
    command = [sys.executable, "-X", "importtime", "-m", parsing.__name__]
    helper = subprocess.run(command, input=pickle.dumps((in_order, 600)), capture_output=True, check=True)
    assert told([pickle.loads(helper.stdout)]) == told([chunk_of(in_order, 600)])
    loaded = {line.rpartition(b"|")[2].strip().decode() for line in helper.stderr.splitlines()}
    assert "pyarrow" in loaded
    # Of what was kept from loading importtime knows the name alone.
    assert not {"pandas.core", "pydantic", "sqlalchemy", "psycopg", "dagster", "urllib3"} & loaded


def known() -> KnownRecords:
    """All pages as they are known from an earlier reading."""
    chunk = chunk_of(pages(), 600)
    ids = chunk.table["external_id"].cast("int64").to_numpy()
    return known_by(b"".join(chunk.table["bytes_digest"].to_pylist()), np.arange(len(ids)), ids)


def test_what_is_known_needs_no_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "_helper", None)
    chunks = list(parse(pages(), 600, ENOUGH, known()))
    assert [(len(chunk.table), chunk.rows.tolist()) for chunk in chunks] == [
        (0, [-1 - 2 * at, -2 - 2 * at]) for at in range(9)
    ]
    assert [chunk.facts for chunk in chunks] == [chunk_of([raw], 600).facts for raw in pages()]


def test_when_most_is_new_the_helpers_read_what_is_left() -> None:
    fresh = [RawPage(0, START, page(record(901), record(902), record(1)))]
    chunks = list(parse([*pages(1), *fresh, *pages()[1:]], 600, ENOUGH, known()))
    assert [len(chunk.table) for chunk in chunks] == [0, 2, *[2] * 8]
