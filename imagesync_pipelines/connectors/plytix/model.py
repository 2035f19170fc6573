"""What this connector speaks of: Amazon items as read, listings as chosen, products and assets as Plytix holds them,
and what the steps of a run hand over.
"""

from datetime import datetime
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field


class ItemImage(NamedTuple):
    """One entry of an item's images, as the source has it: the same picture may come in several sizes.

    variant: the code as sent, None when there is none. width and height: pixels, None when the source does not say.
    """

    variant: str | None
    link: str
    width: int | None = None
    height: int | None = None


class AmazonItem(NamedTuple):
    """One product of Amazon in one marketplace, as a mapping file or the catalogue API has it.

    sku: of its product in Plytix, always AMZN-…. marketplace: the two letters of a country, such as US.
    parent_asin: the parent that it names, '' when it names none.
    """

    sku: str
    asin: str
    marketplace: str
    is_parent: bool
    parent_asin: str
    images: tuple[ItemImage, ...]


class SetAside(NamedTuple):
    """An entry or an image that cannot be used: `where` names the product or the place in the file."""

    where: str
    reason: str
    url: str = ""


class ListingImage(NamedTuple):
    """One picture that a listing is to show.

    variant: the canonical code (MAIN, PT01 …, SWCH), '' when the source names none. url: where the original is.
    key: the canonical key of the picture, the same for all its sizes and hosts. width and height: pixels of the
    original, None when unknown. position: place in the listing, from 1.
    """

    variant: str
    url: str
    key: str
    width: int | None
    height: int | None
    position: int


class Listing(NamedTuple):
    """What a product of Plytix is to show: one picture per variant, in order, no picture twice.

    slots: the variants that have a picture. It is more than the images where one picture stands in two of them.
    """

    sku: str
    asin: str
    marketplace: str
    is_parent: bool
    images: tuple[ListingImage, ...]
    slots: int

    @property
    def main(self) -> ListingImage | None:
        """The picture for the thumbnail; None without MAIN: no other one takes its place."""
        return next((image for image in self.images if image.variant == "MAIN"), None)


class PlytixProduct(NamedTuple):
    """A product as Plytix answered: the asset of its thumbnail and the assets of the gallery attribute, in order.

    parent_id: the product it is a variant of, None for a single product or when Plytix did not say.
    """

    id: str
    sku: str
    thumbnail: str | None
    gallery: tuple[str, ...]
    parent_id: str | None = None


class Asset(NamedTuple):
    """A file in Plytix. filename: as Plytix stored it, which need not be the one asked for. size: bytes, or None.

    url: where Plytix shows it to everybody, '' where the answer does not say.
    """

    id: str
    filename: str
    size: int | None = None
    url: str = ""


class _HandOver(BaseModel):
    """What a step of a run leaves for the later ones and for the checks (sync/steps.py: keep, find, need)."""

    model_config = ConfigDict(frozen=True)


class ListingsRead(_HandOver):
    """What a mapping file, several of them or Amazon's catalogue say, before any choice.

    source: the names of the files; files: the same, each by itself. whole: these are all that there are. shape: as they
    had it, or `catalogue`. marketplace: the one that was asked for; '' is all. entries: how many the files hold, in all
    their parts. set_aside: entries and images that cannot be used. missing: SKUs that a file names and Amazon's
    catalogue does not have; empty when it was not asked. warnings: sentences for people.
    """

    source: str
    files: tuple[str, ...] = ()
    whole: bool = False
    shape: str
    marketplace: str = ""
    entries: int
    items: tuple[AmazonItem, ...]
    set_aside: tuple[SetAside, ...] = ()
    missing: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class ImagesChosen(_HandOver):
    """The listings with the pictures chosen for them, by SKU; set_aside: images of them that cannot be used."""

    source: str
    listings: tuple[Listing, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    warnings: tuple[str, ...] = ()


class _Called(_HandOver):
    """What calls to Plytix brought. run_id: the run whose calls these are. stopped: why the rest was left, '' when
    nothing was; goes_on_at: when the account's limits let the next call through.
    """

    run_id: str
    calls: int = 0
    stopped: str = ""
    goes_on_at: datetime | None = None


class ProductsRead(_Called):
    """The products of the listings as Plytix had them; unknown: SKUs that it does not have.

    recognised: assets that our ledger did not know and that are ours by their file names. told: whose account it is.
    """

    read_at: datetime
    products: tuple[PlytixProduct, ...] = ()
    unknown: tuple[str, ...] = ()
    recognised: int = 0
    told: tuple[tuple[str, str], ...] = ()


class UploadsMade(_Called):
    """What became of the uploads of a plan, in pictures.

    uploaded: new assets; existed: Plytix had the very file. failed: reasons by key. left: not tried.
    """

    plan_id: int
    uploaded: int = 0
    existed: int = 0
    failed: dict[str, str] = Field(default_factory=dict)
    left: int = 0
