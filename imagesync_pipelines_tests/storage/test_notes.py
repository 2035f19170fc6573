"""Notes of stages: each is found under its run; the oldest go."""

import os
from pathlib import Path
from typing import ClassVar

from upath import UPath

from imagesync_pipelines.storage.notes import KEPT, RunNote, keep_note, notes_there, read_note


class Read(RunNote):
    """What some stage read."""

    connector: ClassVar[str] = "plytix"
    asset: ClassVar[str] = "products"

    rows: int = 0


def test_a_note_is_that_of_one_run_and_the_newest_is_named_first(tmp_path: Path) -> None:
    root = UPath(tmp_path)
    for number, run_id in enumerate(("one", "two")):
        keep_note(root, "main", Read(run_id=run_id, rows=number))
        os.utime(tmp_path / "notes/plytix/main/Read" / f"{run_id}.json", (number, number))
    assert read_note(root, "main", "one", Read) == Read(run_id="one", rows=0)
    assert read_note(root, "main", "three", Read) is None
    assert notes_there(root, "main", Read) == ["two", "one"]
    assert notes_there(root, "other", Read) == []


def test_only_the_notes_of_the_newest_runs_stay(tmp_path: Path) -> None:
    folder = tmp_path / "notes/plytix/main/Read"
    for number in range(KEPT + 2):
        keep_note(UPath(tmp_path), "main", Read(run_id=f"run{number}"))
        os.utime(folder / f"run{number}.json", (number, number))
    assert {path.stem for path in folder.iterdir()} == {f"run{number}" for number in range(2, KEPT + 2)}
