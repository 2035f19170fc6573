"""Batches of records on disk: whole or not there, found by run or by age, forgotten when nobody needs them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from upath import UPath

from imagesync_pipelines.connectors.image_db.columns import RawPage, chunk_of
from imagesync_pipelines.connectors.image_db.errors import BatchMissingError
from imagesync_pipelines.connectors.image_db.record_store import (
    STEP,
    About,
    Batches,
    RejectLine,
    read_external_ids,
    read_table,
    write_chunks,
)
from imagesync_pipelines.connectors.image_db.records import MIN_HEIGHT
from imagesync_pipelines.products.applying import Unmatched
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines_tests.connectors.image_db.made_up import page, record

START = datetime(2026, 3, 1, 3, tzinfo=UTC)


@pytest.fixture
def batches(database: sa.Engine, tmp_path: Path) -> Batches:
    return Batches(HandOvers(database, UPath(tmp_path), "image_db"))


def about(run_id: str, hours: int = 0) -> About:
    return About(
        run_id=run_id,
        made_at=START + timedelta(hours=hours),
        scan_id=1,
        scope="all",
        complete=True,
        reason="",
        rejects=(RejectLine(page=2, place=1, external_id="7", reason="no type"),),
    )


def make(batches: Batches, run_id: str, hours: int) -> None:
    write_chunks(batches.records(run_id), [chunk_of([RawPage(1, START, page(record(1), record(2)))], MIN_HEIGHT)])
    batches.handovers.keep(run_id, STEP, about(run_id, hours))


def names(batches: Batches) -> list[str]:
    """The runs whose batches are there."""
    return sorted(found.run_id for found in batches.handovers.all(STEP, About))


def test_a_batch_is_read_as_it_was_written(batches: Batches) -> None:
    make(batches, "one", 0)
    assert batches.about("one") == about("one")
    assert read_external_ids(batches.records("one")) == ["1", "2"]
    assert [(line.page, line.place, line.external_id) for line in about("one").rejects] == [(2, 1, "7")]


def test_a_batch_counts_only_once_it_is_described(batches: Batches) -> None:
    make(batches, "one", 0)
    write_chunks(batches.records("two"), [])
    assert (batches.of(["two"]).run_id, names(batches)) == ("one", ["one"])
    with pytest.raises(BatchMissingError, match="the records of two"):
        batches.about("two")


def test_the_newest_batch_of_all_pages_is_never_a_part_that_somebody_chose(batches: Batches) -> None:
    # Whatever the clocks of their hosts said: the last one that was kept counts.
    for hours, name in ((3, "a"), (5, "c"), (1, "b")):
        make(batches, name, hours)
    assert (batches.of([]).run_id, sorted(names(batches))) == ("b", ["a", "b", "c"])
    for hours, scope in ((6, "pages"), (7, "skus"), (8, "images")):
        make(batches, scope, hours)
        batches.handovers.keep(scope, STEP, about(scope, hours).model_copy(update={"scope": scope}))
    assert batches.of([]).run_id == "b"
    assert batches.of(["stranger", "pages", "a"]).run_id == "pages"


def test_without_any_batch_it_says_what_to_run(batches: Batches) -> None:
    with pytest.raises(BatchMissingError, match="materialise image_db/api_pages and image_db/records"):
        batches.of([])


def test_old_batches_are_forgotten_unless_somebody_needs_them(batches: Batches) -> None:
    for hours, name in enumerate("abcd"):
        make(batches, name, hours)
    batches.handovers.prune(2, used=["a", "not there"])
    assert names(batches) == ["a", "c", "d"]


@pytest.mark.parametrize("empty", [False, True])
def test_what_matched_nothing_is_kept_with_its_candidates(batches: Batches, empty: bool) -> None:
    columns = ["number", "variant", "external_id", "image_type", "image_url", "reason", "candidates"]
    near = [{"sku": "803721", "name": "Engel", "why": "a character is missing"}]
    rows = [("80372", "", "7", "Szene", "u", "why", near), ("1", "", "8", "Szene", "u", "why", [])]
    unused = pd.DataFrame([("9", "Szene", "u", "why")], columns=["external_id", "image_type", "image_url", "reason"])
    found = Unmatched(pd.DataFrame([] if empty else rows, columns=columns), unused.iloc[:0] if empty else unused)
    make(batches, "one", 0)
    with pytest.raises(BatchMissingError, match="image_db/plan"):
        batches.unmatched("one")
    batches.keep_unmatched("one", found, "products")
    read = batches.unmatched("one")
    assert read.unmatched.to_dict("records") == found.unmatched.to_dict("records")
    assert read.unused.to_dict("records") == found.unused.to_dict("records")
    assert list(read.unmatched.columns) == columns
    make(batches, "two", 1)
    assert batches.suggested("products") == ({} if empty else {("80372", ""): near, ("1", ""): []})
    assert batches.suggested("other products") == {}


class Other(BaseModel):
    """What an earlier or later release may have left under the same name."""

    something: str = "else"


def test_a_batch_that_cannot_be_read_counts_as_none_and_stops_no_other(batches: Batches) -> None:
    make(batches, "one", 0)
    make(batches, "two", 1)
    batches.handovers.keep("two", STEP, Other())
    batches.records("two").write_bytes(b"")
    assert (batches.of(["two"]).run_id, names(batches)) == ("one", ["one"])
    with pytest.raises(BatchMissingError, match="the records of two"):
        batches.about("two")
    assert read_external_ids(batches.records("one")) == ["1", "2"]


@pytest.mark.parametrize("left", [b"", b"\x00" * 400, b"PAR1 cut"], ids=["empty", "NUL", "cut"])
def test_damaged_records_are_told_with_what_to_do_and_show_no_picture(batches: Batches, left: bytes) -> None:
    make(batches, "a", 1)
    batches.records("a").parent.mkdir(parents=True, exist_ok=True)
    batches.records("a").write_bytes(left)
    with pytest.raises(BatchMissingError, match=r"are damaged.*materialise image_db/records"):
        read_table(batches.records("a"))
    assert batches.pictures("a", ["1"]) == {}
