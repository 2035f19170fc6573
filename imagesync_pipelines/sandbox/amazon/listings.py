"""What Amazon lists: products of a marketplace with their images, and the shelf that the stand-in serves them from.

What belongs here: the listing, and finding one. What does not: making listings up (making.py), their JSON (items.py).
"""

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from imagesync_pipelines.sandbox.amazon.pictures import Picture, small_copy

MARKETPLACES = {
    "US": "ATVPDKIKX0DER",
    "CA": "A2EUQ1WTGCTBG2",
    "MX": "A1AM78C64UM0Y8",
    "UK": "A1F83G8C2ARO7P",
    "DE": "A1PA6795UKMFR9",
}
MAIN, SWATCH = "MAIN", "SWCH"
# What the catalogue API answers since 2022; the other codes exist in older answers and feeds.
API_VARIANTS = (MAIN, *(f"PT0{nth}" for nth in range(1, 9)), SWATCH)


class ListingError(Exception):
    """The shelf does not hold what was asked for; the message says what."""


class Classification(StrEnum):
    """What kind of item a listing is; a child is a base product (contract section 3)."""

    BASE_PRODUCT = "BASE_PRODUCT"
    VARIATION_PARENT = "VARIATION_PARENT"


@dataclass(frozen=True)
class ListedImage:
    """A picture in a slot of a listing; `variant` is the slot's code, None as in some old answers."""

    variant: str | None
    picture: Picture


@dataclass(frozen=True)
class Listing:
    """One product in one marketplace (`US`, `DE` …), with its images in the order of their slots.

    `parent_asin` is what the child says of its parent, which few do; `package_asin` is a larger package of the same.
    """

    asin: str
    marketplace: str
    title: str
    images: tuple[ListedImage, ...] = ()
    sku: str | None = None
    upc: str | None = None
    size: str | None = None
    colour: str | None = None
    model_number: str | None = None
    parent_asin: str | None = None
    child_asins: tuple[str, ...] = ()
    package_asin: str | None = None
    classification: Classification = Classification.BASE_PRODUCT

    @property
    def suggested_sku(self) -> str:
        """The SKU of the Amazon product in Plytix."""
        return f"AMZN-{self.marketplace}-{self.asin}"

    @property
    def ean(self) -> str | None:
        """The EAN that belongs to the UPC."""
        return None if self.upc is None else f"0{self.upc}"

    @property
    def gtin(self) -> str | None:
        """The GTIN of 14 digits that belongs to the UPC."""
        return None if self.upc is None else f"00{self.upc}"

    @property
    def is_parent(self) -> bool:
        """Whether this is the parent of variations."""
        return self.classification is Classification.VARIATION_PARENT

    def picture(self, variant: str) -> Picture:
        """The picture in a slot; raises ListingError when the slot is empty."""
        for image in self.images:
            if image.variant == variant:
                return image.picture
        raise ListingError(f"listing {self.asin} has no image {variant}")


@dataclass
class Shelf:
    """The listings as they are now, and every picture that the image host can show. Safe between threads."""

    _listings: dict[tuple[str, str], Listing] = field(default_factory=dict)
    _pictures: dict[str, Picture] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def put(self, *listings: Listing) -> None:
        """Add listings or put them in the place of what they were; their pictures are on the image host from now on."""
        with self.lock:
            for listing in listings:
                self._listings[listing.marketplace, listing.asin] = listing
                for image in listing.images:
                    self.show(image.picture)

    def show(self, picture: Picture) -> None:
        """Put a picture and its small copy on the image host."""
        with self.lock:
            for shown in filter(None, (picture, small_copy(picture))):
                self._pictures[shown.id] = shown

    def take(self, asin: str, marketplace: str) -> Listing:
        """Remove a listing and give it; its pictures stay on the image host. Raises ListingError."""
        with self.lock:
            listing = self.one(asin, marketplace)
            del self._listings[marketplace, asin]
            return listing

    def hide(self, picture_id: str) -> None:
        """Take a picture off the image host (404 from now on); listings still name it. Raises ListingError."""
        with self.lock:
            if self._pictures.pop(picture_id, None) is None:
                raise ListingError(f"the image host has no picture {picture_id}")

    def one(self, asin: str, marketplace: str) -> Listing:
        """A listing; raises ListingError."""
        listing = self.find(asin, marketplace)
        if listing is None:
            raise ListingError(f"{asin} is not listed in {marketplace}")
        return listing

    def find(self, asin: str, marketplace: str) -> Listing | None:
        """A listing, or None."""
        with self.lock:
            return self._listings.get((marketplace, asin))

    def all(self, marketplace: str | None = None) -> tuple[Listing, ...]:
        """All listings, or those of one marketplace, in the order in which they came."""
        with self.lock:
            return tuple(one for one in self._listings.values() if marketplace in (None, one.marketplace))

    def picture(self, picture_id: str) -> Picture | None:
        """The picture of an id, case-sensitive, or None."""
        with self.lock:
            return self._pictures.get(picture_id)


def shelf_of(listings: Iterable[Listing]) -> Shelf:
    """A shelf with these listings."""
    shelf = Shelf()
    shelf.put(*listings)
    return shelf
