"""What a stage leaves for the next one, for the checks and for people: small files below the storage root.

What belongs here: what the notes of the stages hold, and the run's report. What does not: keeping notes
(storage/notes.py), the ledger and the plan, which are in the database.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import orjson
from pydantic import Field
from upath import UPath

from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR
from imagesync_pipelines.connectors.plytix.model import AmazonItem, Listing, PlytixProduct, SetAside
from imagesync_pipelines.storage.files import write_whole
from imagesync_pipelines.storage.notes import RunNote

_REPORTS = "reports/plytix"


class SourceNote(RunNote):
    """What was read (sources.Sources), and what was asked for: marketplace '' is all of them."""

    connector: ClassVar[str] = CONNECTOR
    asset: ClassVar[str] = "listings"

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


class ImagesNote(RunNote):
    """The listings with the pictures chosen for them, by SKU; set_aside: images of them that cannot be used.

    incomplete: SKUs of which an image could not be read; what their listing lacks is not taken for gone.
    """

    connector: ClassVar[str] = CONNECTOR
    asset: ClassVar[str] = "images"

    source: str
    listings: tuple[Listing, ...]
    set_aside: tuple[SetAside, ...]
    incomplete: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def pictures(self) -> int:
        """Distinct pictures."""
        return len({image.key for listing in self.listings for image in listing.images})


class ProductsNote(RunNote):
    """The products of the listings as Plytix had them; unknown: SKUs that it does not have.

    recognised: assets that our ledger did not know and that are ours by their file names. stopped: why nothing could be
    read, '' when all was; goes_on_at: when the account's limits let the next call through.
    """

    connector: ClassVar[str] = CONNECTOR
    asset: ClassVar[str] = "products"

    read_at: datetime
    products: tuple[PlytixProduct, ...]
    unknown: tuple[str, ...]
    recognised: int
    calls: int
    stopped: str = ""
    goes_on_at: datetime | None = None


class UploadsNote(RunNote):
    """What became of the uploads of a plan, as uploading.UploadsDone has it; goes_on_at: as in ProductsNote."""

    connector: ClassVar[str] = CONNECTOR
    asset: ClassVar[str] = "assets"

    plan_id: int
    uploaded: int = 0
    existed: int = 0
    failed: dict[str, str] = Field(default_factory=dict)
    left: int = 0
    stopped: str = ""
    goes_on_at: datetime | None = None
    calls: int = 0


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
