"""Listings and products for the tests of this connector, and how they are planned."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from imagesync_pipelines.connectors.plytix.gallery import Known
from imagesync_pipelines.connectors.plytix.model import Listing, ListingImage, PlytixProduct
from imagesync_pipelines.connectors.plytix.planning import GalleryPlan, Policy, plan_galleries
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.sync.model import DeletionLimits

WINDOWS = (Window(16, 10), Window(4000, 3600))
FREE = DeletionLimits(share=1.0, count=10_000, bare=10_000, floor=10_000)
LINK = Policy("link")
PATCH = Policy("patch")
PATCH_REMOVING = Policy("patch", remove_missing=True)


def listing(sku: str, *keys: str, main: bool = True, is_parent: bool = False) -> Listing:
    """A listing with these pictures in this order; the first one is MAIN unless said otherwise."""
    variants = ["MAIN" if place == 0 and main else f"PT{place:02d}" for place in range(len(keys))]
    images = tuple(
        ListingImage(variant, url_of(key), key, 1500, 1500, place)
        for place, (variant, key) in enumerate(zip(variants, keys, strict=True), 1)
    )
    return Listing(sku, sku[-10:], "US", is_parent, images, len(images))


def url_of(key: str) -> str:
    return f"https://m.media-amazon.com/images/I/{key}"


def product(sku: str, *gallery: str, thumbnail: str | None = None) -> PlytixProduct:
    return PlytixProduct(f"id-{sku}", sku, thumbnail, gallery)


def known(links: Sequence[tuple[str, str]] = (), **assets: str) -> Known:
    """A ledger with these assets (asset=key) and these links of ours (SKU, key)."""
    ids = {key: asset_id for asset_id, key in assets.items()}
    return Known(dict(assets), frozenset(), {(sku, key): ids[key] for sku, key in links})


def linked(sku: str, ledger: Known, **hours: int) -> Known:
    """The same ledger, with links of ours on a product: asset=the hour at which it was linked."""
    made = {(sku, ledger.keys[asset]): asset for asset in hours}
    moments = {(sku, ledger.keys[asset]): datetime(2026, 11, 1, hour, tzinfo=UTC) for asset, hour in hours.items()}
    return replace(ledger, links=made, linked_at=moments)


def planned(
    listings: Sequence[Listing],
    products: Sequence[PlytixProduct],
    ledger: Known,
    policy: Policy,
    *,
    deletion_limits: DeletionLimits = FREE,
    incomplete: Sequence[str] = (),
) -> GalleryPlan:
    return plan_galleries(
        listings, {one.sku: one for one in products}, ledger, policy, deletion_limits, WINDOWS, incomplete=incomplete
    )


def changes(plan: GalleryPlan) -> dict[str, str]:
    """The change of every row of a plan that is not kept."""
    rows: Mapping[str, str] = dict(zip(plan.plan["key"], plan.plan["change"], strict=True))
    return {key: change for key, change in rows.items() if change != "keep"}


def counts(plan: GalleryPlan) -> dict[str, int]:
    """Rows of a plan per change, all five of them."""
    return plan.counts
