"""One catalogue item as the API gives it (contract sections 2 and 3).

What belongs here: the JSON of a listing's images, summaries, relationships and identifiers. What does not: which items
a call finds (catalogue.py).
"""

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import Any

from imagesync_pipelines.sandbox.amazon.listings import API_VARIANTS, MARKETPLACES, ListedImage, Listing
from imagesync_pipelines.sandbox.amazon.pictures import TINY_SIDE, TINY_TOKEN, Picture, fitted, small_copy

Json = dict[str, Any]


class Imageless(StrEnum):
    """How an item without images shows it; all three were seen."""

    NO_KEY = "no key"  # no `images` at all
    NO_GROUP = "no group"  # `images` is an empty list
    EMPTY_GROUP = "empty group"  # the marketplace's group has no images


def image_entries(images: Sequence[ListedImage], host: str, seed: str) -> list[Json]:
    """Every size of every picture, in an order that means nothing but is the same for the same seed."""
    entries = [entry for image in images for entry in _sizes(image, host)]
    Random(f"entries/{seed}").shuffle(entries)  # noqa: S311 - an order, no secret
    return entries


def item(
    asin: str, found: Sequence[Listing], wanted: Sequence[str], host: str, imageless: Imageless, old_variants: bool
) -> Json:
    """The item of an ASIN with the data that is wanted, one group per marketplace that lists it.

    Without `old_variants` images outside the ten known slots are left out, as the API does since 2022.
    """
    made: Json = {"asin": asin}
    for name in wanted:
        if name == "images":
            groups = [_image_group(listing, host, imageless, old_variants) for listing in found]
            if imageless is not Imageless.NO_KEY or any(group is not None for group in groups):
                made["images"] = [group for group in groups if group is not None]
        elif name in _GROUPS:
            made[name] = [
                {"marketplaceId": MARKETPLACES[listing.marketplace], **_GROUPS[name](listing)} for listing in found
            ]
        elif name == "attributes":
            made[name] = {}
        else:
            made[name] = []
    return made


def _sizes(image: ListedImage, host: str) -> list[Json]:
    """The original, and for a large one its copy of 500 px and the copy's copy of 75 px."""
    copy = small_copy(image.picture)
    made = [_entry(image.variant, image.picture.url(host), image.picture)]
    if copy is not None:
        made.append(_entry(image.variant, copy.url(host), copy))
        width, height = fitted(copy.width, copy.height, TINY_SIDE, TINY_SIDE)
        made.append(made[-1] | {"link": copy.url(host, TINY_TOKEN), "height": height, "width": width})
    return made


def _entry(variant: str | None, link: str, picture: Picture) -> Json:
    return {"variant": variant, "link": link, "height": picture.height, "width": picture.width}


def _image_group(listing: Listing, host: str, imageless: Imageless, old_variants: bool) -> Json | None:
    shown = [image for image in listing.images if old_variants or image.variant in API_VARIANTS]
    if not shown and imageless is not Imageless.EMPTY_GROUP:
        return None
    entries = image_entries(shown, host, f"{listing.marketplace}/{listing.asin}")
    return {"marketplaceId": MARKETPLACES[listing.marketplace], "images": entries}


def _summary(listing: Listing) -> Json:
    made = {
        "itemClassification": listing.classification.value,
        "itemName": listing.title,
        "brand": "Patchwork",
        "color": listing.colour,
        "size": listing.size,
        "modelNumber": listing.model_number,
        "partNumber": listing.sku,
    }
    return {name: value for name, value in made.items() if value is not None}


def _relationships(listing: Listing) -> Json:
    """The variation, from the parent's side or, if the child says so, from the child's."""
    made: Json = {"type": "VARIATION"}
    if listing.child_asins:
        theme = {"theme": "SIZE_NAME/COLOR_NAME", "attributes": ["size", "color"]}
        made |= {"childAsins": list(listing.child_asins), "variationTheme": theme}
    elif listing.parent_asin is not None:
        made |= {"parentAsins": [listing.parent_asin]}
    else:
        return {"relationships": []}
    return {"relationships": [made]}


def _identifiers(listing: Listing) -> Json:
    codes = {"UPC": listing.upc, "EAN": listing.ean, "GTIN": None if listing.upc is None else f"00{listing.upc}"}
    return {
        "identifiers": [
            {"identifierType": name, "identifier": code} for name, code in codes.items() if code is not None
        ]
    }


def _product_type(listing: Listing) -> Json:
    return {"productType": "PILLOW"}


_GROUPS: Mapping[str, Callable[[Listing], Json]] = {
    "summaries": _summary,
    "relationships": _relationships,
    "identifiers": _identifiers,
    "productTypes": _product_type,
}
