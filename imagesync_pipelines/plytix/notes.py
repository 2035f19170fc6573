"""What a stage leaves for the next one, for the checks and for people: small files below the storage root.

What belongs here: the notes of the stages, the run's report, and keeping them. What does not: the ledger and
the plan, which are in the database; a note that is lost costs a run and nothing else.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict
from upath import UPath

from imagesync_pipelines.plytix.model import AmazonItem, Listing, PlytixProduct, SetAside
from imagesync_pipelines.storage.files import write_whole

# As many runs of an account as may be between their first and their last stage at once, and some to look at.
KEPT = 20
_NOTES, _REPORTS = "notes/plytix", "reports/plytix"


class NoteMissingError(Exception):
    """A stage has not run for this account yet; the message says what to run."""

    retryable = False


class SourceNote(BaseModel):
    """What was read (sources.Sources), and what was asked for: marketplace '' is all of them."""

    model_config = ConfigDict(frozen=True)
    asset: ClassVar[str] = "listings"

    run_id: str
    source: str
    shape: str
    live: bool
    marketplace: str
    entries: int
    items: tuple[AmazonItem, ...]
    set_aside: tuple[SetAside, ...]
    missing: tuple[str, ...]
    calls: int
    warnings: tuple[str, ...]


class ImagesNote(BaseModel):
    """The listings with the pictures chosen for them, by SKU; set_aside: images of them that cannot be used.

    incomplete: SKUs of which an image could not be read; what their listing lacks is not taken for gone.
    """

    model_config = ConfigDict(frozen=True)
    asset: ClassVar[str] = "images"

    run_id: str
    source: str
    listings: tuple[Listing, ...]
    set_aside: tuple[SetAside, ...]
    incomplete: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def pictures(self) -> int:
        """Distinct pictures."""
        return len({image.key for listing in self.listings for image in listing.images})


class ProductsNote(BaseModel):
    """The products of the listings as Plytix had them; unknown: SKUs that it does not have.

    recognised: assets that our ledger did not know and that are ours by their file names. stopped: why nothing could be
    read, '' when all was; goes_on_at: when the account's limits let the next call through.
    """

    model_config = ConfigDict(frozen=True)
    asset: ClassVar[str] = "products"

    run_id: str
    read_at: datetime
    products: tuple[PlytixProduct, ...]
    unknown: tuple[str, ...]
    recognised: int
    calls: int
    stopped: str = ""
    goes_on_at: datetime | None = None


class UploadsNote(BaseModel):
    """What became of the uploads of a plan, as uploading.UploadsDone has it; goes_on_at: as in ProductsNote."""

    model_config = ConfigDict(frozen=True)
    asset: ClassVar[str] = "assets"

    run_id: str
    plan_id: int
    uploaded: int = 0
    existed: int = 0
    failed: dict[str, str] = {}
    left: int = 0
    stopped: str = ""
    goes_on_at: datetime | None = None
    calls: int = 0


N = TypeVar("N", SourceNote, ImagesNote, ProductsNote, UploadsNote)


def keep_note(root: UPath, account: str, note: SourceNote | ImagesNote | ProductsNote | UploadsNote) -> None:
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
    raise NoteMissingError(f"plytix/{kind.asset} has not been materialised for account {account} yet; do that first.")


def keep_report(root: UPath, run_id: str, report: Mapping[str, Any]) -> None:
    """Keep the report of a run."""
    write_whole(root / _REPORTS / f"{run_id}.json", orjson.dumps(report, option=orjson.OPT_INDENT_2))


def read_report(root: UPath, run_id: str) -> dict[str, Any]:
    """The report of a run; empty when it broke before it had one."""
    try:
        found = orjson.loads((root / _REPORTS / f"{run_id}.json").read_bytes())
    except FileNotFoundError:
        return {}
    return dict(found)


def _folder(root: UPath, account: str, kind: type[BaseModel]) -> UPath:
    return root / _NOTES / account / kind.__name__


def _newest_first(folder: UPath) -> list[UPath]:
    if not folder.exists():
        return []
    found = [path for path in folder.iterdir() if path.suffix == ".json" and not path.name.startswith(".")]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)
