"""Hand-overs: a run finds what its own lineage left, strangers' are out of reach, and old ones go with their files."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import BaseModel
from upath import UPath

from imagesync_pipelines.storage.files import write_whole
from imagesync_pipelines.storage.handovers import STRAY_SECONDS, HandOvers
from imagesync_pipelines.storage.liveness import alive
from imagesync_pipelines.storage.schema import handover


class Counted(BaseModel):
    """What a step of these tests leaves."""

    number: int
    when: datetime | None = None


class Named(BaseModel):
    """A hand-over with texts from a foreign file."""

    names: tuple[str, ...]


@pytest.fixture
def kept(database: sa.Engine, tmp_path: Path) -> HandOvers:
    return HandOvers(database, UPath(tmp_path), "plytix", "main")


def test_a_step_finds_what_its_own_run_left_and_the_newest_of_it(kept: HandOvers) -> None:
    moment = datetime(2026, 11, 28, 3, tzinfo=UTC)
    kept.keep("run", "listings", Counted(number=1))
    kept.keep("run", "listings", Counted(number=2, when=moment))
    assert kept.find(["run"], "listings", Counted) == Counted(number=2, when=moment)
    assert kept.find(["run"], "images", Counted) is None


def test_of_a_lineage_the_nearest_run_that_left_something_counts_and_a_stranger_never(kept: HandOvers) -> None:
    kept.keep("root", "listings", Counted(number=1))
    kept.keep("parent", "images", Counted(number=2))
    kept.keep("stranger", "listings", Counted(number=9))
    lineage = ["run", "parent", "root"]
    assert kept.find(lineage, "listings", Counted) == Counted(number=1)
    assert kept.find(lineage, "images", Counted) == Counted(number=2)
    assert kept.find(["alone"], "listings", Counted) is None


def test_accounts_and_connectors_do_not_see_each_other(kept: HandOvers) -> None:
    kept.keep("run", "listings", Counted(number=1))
    other = HandOvers(kept.engine, kept.root, "plytix", "second")
    assert other.find(["run"], "listings", Counted) is None
    assert HandOvers(kept.engine, kept.root, "edge", "main").find(["run"], "listings", Counted) is None


def test_a_row_that_an_earlier_release_wrote_otherwise_counts_as_none(kept: HandOvers) -> None:
    kept.keep("run", "listings", Counted(number=1))
    with kept.engine.begin() as connection:
        connection.execute(handover.update().values(value={"count": "one"}))
    assert kept.find(["run"], "listings", Counted) is None


def test_foreign_text_that_no_database_takes_is_kept_with_a_replacement_character(kept: HandOvers) -> None:
    kept.keep("run", "listings", Named(names=("plain", "nul \x00", "half \ud83d", "whole \U0001f45f")))
    found = kept.find(["run"], "listings", Named)
    assert found == Named(names=("plain", "nul \ufffd", "half ?", "whole \U0001f45f"))


def test_looking_back_gives_the_newest_of_any_run(kept: HandOvers) -> None:
    assert kept.newest("applied", Counted) is None
    for number, run in enumerate(("first", "second", "third")):
        kept.keep(run, "applied", Counted(number=number))
    assert kept.newest("applied", Counted) == Counted(number=2)


def test_pruning_keeps_the_newest_runs_and_those_in_use_with_their_files(kept: HandOvers) -> None:
    for number in range(5):
        run = f"run-{number}"
        write_whole(kept.file(run, "records.parquet"), b"frame")
        kept.keep(run, "records", Counted(number=number))
    kept.prune(keep=2, used={"run-0"})
    there = [f"run-{number}" for number in range(5) if kept.find([f"run-{number}"], "records", Counted)]
    assert there == ["run-0", "run-3", "run-4"]
    assert [run for run in ("run-0", "run-1", "run-4") if kept.file(run, "records.parquet").exists()] == [
        "run-0",
        "run-4",
    ]


def test_a_clock_that_was_ahead_for_some_runs_costs_no_later_run_its_hand_over(kept: HandOvers) -> None:
    for number in range(6):
        kept.keep(f"run-{number}", "records", Counted(number=number))
        if number < 3:
            with kept.engine.begin() as connection:
                connection.execute(handover.update().values(made_at=sa.func.now() + timedelta(days=3)))
        kept.prune(keep=3)
        assert kept.find([f"run-{number}"], "records", Counted)
        assert kept.newest("records", Counted) == Counted(number=number)


def test_a_run_that_is_alive_keeps_what_it_left_however_many_came_after_it(kept: HandOvers, database_url: str) -> None:
    with alive(database_url, "at work"):
        kept.keep("at work", "records", Counted(number=1))
        write_whole(kept.file("at work", "records.parquet"), b"frame")
        for number in range(3):
            kept.keep(f"run-{number}", "records", Counted(number=number))
        kept.prune(keep=1)
        assert kept.find(["at work"], "records", Counted)
        assert kept.file("at work", "records.parquet").exists()
    # The server learns a moment later that the connection is gone.
    for _ in range(100):
        kept.prune(keep=1)
        if kept.find(["at work"], "records", Counted) is None:
            break
        time.sleep(0.1)
    assert kept.find(["at work"], "records", Counted) is None


def test_a_frame_whose_run_never_got_as_far_as_its_row_goes_once_it_is_old(kept: HandOvers) -> None:
    for run in ("died long ago", "at work"):
        write_whole(kept.file(run, "records.parquet"), b"frame")
    old = (datetime.now(UTC) - timedelta(seconds=STRAY_SECONDS + 60)).timestamp()
    os.utime(kept.file("died long ago", "records.parquet").path, (old, old))
    kept.prune()
    assert not kept.file("died long ago", "records.parquet").exists()
    assert kept.file("at work", "records.parquet").exists()
