"""Notes: what a stage leaves for the next one and for the checks, small files in <root>/notes/<connector>/<account>/.

A note that is lost costs a run and nothing else.
"""

from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict
from upath import UPath

from imagesync_pipelines.storage.files import write_whole

# As many runs of an account as may be between their first and their last stage at once, and some to look at.
KEPT = 20


class NoteMissingError(Exception):
    """No stage left for this run what it needs; the message says what to run."""

    retryable = False


class RunNote(BaseModel):
    """What a stage of a run found. connector and asset: the Dagster asset that leaves notes of this kind."""

    model_config = ConfigDict(frozen=True)
    connector: ClassVar[str]
    asset: ClassVar[str]

    run_id: str


N = TypeVar("N", bound=RunNote)


def keep_note(root: UPath, account: str, note: RunNote) -> None:
    """Keep a note of a run; those of the oldest runs are forgotten."""
    folder = _folder(root, account, type(note))
    write_whole(folder / f"{note.run_id}.json", note.model_dump_json().encode())
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def read_note(root: UPath, account: str, run_id: str, kind: type[N]) -> N | None:
    """The account's note of this very run; None when it left none, or it is forgotten."""
    try:
        return kind.model_validate_json((_folder(root, account, kind) / f"{run_id}.json").read_bytes())
    except FileNotFoundError:
        return None


def notes_there(root: UPath, account: str, kind: type[RunNote]) -> list[str]:
    """The runs whose notes of this kind are kept for the account, the newest first."""
    return [path.stem for path in _newest_first(_folder(root, account, kind))]


def _folder(root: UPath, account: str, kind: type[RunNote]) -> UPath:
    folder: UPath = root / "notes" / kind.connector / account / kind.__name__
    return folder


def _newest_first(folder: UPath) -> list[UPath]:
    if not folder.exists():
        return []
    found = [path for path in folder.iterdir() if path.suffix == ".json" and not path.name.startswith(".")]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
