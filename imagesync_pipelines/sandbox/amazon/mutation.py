"""What happens to listings between two runs (docs/contracts/amazon.md, simulator point 7)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from imagesync_pipelines.sandbox.amazon.listings import MAIN, AmazonListing, ListedImage, Shelf
from imagesync_pipelines.sandbox.amazon.pictures import AmazonPicture, make_id
from imagesync_pipelines.sandbox.mutation import make, operators

NEW_SIDE = 1000


@dataclass(frozen=True)
class _Change:
    """Which listing changes; new pictures come from the dice."""

    shelf: Shelf
    dice: Random
    listing: AmazonListing

    def show(self, images: Iterable[ListedImage]) -> AmazonListing:
        """The listing with these images."""
        changed = replace(self.listing, images=tuple(images))
        self.shelf.put(changed)
        return changed

    def fill(self, variant: str, picture: AmazonPicture) -> AmazonListing:
        """The picture in the slot, in the place of what was there or at the end; MAIN stands first."""
        images, slots = list(self.listing.images), [image.variant for image in self.listing.images]
        place = slots.index(variant) if variant in slots else 0 if variant == MAIN else len(slots)
        images[place : place + (variant in slots)] = [ListedImage(variant, picture)]
        return self.show(images)


def mutate(
    shelf: Shelf, dice: Random, operator: str, asin: str, marketplace: str = "US", **arguments: Any
) -> AmazonListing:
    """Change one listing now and give it as it is afterwards.

    Operators: new_image(variant) puts a new picture into a slot, remove_image(variant), swap(variant, other),
    share_image(variant, source) shows the MAIN of another listing, remove_images(), delete() takes the listing off
    sale, hide_image(variant) takes the picture off the image host while the listing still names it.
    Raises MutationError, ListingError.
    """
    with shelf.lock:
        if operator not in _OPERATORS:
            return make(_OPERATORS, operator)
        return make(_OPERATORS, operator, _Change(shelf, dice, shelf.one(asin, marketplace)), **arguments)


def _new_image(change: _Change, variant: str = MAIN) -> AmazonListing:
    """A new upload has a new id, always."""
    made = make_id(change.dice, NEW_SIDE)
    return change.fill(variant, AmazonPicture(made, made, NEW_SIDE, NEW_SIDE))


def _share_image(change: _Change, variant: str, source: str) -> AmazonListing:
    return change.fill(variant, change.shelf.one(source, change.listing.marketplace).picture(MAIN))


def _remove_image(change: _Change, variant: str) -> AmazonListing:
    change.listing.picture(variant)
    return change.show(image for image in change.listing.images if image.variant != variant)


def _remove_images(change: _Change) -> AmazonListing:
    return change.show(())


def _swap(change: _Change, variant: str = MAIN, other: str = "PT01") -> AmazonListing:
    """Two pictures change places."""
    listing = change.listing
    pictures = {variant: listing.picture(other), other: listing.picture(variant)}
    return change.show(
        replace(image, picture=pictures.get(str(image.variant), image.picture)) for image in listing.images
    )


def _delete(change: _Change) -> AmazonListing:
    return change.shelf.take(change.listing.asin, change.listing.marketplace)


def _hide_image(change: _Change, variant: str = MAIN) -> AmazonListing:
    change.shelf.hide(change.listing.picture(variant).id)
    return change.listing


_OPERATORS = operators(_new_image, _share_image, _remove_image, _remove_images, _swap, _delete, _hide_image)
