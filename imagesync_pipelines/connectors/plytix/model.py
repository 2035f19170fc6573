"""What this connector speaks of: Amazon items as read, listings as chosen, products and assets as Plytix holds them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, Self


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

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values; `from_json` is the way back."""
        return self._asdict() | {"images": [image._asdict() for image in self.images]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The listing that `as_json` was made from."""
        return cls(**{**data, "images": tuple(ListingImage(**image) for image in data["images"])})


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
    """A file in Plytix. filename: as Plytix stored it, which need not be the one asked for. size: bytes, or None."""

    id: str
    filename: str
    size: int | None = None


class Upload(NamedTuple):
    """The answer to an upload; `existed`: Plytix had this very file, nothing was created."""

    asset: Asset
    existed: bool


class LinkAnswer(StrEnum):
    """What became of a link that was asked for."""

    LINKED = "linked"
    ALREADY = "already linked"
