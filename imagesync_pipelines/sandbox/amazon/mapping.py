"""Mapping files out of listings, in the shapes that exist."""

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

FLAT_MAIN = "amazon_image_main"
FLAT_IMAGES = (FLAT_MAIN, *(f"amazon_image_variant_{nth}" for nth in range(1, 9)), "amazon_image_swatch")


MADE_AT = "2026-01-15T05:57:42.269412+00:00"
FLAT_COLUMNS = dict(zip(API_VARIANTS, FLAT_IMAGES, strict=True))

Shape = Literal["flat", "list", "sizes", "export"]
Json = dict[str, Any]


def mapping_file(listings: Sequence[AmazonListing], shape: Shape = "flat", *, host: str = REAL_HOST) -> Json:
    """A mapping file as the replaced workflow writes it; one marketplace's name stands in its metadata.

    Shapes: `flat` (columns, as the real files are: parents and products without images are unmatched, and have none),
    `list` (`amazon_images` per product, as the mapping's documents say; parents are unmatched, with their images),
    `sizes` (as `list`, with every size of every picture, unsorted), `export` (the catalogue export that a mapping is
    made from). The real host's addresses stand in it unless another `host` is given, with its scheme.
    """
    return _WRITERS[shape](listings, host)


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
