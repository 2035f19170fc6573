"""Notes of stages: a run finds its own, else the newest; the oldest go; without any, people are told what to run."""

import os
from pathlib import Path
from typing import ClassVar

import pytest
from upath import UPath

from imagesync_pipelines.storage.notes import KEPT, NoteMissingError, RunNote, keep_note, need_note


class Read(RunNote):
    """What some stage read."""

    room: ClassVar[str] = "plytix"
    asset: ClassVar[str] = "products"

    rows: int = 0


def test_a_run_finds_its_own_note_and_another_run_the_newest_of_its_account(tmp_path: Path) -> None:
    root = UPath(tmp_path)
    for number, run_id in enumerate(("one", "two")):
        keep_note(root, "main", Read(run_id=run_id, rows=number))
        os.utime(tmp_path / "notes/plytix/main/Read" / f"{run_id}.json", (number, number))
    assert need_note(root, "main", "one", Read).rows == 0
    assert need_note(root, "main", "three", Read).run_id == "two"
    with pytest.raises(NoteMissingError, match="plytix/products has not been materialised for account other yet"):
        need_note(root, "other", "one", Read)


def test_only_the_notes_of_the_newest_runs_stay(tmp_path: Path) -> None:
    folder = tmp_path / "notes/plytix/main/Read"
    for number in range(KEPT + 2):
        keep_note(UPath(tmp_path), "main", Read(run_id=f"run{number}"))
        os.utime(folder / f"run{number}.json", (number, number))
    assert {path.stem for path in folder.iterdir()} == {f"run{number}" for number in range(2, KEPT + 2)}
