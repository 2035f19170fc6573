"""One catalogue item as the API gives it (docs/contracts/amazon.md), and the switches of the catalogue."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from imagesync_pipelines.sandbox.amazon.listings import API_VARIANTS, MARKETPLACES, AmazonListing, ListedImage
from imagesync_pipelines.sandbox.amazon.pictures import (
    REAL_HOST,
    TINY_SIDE,
    TINY_TOKEN,
    AmazonPicture,
    fitted,
    small_copy,
)

# How an item without images shows it; all were seen: no `images` at all, an empty list, a group without images.
Imageless = Literal["no key", "no group", "empty group"]


@dataclass
class AmazonSwitches:
    """May be changed while the stand-in runs."""

    rate: float = 2.0  # calls a second of the sandbox's clock, for each of the two operations
    burst: int = 2  # calls that an unused bucket lets through at once
    link_host: str = REAL_HOST  # scheme and host of the links to images
    imageless: Imageless = "empty group"
    old_variants: bool = False  # slots beyond the ten known ones, and null, are answered too, as before 2022
    parents_in_keyword_search: bool = False  # parents are found by their words; by an identifier they always are
    tiny_copies: bool = True  # a large picture has an entry of 75 px too; else two, as in some recorded answers
    escaped_slashes: bool = False  # links are written https:\/\/ in the JSON


Json = dict[str, Any]


def image_entries(images: Sequence[ListedImage], host: str, seed: str, *, tiny: bool = True) -> list[Json]:
    """Every size of every picture (75 px only with `tiny`), in an order that is the same for the same seed."""
    entries = [entry for image in images for entry in _sizes(image, host)[: 3 if tiny else 2]]
    Random(f"entries/{seed}").shuffle(entries)
    return entries


def item(found: Sequence[AmazonListing], wanted: Sequence[str], switches: AmazonSwitches) -> Json:
    """The item of an ASIN with the data that is wanted, one group per marketplace that lists it, one at least."""
    made: Json = {"asin": found[0].asin}
    for name in wanted:
        if name == "images":
            made |= _images(found, switches)
        elif name == "attributes":
            made[name] = {}
        else:
            data = _DATA.get(name)
            made[name] = [] if data is None else [_of_marketplace(listing) | data(listing) for listing in found]
    return made


def _images(found: Sequence[AmazonListing], switches: AmazonSwitches) -> Json:
    """The images key, if there is one."""
    groups = []
    for listing in found:
        shown = [image for image in listing.images if switches.old_variants or image.variant in API_VARIANTS]
        if shown or switches.imageless == "empty group":
            entries = image_entries(
                shown, switches.link_host, f"{listing.marketplace}/{listing.asin}", tiny=switches.tiny_copies
            )
            groups.append(_of_marketplace(listing) | {"images": entries})
    return {"images": groups} if groups or switches.imageless != "no key" else {}


def _of_marketplace(listing: AmazonListing) -> Json:
    return {"marketplaceId": MARKETPLACES[listing.marketplace]}


def _sizes(image: ListedImage, host: str) -> list[Json]:
    """The original, and for a large one its copy of 500 px and the copy's copy of 75 px."""
    copy = small_copy(image.picture)
    made = [entry_of(image.variant, image.picture.url(host), image.picture)]
    if copy is not None:
        made.append(entry_of(image.variant, copy.url(host), copy))
        width, height = fitted(copy.width, copy.height, TINY_SIDE, TINY_SIDE)
        made.append(made[-1] | {"link": copy.url(host, TINY_TOKEN), "height": height, "width": width})
    return made


def entry_of(variant: str | None, link: str, picture: AmazonPicture) -> Json:
    """One entry of the list of images."""
    return {"variant": variant, "link": link, "height": picture.height, "width": picture.width}


def _summary(listing: AmazonListing) -> Json:
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


def _relationships(listing: AmazonListing) -> Json:
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


def _identifiers(listing: AmazonListing) -> Json:
    codes = {"UPC": listing.upc, "EAN": listing.ean, "GTIN": listing.gtin}
    return {
        "identifiers": [
            {"identifierType": name, "identifier": code} for name, code in codes.items() if code is not None
        ]
    }


_DATA: Mapping[str, Callable[[AmazonListing], Json]] = {
    "summaries": _summary,
    "relationships": _relationships,
    "identifiers": _identifiers,
    "productTypes": lambda listing: {"productType": "PILLOW"},
}
