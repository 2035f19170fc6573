"""What a stage leaves for the next one, and for the checks: one small file per store and stage.

What belongs here: the two notes and keeping them below the storage root. What does not: the mirror, the cursor and the
plan, which are in the database; a note that is lost costs a plan too many and nothing else.
"""

from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel, ConfigDict
from upath import UPath

from imagesync_pipelines.storage.files import write_whole
from imagesync_pipelines.storage.notes import NoteMissingError

_FOLDER = "notes/edge"


class ListingNote(BaseModel):
    """What a listing found.

    quiet: nothing is new and nothing waits, so there is nothing to plan. mirror_at: when the mirror of this store last
    changed, None: it is empty. illegible: photos whose rows could not be read. The others are those of listing.Listed.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    dry_run: bool
    full: bool
    walk_id: int | None
    complete: bool
    reason: str
    quiet: bool
    mirror_at: datetime | None
    seen: int = 0
    new: int = 0
    changed: int = 0
    unusable: int = 0
    gone: int = 0
    rejected: int = 0
    illegible: tuple[str, ...] = ()
    cursor: datetime | None = None
    lag_seconds: float | None = None
    calls: int = 0
    bytes: int = 0
    warnings: tuple[str, ...] = ()


class AppliedNote(BaseModel):
    """What applying did; tried: photos whose bytes were to be fetched, failed and mismatched among them.

    settled_at: the state of the mirror (mirror_at) that the store has now; None: not all of it. seconds: since the run
    started. photos: by status. database_bytes: after the run; grown_bytes: since the note before.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    settled_at: datetime | None
    tried: int = 0
    failed: int = 0
    mismatched: int = 0
    bytes_downloaded: int = 0
    seconds: float = 0.0
    photos: dict[str, int] = {}
    database_bytes: int = 0
    grown_bytes: int | None = None
    capacity_bytes: int | None = None


N = TypeVar("N", ListingNote, AppliedNote)


def keep_note(root: UPath, store: str, note: ListingNote | AppliedNote) -> None:
    """Keep a store's note; the one before it is replaced."""
    write_whole(_path(root, store, type(note)), note.model_dump_json().encode())


def read_note(root: UPath, store: str, kind: type[N]) -> N | None:
    """A store's last note of a kind; None when there is none."""
    try:
        return kind.model_validate_json(_path(root, store, kind).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def need_note(root: UPath, store: str, kind: type[N]) -> N:
    """A store's last note of a kind. Raises NoteMissingError when there is none."""
    note = read_note(root, store, kind)
    if note is None:
        asset = "edge/photo_listing" if kind is ListingNote else "edge/photo_binaries"
        raise NoteMissingError(f"{asset} has not been materialised for store {store} yet; do that first.")
    return note


def _path(root: UPath, store: str, kind: type[BaseModel]) -> UPath:
    return root / _FOLDER / store / f"{kind.__name__}.json"
