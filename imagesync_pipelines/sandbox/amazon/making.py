"""Made-up listings from a seed, with the figures of contract section 6.4, and those of the demo's mapping file.

What belongs here: which listings there are and what is on them. What does not: changes over time (mutation.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from imagesync_pipelines.sandbox.amazon.listings import MAIN, SWATCH, Classification, ListedImage, Listing
from imagesync_pipelines.sandbox.amazon.pictures import Background, Picture, make_id

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
class _Maker:
    """The seed's dice, how large pictures may be, and the pictures that more listings are to show."""

    rng: Random
    longest: int = LONGEST
    to_share: list[Picture] = field(default_factory=list)

    def asin(self) -> str:
        return "B0" + "".join(self.rng.choices(_ASIN, k=8))

    def upc(self) -> str:
        return str(self.rng.randrange(10**11, 10**12))

    def new_picture(self, longest: int | None = None) -> Picture:
        side = min(longest or _drawn(self.rng, _SIDES), self.longest)
        across, down = self.rng.choice(_SHAPES)
        width, height = round(side * across / max(across, down)), round(side * down / max(across, down))
        made = make_id(self.rng, side)
        return Picture(made, made, width, height)

    def picture(self, taken: Sequence[Picture]) -> Picture:
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
        pictures: list[Picture] = []
        for _ in slots:
            pictures.append(self.picture(pictures))
        return tuple(map(ListedImage, slots, pictures))


def make_listings(
    products: int = 16, *, seed: int = 1, marketplace: str = "US", images: int | None = None, longest: int = LONGEST
) -> tuple[Listing, ...]:
    """So many listings, every seventh the parent of the following ones; the same arguments give the same listings.

    `images` gives every listing exactly so many images, parents too; `longest` bounds the pixels of a side.
    """
    maker = _Maker(Random(f"amazon/{seed}/{marketplace}"), longest)  # noqa: S311 - made-up data, no secret
    made: list[Listing] = []
    while len(made) < products:
        number = min(_PARENT_EVERY - 1, products - len(made) - 1)
        model = f"QLT{maker.rng.randrange(10_000):04d}"
        children = [_child(maker, marketplace, model, maker.images(images)) for _ in range(number)]
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


def demo_listings() -> tuple[Listing, ...]:
    """16 products of one style: 11 show the same 8 pictures, 5 the same 4 others; 108 references, 12 pictures.

    Four more without images stand at the end; the mapping file has them as unmatched.
    """
    maker = _Maker(Random(f"amazon/demo/{DEMO_SEED}"))  # noqa: S311 - made-up data, no secret
    pictures = [maker.new_picture(1000) for _ in range(12)]
    slots = [MAIN, *map(_slot, range(1, 8))]
    many, few = tuple(map(ListedImage, slots, pictures[:8])), tuple(map(ListedImage, slots[:4], pictures[8:]))
    sets = [many] * 11 + [few] * 5 + [()] * 4
    return tuple(_child(maker, "US", DEMO_MODEL, images) for images in sets)


def in_marketplace(listings: Sequence[Listing], marketplace: str) -> tuple[Listing, ...]:
    """The same products in another marketplace: the same pictures, but MAIN and the first other have changed places."""
    moved = []
    for listing in listings:
        pictures = [image.picture for image in listing.images]
        pictures[:2] = reversed(pictures[:2])
        slots = [image.variant for image in listing.images]
        moved.append(replace(listing, marketplace=marketplace, images=tuple(map(ListedImage, slots, pictures))))
    return tuple(moved)


def poor_listings(seed: int = 1, marketplace: str = "US") -> Mapping[str, Listing]:
    """One listing per thing that an image check is to find, by the name of it; `good` has none.

    `small_main` (longest side 400), `grey_main` (background not white), `no_main`, `undecodable` (PT01), `twins` (PT01
    and PT02 show the same in other bytes and another size).
    """
    maker = _Maker(Random(f"amazon/poor/{seed}"))  # noqa: S311 - made-up data, no secret

    def images(main: Picture | None = None, first: Picture | None = None) -> tuple[ListedImage, ...]:
        pictures = (main or maker.new_picture(1500), first or maker.new_picture(1000), maker.new_picture(1000))
        return tuple(map(ListedImage, (MAIN, "PT01", "PT02"), pictures))

    usual = images()
    twin = replace(usual[1].picture, id=make_id(maker.rng, 800), width=800, height=800, shade=4)
    sets = {
        "good": images(),
        "small_main": images(main=maker.new_picture(400)),
        "grey_main": images(main=replace(maker.new_picture(1500), background=Background.GREY)),
        "no_main": images()[1:],
        "undecodable": images(first=replace(maker.new_picture(1000), undecodable=True)),
        "twins": (*usual[:2], ListedImage("PT02", twin)),
    }
    return {name: _child(maker, marketplace, "QLT9000", made) for name, made in sets.items()}


def _child(maker: _Maker, marketplace: str, model: str, images: tuple[ListedImage, ...]) -> Listing:
    size, colour = maker.rng.choice(_SIZES), maker.rng.choice(_COLOURS)
    return Listing(
        asin=maker.asin(),
        marketplace=marketplace,
        title=f"Patchwork Cushion {model}, {colour}, {size}",
        images=images,
        sku=f"{model}-{colour[0]}-{size.removesuffix(' cm')}",
        upc=maker.upc(),
        size=size,
        colour=colour,
        model_number=model,
    )


def _parent(maker: _Maker, marketplace: str, model: str, children: Sequence[Listing]) -> Listing:
    """A parent: no UPC, and one child's MAIN as its own, if it has an image at all."""
    mains = [image for child in children for image in child.images if image.variant == MAIN]
    shown = () if not mains or maker.rng.random() < _PARENT_IMAGELESS else (maker.rng.choice(mains),)
    return Listing(
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
