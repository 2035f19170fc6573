"""What the steps of a run leave for the later ones and for the checks (sync/steps.py: keep, find, need)."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from imagesync_pipelines.connectors.plytix.model import AmazonItem, Listing, PlytixProduct, SetAside


class ListingsRead(BaseModel):
    """What was read (sources.Sources), and what was asked for: marketplace '' is all of them."""

    model_config = ConfigDict(frozen=True)

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


class ImagesChosen(BaseModel):
    """The listings with the pictures chosen for them, by SKU; set_aside: images of them that cannot be used.

    incomplete: SKUs of which an image could not be read; what their listing lacks is not taken for gone.
    """

    model_config = ConfigDict(frozen=True)

    source: str
    listings: tuple[Listing, ...]
    set_aside: tuple[SetAside, ...]
    incomplete: tuple[str, ...]
    warnings: tuple[str, ...]


class ProductsRead(BaseModel):
    """The products of the listings as Plytix had them; unknown: SKUs that it does not have.

    run_id: the run whose calls these are. recognised: assets that our ledger did not know and that are ours by their
    file names. stopped: why nothing could be read, '' when all was; goes_on_at: when the account's limits let the next
    call through.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    read_at: datetime
    products: tuple[PlytixProduct, ...]
    unknown: tuple[str, ...]
    recognised: int
    calls: int
    stopped: str = ""
    goes_on_at: datetime | None = None


class UploadsMade(BaseModel):
    """What became of the uploads of a plan, as uploading.UploadsDone has it; run_id, goes_on_at: as in ProductsRead."""

    model_config = ConfigDict(frozen=True)

    run_id: str
    plan_id: int
    uploaded: int = 0
    existed: int = 0
    failed: dict[str, str] = Field(default_factory=dict)
    left: int = 0
    stopped: str = ""
    goes_on_at: datetime | None = None
    calls: int = 0
