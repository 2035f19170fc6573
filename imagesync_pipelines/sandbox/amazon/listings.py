"""What Amazon lists, the shelf that the stand-in serves it from, and made-up listings."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random

from imagesync_pipelines.sandbox.amazon.pictures import AmazonPicture, make_id, small_copy
from imagesync_pipelines.sandbox.answers import SandboxError

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


class ListingError(SandboxError):
    """The shelf does not hold what was asked for; the message says what."""


class Classification(StrEnum):
    """What kind of item a listing is; a child is a base product."""

    BASE_PRODUCT = "BASE_PRODUCT"
    VARIATION_PARENT = "VARIATION_PARENT"


@dataclass(frozen=True)
class ListedImage:
    """A picture in a slot of a listing; `variant` is the slot's code, None as in some old answers."""

    variant: str | None
    picture: AmazonPicture


@dataclass(frozen=True)
class AmazonListing:
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

    def picture(self, variant: str) -> AmazonPicture:
        """The picture in a slot; raises ListingError when the slot is empty."""
        for image in self.images:
            if image.variant == variant:
                return image.picture
        raise ListingError(f"listing {self.asin} has no image {variant}")


@dataclass
class Shelf:
    """The listings as they are now, and every picture that the image host can show. Safe between threads."""

    _listings: dict[tuple[str, str], AmazonListing] = field(default_factory=dict)
    _pictures: dict[str, AmazonPicture] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def put(self, *listings: AmazonListing) -> None:
        """Add listings or put them in the place of what they were; their pictures are on the image host from now on."""
        with self.lock:
            for listing in listings:
                self._listings[listing.marketplace, listing.asin] = listing
                for image in listing.images:
                    self.show(image.picture)

    def show(self, picture: AmazonPicture) -> None:
        """Put a picture and its small copy on the image host."""
        with self.lock:
            for shown in filter(None, (picture, small_copy(picture))):
                self._pictures[shown.id] = shown

    def take(self, asin: str, marketplace: str) -> AmazonListing:
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

    def one(self, asin: str, marketplace: str) -> AmazonListing:
        """A listing; raises ListingError."""
        listing = self.find(asin, marketplace)
        if listing is None:
            raise ListingError(f"{asin} is not listed in {marketplace}")
        return listing

    def find(self, asin: str, marketplace: str) -> AmazonListing | None:
        """A listing, or None."""
        with self.lock:
            return self._listings.get((marketplace, asin))

    def all(self, marketplace: str | None = None) -> tuple[AmazonListing, ...]:
        """All listings, or those of one marketplace, in the order in which they came."""
        with self.lock:
            return tuple(one for one in self._listings.values() if marketplace in (None, one.marketplace))

    def picture(self, picture_id: str) -> AmazonPicture | None:
        """The picture of an id, case-sensitive, or None."""
        with self.lock:
            return self._pictures.get(picture_id)


DEMO_SEED, DEMO_MODEL = 32, "QLT0032"
LONGEST = 2560
_ASIN = "0123456789BCDFGHJKLMNPQRSTVWXYZ"
_COLOURS = ("Moss", "Slate", "Rust", "Sand", "Plum", "Teal")
_SIZES = ("40 cm", "45 cm", "50 cm", "60 cm")
_IMAGES = {0: 2, 1: 4, 2: 4, 3: 6, 4: 24, 5: 9, 6: 9, 7: 9, 8: 26, 9: 7}
_SHARES = {1: 66, 2: 12, 3: 6, 4: 4, 5: 3, 6: 3, 8: 2, 11: 2, 16: 1, 23: 1}
_SIDES = {2560: 35, 1500: 25, 1001: 14, 1000: 6, 500: 12, 300: 8}
_SHAPES = ((1, 1), (3, 2), (2, 3), (4, 5))
_MAIN_SHARE, _GAP_SHARE, _SWATCH_SHARE = 0.97, 0.2, 0.03
_PARENT_EVERY, _PARENT_IMAGELESS, _CHILD_NAMES_PARENT, _IN_PACKAGE = 7, 1 / 3, 0.1, 0.05


@dataclass
class ListingMaker:
    """Makes up listings from the seed's dice; pictures are so large at most, and some are yet to be shown again."""

    rng: Random
    longest: int = LONGEST
    to_share: list[AmazonPicture] = field(default_factory=list)

    def asin(self) -> str:
        """A new ASIN."""
        return "B0" + "".join(self.rng.choices(_ASIN, k=8))

    def upc(self) -> str:
        """A new UPC."""
        return str(self.rng.randrange(10**11, 10**12))

    def new_picture(self, longest: int | None = None) -> AmazonPicture:
        """A picture of its own, with the longest side as the figures have it unless it is given."""
        side = min(longest or _drawn(self.rng, _SIDES), self.longest)
        across, down = self.rng.choice(_SHAPES)
        width, height = round(side * across / max(across, down)), round(side * down / max(across, down))
        made = make_id(self.rng, side)
        return AmazonPicture(made, made, width, height)

    def picture(self, taken: Sequence[AmazonPicture]) -> AmazonPicture:
        """One that other listings show too, while there is such, else a new one."""
        for at, picture in enumerate(self.to_share):
            if picture not in taken:
                return self.to_share.pop(at)
        picture = self.new_picture()
        self.to_share += [picture] * (_drawn(self.rng, _SHARES) - 1)
        self.rng.shuffle(self.to_share)
        return picture

    def images(self, number: int | None) -> tuple[ListedImage, ...]:
        """The images of one listing: exactly so many and no gap, or as the figures have it."""
        slots = _drawn_slots(self.rng) if number is None else [MAIN, *map(_slot, range(1, number))][:number]
        pictures: list[AmazonPicture] = []
        for _ in slots:
            pictures.append(self.picture(pictures))
        return tuple(map(ListedImage, slots, pictures))

    def child(self, marketplace: str, model: str, images: tuple[ListedImage, ...]) -> AmazonListing:
        """A listing of a model's style that can be bought, with these images."""
        size, colour = self.rng.choice(_SIZES), self.rng.choice(_COLOURS)
        return AmazonListing(
            asin=self.asin(),
            marketplace=marketplace,
            title=f"Patchwork Cushion {model}, {colour}, {size}",
            images=images,
            sku=f"{model}-{colour[0]}-{size.removesuffix(' cm')}",
            upc=self.upc(),
            size=size,
            colour=colour,
            model_number=model,
        )


def make_listings(
    products: int = 16, *, seed: int = 1, marketplace: str = "US", images: int | None = None, longest: int = LONGEST
) -> tuple[AmazonListing, ...]:
    """So many listings, every seventh the parent of the following ones; the same arguments give the same listings.

    `images` gives every listing exactly so many images, parents too; `longest` bounds the pixels of a side.
    """
    maker = ListingMaker(Random(f"amazon/{seed}/{marketplace}"), longest)
    made: list[AmazonListing] = []
    while len(made) < products:
        number = min(_PARENT_EVERY - 1, products - len(made) - 1)
        model = f"QLT{maker.rng.randrange(10_000):04d}"
        children = [maker.child(marketplace, model, maker.images(images)) for _ in range(number)]
        parent = _parent(maker, marketplace, model, children)
        made.append(parent if images is None else replace(parent, images=maker.images(images)))
        made += [
            replace(
                child,
                parent_asin=parent.asin if maker.rng.random() < _CHILD_NAMES_PARENT else None,
                package_asin=maker.asin() if maker.rng.random() < _IN_PACKAGE else None,
            )
            for child in children
        ]
    return tuple(made)


def demo_listings() -> tuple[AmazonListing, ...]:
    """16 products of one style: 11 show the same 8 pictures, 5 the same 4 others; 108 references, 12 pictures.

    Four more without images stand at the end; the mapping file has them as unmatched.
    """
    maker = ListingMaker(Random(f"amazon/demo/{DEMO_SEED}"))
    pictures = [maker.new_picture(1000) for _ in range(12)]
    slots = [MAIN, *map(_slot, range(1, 8))]
    many, few = tuple(map(ListedImage, slots, pictures[:8])), tuple(map(ListedImage, slots[:4], pictures[8:]))
    sets = [many] * 11 + [few] * 5 + [()] * 4
    return tuple(maker.child("US", DEMO_MODEL, images) for images in sets)


def _parent(maker: ListingMaker, marketplace: str, model: str, children: Sequence[AmazonListing]) -> AmazonListing:
    """A parent: no UPC, and one child's MAIN as its own, if it has an image at all."""
    mains = [image for child in children for image in child.images if image.variant == MAIN]
    shown = () if not mains or maker.rng.random() < _PARENT_IMAGELESS else (maker.rng.choice(mains),)
    return AmazonListing(
        asin=maker.asin(),
        marketplace=marketplace,
        title=f"Patchwork Cushion {model}",
        images=shown,
        model_number=model,
        child_asins=tuple(child.asin for child in children),
        classification=Classification.VARIATION_PARENT,
    )


def _drawn_slots(rng: Random) -> list[str]:
    """The codes of the slots that a listing fills, in order, gaps and a rare swatch among them."""
    number = _drawn(rng, _IMAGES)
    if number == 0:
        return []
    with_main = rng.random() < _MAIN_SHARE
    others = min(8, number - 1 if with_main else number)
    reach = 8 if rng.random() < _GAP_SHARE else others
    slots = [MAIN] * with_main + [_slot(nth) for nth in sorted(rng.sample(range(1, reach + 1), others))]
    return [*slots[:8], SWATCH] if rng.random() < _SWATCH_SHARE else slots


def _slot(number: int) -> str:
    return f"PT{number:02d}"


def _drawn(rng: Random, weights: Mapping[int, int]) -> int:
    return rng.choices(list(weights), list(weights.values()))[0]
