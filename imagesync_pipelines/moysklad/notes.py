"""What a stage leaves for the next one, for the checks and for people: small files below the storage root.

What belongs here: the notes of the stages, and keeping them. What does not: the mirror, the map and the plan, which are
in the database; a note that is lost costs a run and nothing else.
"""

from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict
from upath import UPath

from imagesync_pipelines.storage.files import write_whole

# As many runs of an account as may be between their first and their last stage at once, and some to look at.
KEPT = 20
_NOTES = "notes/moysklad"


class NoteMissingError(Exception):
    """A stage has not run for this account yet; the message says what to run."""

    retryable = False


class MainNote(BaseModel):
    """What was read of the main account: see reading.MainReading; asked: the entities that were asked for, or none."""

    model_config = ConfigDict(frozen=True)
    asset: ClassVar[str] = "main_images"

    run_id: str
    asked: tuple[str, ...]
    full: bool
    complete: bool
    reason: str
    seen: dict[str, int]
    images: int
    new: int
    changed: int
    deleted: int
    archived: int
    unread: dict[str, str]
    calls: int
    warnings: tuple[str, ...]


class Unmapped(BaseModel):
    """An entity of the main account that was not found in the child account, and why."""

    model_config = ConfigDict(frozen=True)

    key: str
    name: str
    reason: str


class MapNote(BaseModel):
    """The counterparts of the main account's entities that have images, by type; unmapped: those without one."""

    model_config = ConfigDict(frozen=True)
    asset: ClassVar[str] = "entity_map"

    run_id: str
    mapped: dict[str, int]
    new: int
    unmapped: tuple[Unmapped, ...]
    calls: int
    warnings: tuple[str, ...]


class ContentNote(BaseModel):
    """What became of the images that a plan needs.

    needed: how many; kept: those whose content was there. downloaded: name and bytes. failed: identity to reason. disk:
    pictures that are kept, of all rooms, and their bytes. calls: to the main account.
    """

    model_config = ConfigDict(frozen=True)
    asset: ClassVar[str] = "content"

    run_id: str
    plan_id: int
    needed: int = 0
    kept: int = 0
    downloaded: tuple[tuple[str, int], ...] = ()
    reencoded: int = 0
    failed: dict[str, str] = {}
    left: int = 0
    stopped: str = ""
    calls: int = 0
    disk_count: int = 0
    disk_bytes: int = 0

    @property
    def bytes(self) -> int:
        """Bytes downloaded."""
        return sum(size for _, size in self.downloaded)


Note = MainNote | MapNote | ContentNote
N = TypeVar("N", MainNote, MapNote, ContentNote)


def keep_note(root: UPath, account: str, note: Note) -> None:
    """Keep a note of a run; those of the oldest runs are forgotten."""
    folder: UPath = _folder(root, account, type(note))
    write_whole(folder / f"{note.run_id}.json", note.model_dump_json().encode())
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)


def need_note(root: UPath, account: str, run_id: str, kind: type[N]) -> N:
    """A note of this run, else the account's newest. Raises NoteMissingError when there is none."""
    folder: UPath = _folder(root, account, kind)
    mine = folder / f"{run_id}.json"
    for path in (mine, *_newest_first(folder)[:1]):
        try:
            return kind.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            continue
    raise NoteMissingError(f"moysklad/{kind.asset} has not been materialised for {account} yet; do that first.")


def _folder(root: UPath, account: str, kind: type[BaseModel]) -> UPath:
    return root / _NOTES / account / kind.__name__


def _newest_first(folder: UPath) -> list[UPath]:
    if not folder.exists():
        return []
    found = [path for path in folder.iterdir() if path.suffix == ".json" and not path.name.startswith(".")]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
