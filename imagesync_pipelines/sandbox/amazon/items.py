"""One catalogue item as the API gives it (contract sections 2 and 3).

What belongs here: the JSON of a listing's images, summaries, relationships and identifiers. What does not: which items
a call finds (catalogue.py).
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from imagesync_pipelines.sandbox.amazon.listings import API_VARIANTS, MARKETPLACES, ListedImage, Listing
from imagesync_pipelines.sandbox.amazon.pictures import TINY_SIDE, TINY_TOKEN, Picture, fitted, small_copy
from imagesync_pipelines.sandbox.amazon.switches import Imageless

Json = dict[str, Any]


def image_entries(images: Sequence[ListedImage], host: str, seed: str) -> list[Json]:
    """Every size of every picture, in an order that means nothing but is the same for the same seed."""
    entries = [entry for image in images for entry in _sizes(image, host)]
    Random(f"entries/{seed}").shuffle(entries)  # noqa: S311 - an order, no secret
    return entries


def item(
    found: Sequence[Listing], wanted: Sequence[str], host: str, imageless: Imageless, *, old_variants: bool
) -> Json:
    """The item of an ASIN with the data that is wanted, one group per marketplace that lists it, one at least.

    Without `old_variants` images outside the ten known slots are left out, as the API does since 2022.
    """
    made: Json = {"asin": found[0].asin}
    for name in wanted:
        if name == "images":
            made |= _images(found, host, imageless, old_variants=old_variants)
        elif name == "attributes":
            made[name] = {}
        else:
            data = _DATA.get(name)
            made[name] = [] if data is None else [_of_marketplace(listing) | data(listing) for listing in found]
    return made


def _images(found: Sequence[Listing], host: str, imageless: Imageless, *, old_variants: bool) -> Json:
    """The images key, if there is one."""
    groups = []
    for listing in found:
        shown = [image for image in listing.images if old_variants or image.variant in API_VARIANTS]
        if shown or imageless is Imageless.EMPTY_GROUP:
            entries = image_entries(shown, host, f"{listing.marketplace}/{listing.asin}")
            groups.append(_of_marketplace(listing) | {"images": entries})
    return {"images": groups} if groups or imageless is not Imageless.NO_KEY else {}


def _of_marketplace(listing: Listing) -> Json:
    return {"marketplaceId": MARKETPLACES[listing.marketplace]}


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
    """The variation, from the parent's side or, if the child says so, from the child's; and the larger package."""
    made: list[Json] = []
    if listing.package_asin is not None:
        made.append({"type": "PACKAGE_HIERARCHY", "parentAsins": [listing.package_asin]})
    if listing.child_asins:
        theme = {"theme": "SIZE_NAME/COLOR_NAME", "attributes": ["size", "color"]}
        made.append({"type": "VARIATION", "childAsins": list(listing.child_asins), "variationTheme": theme})
    if listing.parent_asin is not None:
        made.append({"type": "VARIATION", "parentAsins": [listing.parent_asin]})
    return {"relationships": made}


def _identifiers(listing: Listing) -> Json:
    codes = {"UPC": listing.upc, "EAN": listing.ean, "GTIN": listing.gtin}
    return {
        "identifiers": [
            {"identifierType": name, "identifier": code} for name, code in codes.items() if code is not None
        ]
    }


def _product_type(listing: Listing) -> Json:
    return {"productType": "PILLOW"}


_DATA: Mapping[str, Callable[[Listing], Json]] = {
    "summaries": _summary,
    "relationships": _relationships,
    "identifiers": _identifiers,
    "productTypes": _product_type,
}
