"""What happens to listings between two runs (docs/contracts/amazon.md, simulator point 7)."""

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from imagesync_pipelines.sandbox.amazon.listings import MAIN, AmazonListing, ListedImage, Shelf
from imagesync_pipelines.sandbox.amazon.pictures import AmazonPicture, make_id
from imagesync_pipelines.sandbox.mutation import make, operators

NEW_SIDE = 1000


@dataclass
class ListingMutator:
    """Changes listings; new pictures come from the seed. Safe between threads."""

    shelf: Shelf
    rng: Random = field(default_factory=lambda: Random("amazon/mutations"))

    def mutate(self, operator: str, asin: str, marketplace: str = "US", **arguments: Any) -> AmazonListing:
        """Change one listing now and give it as it is afterwards.

        Operators: new_image(variant) puts a new picture into a slot, remove_image(variant), swap(variant, other),
        share_image(variant, source) shows the MAIN of another listing, remove_images(), delete() takes the listing off
        sale, hide_image(variant) takes the picture off the image host while the listing still names it.
        Raises MutationError, ListingError.
        """
        with self.shelf.lock:
            if operator in _OPERATORS:
                return make(_OPERATORS, operator, self, self.shelf.one(asin, marketplace), **arguments)
            return make(_OPERATORS, operator)


def _new_image(mutator: ListingMutator, listing: AmazonListing, variant: str = MAIN) -> AmazonListing:
    """A new upload has a new id, always."""
    made = make_id(mutator.rng, NEW_SIDE)
    return _with_image(mutator, listing, variant, AmazonPicture(made, made, NEW_SIDE, NEW_SIDE))


def _share_image(mutator: ListingMutator, listing: AmazonListing, variant: str, source: str) -> AmazonListing:
    shown = mutator.shelf.one(source, listing.marketplace).picture(MAIN)
    return _with_image(mutator, listing, variant, shown)


def _remove_image(mutator: ListingMutator, listing: AmazonListing, variant: str) -> AmazonListing:
    listing.picture(variant)
    return _with_images(mutator, listing, [image for image in listing.images if image.variant != variant])


def _remove_images(mutator: ListingMutator, listing: AmazonListing) -> AmazonListing:
    return _with_images(mutator, listing, [])


def _swap(mutator: ListingMutator, listing: AmazonListing, variant: str = MAIN, other: str = "PT01") -> AmazonListing:
    """Two pictures change places."""
    pictures = {variant: listing.picture(other), other: listing.picture(variant)}
    swapped = [replace(image, picture=pictures.get(str(image.variant), image.picture)) for image in listing.images]
    return _with_images(mutator, listing, swapped)


def _delete(mutator: ListingMutator, listing: AmazonListing) -> AmazonListing:
    return mutator.shelf.take(listing.asin, listing.marketplace)


def _hide_image(mutator: ListingMutator, listing: AmazonListing, variant: str = MAIN) -> AmazonListing:
    mutator.shelf.hide(listing.picture(variant).id)
    return listing


def _with_image(mutator: ListingMutator, listing: AmazonListing, variant: str, picture: AmazonPicture) -> AmazonListing:
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


def _with_images(mutator: ListingMutator, listing: AmazonListing, images: list[ListedImage]) -> AmazonListing:
    changed = replace(listing, images=tuple(images))
    mutator.shelf.put(changed)
    return changed


_OPERATORS = operators(_new_image, _share_image, _remove_image, _remove_images, _swap, _delete, _hide_image)
