"""Mapping files out of listings, in the shapes that exist, and what is wrong in real ones."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from imagesync_pipelines.sandbox.amazon.catalogue import entry_of, image_entries
from imagesync_pipelines.sandbox.amazon.listings import (
    API_VARIANTS,
    DEMO_MODEL,
    MARKETPLACES,
    AmazonListing,
    demo_listings,
)
from imagesync_pipelines.sandbox.amazon.pictures import REAL_HOST
from imagesync_pipelines.sandbox.answers import SandboxError

Entry = dict[str, Any]
Oddity = Callable[[Entry], object]
FLAT_MAIN = "amazon_image_main"
FLAT_IMAGES = (FLAT_MAIN, *(f"amazon_image_variant_{nth}" for nth in range(1, 9)), "amazon_image_swatch")
LEGACY_URL = "https://images-na.ssl-images-amazon.com/images/P/{asin}.01.LZZZZZZZ.jpg"


class OddityError(SandboxError):
    """No oddity has this name, or the entry's shape cannot have it; the message says which."""


def make_odd(entry: Entry, name: str) -> None:
    """Spoil one product's entry; raises OddityError."""
    if name not in ODDITIES:
        raise OddityError(f"no oddity is called {name}; there are {', '.join(sorted(ODDITIES))}")
    try:
        ODDITIES[name](entry)
    except OddityError as error:
        raise OddityError(f"{name}: {error}") from error


def _no_images(entry: Entry) -> None:
    """An empty list, or nothing but nulls."""
    entry.update({"amazon_images": []} if "amazon_images" in entry else dict.fromkeys(FLAT_IMAGES))


def _no_main(entry: Entry) -> None:
    if "amazon_images" in entry:
        entry["amazon_images"] = [image for image in entry["amazon_images"] if image["variant"] != "MAIN"]
    else:
        entry[FLAT_MAIN] = None


def _two_mains(entry: Entry) -> None:
    """The second picture says that it is MAIN too."""
    others = [image for image in _list_of(entry) if image["variant"] != "MAIN"]
    if not others:
        raise OddityError("the product has one picture only")
    others[0]["variant"] = "MAIN"


def _same_twice(entry: Entry) -> None:
    """MAIN's picture stands in another slot too, with a size token, at another host and percent-encoded."""
    if "amazon_images" in entry:
        images = entry["amazon_images"]
        images.append(images[0] | {"variant": "PT08", "link": _alias(images[0]["link"])})
    else:
        entry["amazon_image_variant_8"] = _alias(entry[FLAT_MAIN])


def _reduced_url(entry: Entry) -> None:
    """An address of a WebP of poor quality under the name of a JPEG, with a query behind it."""
    link = entry["amazon_images"][-1]["link"] if "amazon_images" in entry else entry[FLAT_MAIN]
    head, _, extension = link.rpartition(".")
    _set_last_link(entry, f"{head}._SX300_QL65_FMwebp_.{extension}?ref=x")


def _with(**values: object) -> Oddity:
    """Other values in the entry."""
    return lambda entry: entry.update(values)


def _without(*names: str) -> Oddity:
    """The entry without some keys."""
    return lambda entry: [entry.pop(name, None) for name in names]


def _last_image(**values: object) -> Oddity:
    """Other values in the last image of the list."""
    return lambda entry: _list_of(entry)[-1].update(values)


def _last_image_without(name: str) -> Oddity:
    return lambda entry: _list_of(entry)[-1].pop(name)


def _last_link(link: object) -> Oddity:
    return lambda entry: _set_last_link(entry, link)


def _list_of(entry: Entry) -> list[Entry]:
    """The list of images; only its shape can have this oddity."""
    if not entry.get("amazon_images"):
        raise OddityError("the product has no list of images; make the mapping with shape='list'")
    images: list[Entry] = entry["amazon_images"]
    return images


def _set_last_link(entry: Entry, link: object) -> None:
    """Another link on the product's last image; the flat shape may need a column for it."""
    if "amazon_images" in entry:
        _list_of(entry)[-1]["link"] = link
    else:
        filled = [name for name in FLAT_IMAGES if entry.get(name)]
        entry[filled[-1] if filled else FLAT_MAIN] = link


def _alias(link: str) -> str:
    """The same picture by another address."""
    head, _, extension = link.replace("m.media-amazon.com", "images-na.ssl-images-amazon.com").rpartition(".")
    return f"{head.replace('+', '%2B')}._AC_SL500_.{extension}"


ODDITIES: Mapping[str, Oddity] = {
    "no_suggested_sku": _without("suggested_sku"),
    "null_suggested_sku": _with(suggested_sku=None),
    "no_marketplace": _without("marketplace"),
    "no_asin": lambda entry: (_with(amazon_asin=None)(entry), _without("suggested_sku")(entry)),
    "no_images": _no_images,
    "missing_images": _without("amazon_images", *FLAT_IMAGES),  # neither the list nor any column
    "null_images": lambda entry: (_list_of(entry), _with(amazon_images=None)(entry)),
    "no_main": _no_main,
    "two_mains": _two_mains,
    "same_twice": _same_twice,
    "repeated_entry": lambda entry: _list_of(entry).append(dict(_list_of(entry)[0])),  # one image, word for word
    "malformed_url": _last_link("https:/m.media-amazon.com images I"),
    "foreign_url": _last_link("https://pictures.example.com/uploads/cushion.jpg"),
    "private_url": _last_link("http://169.254.169.254/latest/meta-data"),
    "legacy_url": lambda entry: _set_last_link(entry, LEGACY_URL.format(asin=entry["amazon_asin"])),
    "reduced_url": _reduced_url,
    "null_link": _last_link(None),
    "no_link": _last_image_without("link"),
    "number_as_link": _last_link(404),
    "unknown_variant": _last_image(variant="TOPP"),
    "late_variant": _last_image(variant="PT12"),  # a slot that the API does not give any more
    "null_variant": _last_image(variant=None),
    "no_variant": _last_image_without("variant"),
    "swatch_by_its_old_name": _last_image(variant="SWATCH"),
}


MADE_AT = "2026-01-15T05:57:42.269412+00:00"
FLAT_COLUMNS = dict(zip(API_VARIANTS, FLAT_IMAGES, strict=True))

Shape = Literal["flat", "list", "sizes", "export"]
Json = dict[str, Any]


def mapping_file(
    listings: Sequence[AmazonListing], shape: Shape = "flat", *, host: str = REAL_HOST, **oddities: int
) -> Json:
    """A mapping file as the replaced workflow writes it; one marketplace's name stands in its metadata.

    Shapes: `flat` (columns, as the real files are: parents and products without images are unmatched, and have none),
    `list` (`amazon_images` per product, as the mapping's documents say; parents are unmatched, with their images),
    `sizes` (as `list`, with every size of every picture, unsorted), `export` (the catalogue export that a mapping is
    made from). An oddity names the product that it befalls by the number of its entry: `two_mains=0`; ODDITIES
    has them. The real host's addresses stand in it unless another `host` is given, with its scheme.
    """
    made = _WRITERS[shape](listings, host)
    for name, nth in oddities.items():
        make_odd(made["variants" if shape == "export" else "matched"][nth], name)
    return made


def demo_mapping() -> Json:
    """The demo's mapping file: the shape and counts of a real one, 16 products, 108 references, 12 pictures."""
    return mapping_file(demo_listings())


def write_mapping(mapping: Mapping[str, Any], path: Path) -> None:
    """Write a mapping as the real files are written."""
    path.write_text(json.dumps(mapping, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _flat_file(listings: Sequence[AmazonListing], host: str) -> Json:
    matched = [listing for listing in listings if listing.images and not listing.is_parent]
    unmatched = [listing for listing in listings if listing not in matched]
    return {
        "metadata": {
            "source_file": f"{DEMO_MODEL.lower()}_amazon_v2.json",
            "generated_at": MADE_AT,
            "marketplace": _code(listings),
            "amazon_count": len(listings),
            "matched_count": len(matched),
            "unmatched_count": len(unmatched),
        },
        "matched": [
            {
                "suggested_sku": listing.suggested_sku,
                "marketplace": listing.marketplace,
                **_product(listing),
                "amazon_variation_theme": "COLOR_NAME/SIZE_NAME",
                "amazon_listing_status": None,
                **_flat_images(listing, host),
                **_canonical(listing),
                "canonical_plytix_label": listing.title,
                "canonical_plytix_gtin": listing.upc,
                "match_method": "gtin",
                "gtin_match": True,
            }
            for listing in matched
        ],
        "unmatched_amazon": [
            {
                "suggested_sku": listing.suggested_sku,
                "marketplace": listing.marketplace,
                **{name: value for name, value in _product(listing).items() if name not in _NOT_IF_UNMATCHED},
                "reason": "No matching variant found",
            }
            for listing in unmatched
        ],
    }


def _list_file(listings: Sequence[AmazonListing], host: str, *, every_size: bool = False) -> Json:
    children = [listing for listing in listings if not listing.is_parent]
    parents = [listing for listing in listings if listing.is_parent]
    return {
        "metadata": {
            "source_export": f"{DEMO_MODEL.lower()}_amazon_v2.json",
            "style_filter": DEMO_MODEL,
            "mapping_date": MADE_AT,
            "marketplace": _code(listings),
        },
        "matched": [
            {
                **_product(listing),
                "amazon_variation_theme": "COLOR_NAME/SIZE_NAME",
                "amazon_listing_status": "Active",
                "amazon_images": _images(listing, host, every_size),
                **_canonical(listing),
                "match_type": "gtin",
                "suggested_sku": listing.suggested_sku,
                "marketplace": listing.marketplace,
            }
            for listing in children
        ],
        "unmatched_amazon": [
            {
                "amazon_asin": listing.asin,
                "amazon_title": listing.title,
                "item_classification": listing.classification.value,
                "model_number": listing.model_number,
                "amazon_images": _images(listing, host, every_size),
                "suggested_sku": listing.suggested_sku,
                "reason": "A parent has no variant of its own",
            }
            for listing in parents
        ],
        "unmatched_plytix": [],
        "statistics": {"matched": len(children), "unmatched_amazon": len(parents), "unmatched_plytix": 0},
    }


def _export_file(listings: Sequence[AmazonListing], host: str) -> Json:
    return {
        "metadata": {
            "style": DEMO_MODEL,
            "marketplace_id": MARKETPLACES[_code(listings)],
            "export_date": MADE_AT,
            "item_count": len(listings),
            "parent_asins_added": sum(listing.is_parent for listing in listings),
        },
        "variants": [
            {
                **_product(listing),
                "item_classification": listing.classification.value,
                "model_number": listing.model_number,
                "part_number": listing.sku,
                **_flat_images(listing, host),
                "_raw_images": {
                    str(image.variant): {"link": image.picture.url(host), "height": image.picture.height}
                    for image in listing.images
                },
                "_raw_summary": {"itemClassification": listing.classification.value, "itemName": listing.title},
            }
            for listing in listings
        ],
    }


_NOT_IF_UNMATCHED = ("amazon_parent_asin", "amazon_ean")


def _product(listing: AmazonListing) -> Json:
    return {
        "amazon_asin": listing.asin,
        "amazon_parent_asin": listing.parent_asin,
        "amazon_sku": listing.sku,
        "amazon_upc": listing.upc,
        "amazon_ean": listing.ean,
        "amazon_size": listing.size,
        "amazon_color": listing.colour,
        "amazon_title": listing.title,
    }


def _canonical(listing: AmazonListing) -> Json:
    """The product of the ERP that the listing belongs to; its id in Plytix is made up from the ASIN."""
    return {"canonical_plytix_sku": listing.sku, "canonical_plytix_id": listing.asin.encode().hex()[-24:].zfill(24)}


def _flat_images(listing: AmazonListing, host: str) -> Json:
    """Ten columns, most of them null; what has another slot has no column."""
    links = {image.variant: image.picture.url(host) for image in listing.images}
    return {column: links.get(variant) for variant, column in FLAT_COLUMNS.items()}


def _images(listing: AmazonListing, host: str, every_size: bool) -> list[Json]:
    if every_size:
        return image_entries(listing.images, host, f"mapping/{listing.asin}")
    return [entry_of(image.variant, image.picture.url(host), image.picture) for image in listing.images]


def _code(listings: Sequence[AmazonListing]) -> str:
    return listings[0].marketplace if listings else "US"


_WRITERS: Mapping[Shape, Callable[[Sequence[AmazonListing], str], Json]] = {
    "flat": _flat_file,
    "list": _list_file,
    "sizes": partial(_list_file, every_size=True),
    "export": _export_file,
}
