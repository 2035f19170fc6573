"""What happens to listings between two runs (contract, simulator point 7).

What belongs here: one operator per kind of change. What does not: the first state (making.py), faults (mishaps.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from random import Random
from typing import Any

from imagesync_pipelines.sandbox.amazon.listings import MAIN, ListedImage, Listing, Shelf
from imagesync_pipelines.sandbox.amazon.pictures import Picture, make_id

NEW_SIDE = 1000


class MutationError(Exception):
    """A change cannot be made; the message says which and why."""


@dataclass
class Mutator:
    """Changes listings; new pictures come from the seed. Safe between threads."""

    shelf: Shelf
    rng: Random = field(default_factory=lambda: Random("amazon/mutations"))  # noqa: S311 - made-up, no secret

    def mutate(self, operator: str, asin: str, marketplace: str = "US", **arguments: Any) -> Listing:
        """Change one listing now and give it as it is afterwards.

        Operators: new_image(variant) puts a new picture into a slot, remove_image(variant), swap(variant, other),
        share_image(variant, source) shows the MAIN of another listing, remove_images(), delete() takes the listing off
        sale, hide_image(variant) takes the picture off the image host while the listing still names it.
        Raises MutationError, ListingError.
        """
        if operator not in _OPERATORS:
            raise MutationError(f"no operator is called {operator}; there are {', '.join(sorted(_OPERATORS))}")
        with self.shelf.lock:
            listing = self.shelf.one(asin, marketplace)
            try:
                signature(_OPERATORS[operator]).bind(self, listing, **arguments)
            except TypeError as error:
                raise MutationError(f"{operator}: {error}") from error
            return _OPERATORS[operator](self, listing, **arguments)


def _new_image(mutator: Mutator, listing: Listing, variant: str = MAIN) -> Listing:
    """A new upload has a new id, always."""
    made = make_id(mutator.rng, NEW_SIDE)
    return _with_image(mutator, listing, variant, Picture(made, made, NEW_SIDE, NEW_SIDE))


def _share_image(mutator: Mutator, listing: Listing, variant: str, source: str) -> Listing:
    shown = mutator.shelf.one(source, listing.marketplace).picture(MAIN)
    return _with_image(mutator, listing, variant, shown)


def _remove_image(mutator: Mutator, listing: Listing, variant: str) -> Listing:
    listing.picture(variant)
    return _with_images(mutator, listing, [image for image in listing.images if image.variant != variant])


def _remove_images(mutator: Mutator, listing: Listing) -> Listing:
    return _with_images(mutator, listing, [])


def _swap(mutator: Mutator, listing: Listing, variant: str = MAIN, other: str = "PT01") -> Listing:
    """Two pictures change places."""
    pictures = {variant: listing.picture(other), other: listing.picture(variant)}
    swapped = [replace(image, picture=pictures.get(str(image.variant), image.picture)) for image in listing.images]
    return _with_images(mutator, listing, swapped)


def _delete(mutator: Mutator, listing: Listing) -> Listing:
    return mutator.shelf.take(listing.asin, listing.marketplace)


def _hide_image(mutator: Mutator, listing: Listing, variant: str = MAIN) -> Listing:
    mutator.shelf.hide(listing.picture(variant).id)
    return listing


def _with_image(mutator: Mutator, listing: Listing, variant: str, picture: Picture) -> Listing:
    """The picture in the slot, in the place of what was there or at the end."""
    shown = ListedImage(variant, picture)
    slots = [image.variant for image in listing.images]
    images = list(listing.images)
    if variant in slots:
        images[slots.index(variant)] = shown
    elif variant == MAIN:
        images.insert(0, shown)
    else:
        images.append(shown)
    return _with_images(mutator, listing, images)


def _with_images(mutator: Mutator, listing: Listing, images: list[ListedImage]) -> Listing:
    changed = replace(listing, images=tuple(images))
    mutator.shelf.put(changed)
    return changed


_OPERATORS: Mapping[str, Callable[..., Listing]] = {
    "new_image": _new_image,
    "share_image": _share_image,
    "remove_image": _remove_image,
    "remove_images": _remove_images,
    "swap": _swap,
    "delete": _delete,
    "hide_image": _hide_image,
}
