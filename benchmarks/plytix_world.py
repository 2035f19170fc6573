"""Plytix and Amazon for the benchmarks: both stand-ins on one clock that is moved instead of slept through."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from imagesync_pipelines.sandbox.amazon.listings import AmazonListing, demo_listings, make_listings
from imagesync_pipelines.sandbox.amazon.mapping import Json, mapping_file
from imagesync_pipelines.sandbox.amazon.server import amazon_sandbox
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.plytix.model import NewProduct
from imagesync_pipelines.sandbox.plytix.server import LIMITS, PlytixSandbox, plytix_sandbox

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
# Small pictures: calls are counted here, not bytes.
LONGEST_SIDE = 300
TO_GATHER = 0.02
# Calls that changed something, by endpoint and status; a 409 did not.
_EFFECTS = (("asset create", 201), ("link", 201), ("product patch", 200))


@dataclass(frozen=True)
class World:
    """A Plytix whose products are those of a mapping file, and what the fewest calls are that fill it.

    `references` are slots with a picture, `pictures` the different ones among them.
    """

    plytix: PlytixSandbox
    mapping: Json
    products: int
    references: int
    pictures: int
    _sleeping: threading.Lock

    def sleep(self, seconds: float) -> None:
        """Let time pass, almost without waiting; threads that sleep at once sleep through the same time."""
        until = self.now() + seconds
        # The others that are about to sleep look at the clock now, not after it was moved.
        time.sleep(TO_GATHER)
        with self._sleeping:
            self.plytix.clock.move(max(0.0, until - self.now()))

    def now(self) -> float:
        """The sandbox's time of day, in seconds."""
        return self.plytix.clock.now().timestamp()


@contextmanager
def world(products: int | None = None, images: int = 7) -> Iterator[World]:
    """The demo's listings, or so many products with so many images each."""
    listings = demo_listings() if products is None else make_listings(products, images=images, longest=LONGEST_SIDE)
    shown = [listing for listing in listings if listing.images]
    pictures = {image.picture.id for listing in shown for image in listing.images}
    clock = SandboxClock(NOON)
    with (
        amazon_sandbox(listings, clock=clock) as amazon,
        plytix_sandbox(products=_products(listings), limits=LIMITS, clock=clock, fetch=amazon.fetch) as plytix,
    ):
        yield World(
            plytix=plytix,
            mapping=mapping_file(listings, "flat" if products is None else "list"),
            products=len(shown),
            references=sum(len(listing.images) for listing in shown),
            pictures=len(pictures),
            _sleeping=threading.Lock(),
        )


@contextmanager
def counted(made: World, name: str, runs: list[dict[str, Any]]) -> Iterator[None]:
    """Add what Plytix saw of the run inside the `with` block to the list: calls, 429s, effects, minutes."""
    made.plytix.ledger.clear()
    made.plytix.token_ledger.clear()
    started = made.now()
    yield
    ledger = made.plytix.ledger
    runs.append(
        {
            "name": name,
            "calls": ledger.count(),
            "refused": ledger.count(status=429),
            "token_calls": made.plytix.token_ledger.count(),
            "effects": sum(ledger.count(*write) for write in _EFFECTS),
            "endpoints": ledger.as_json(),
            "minutes": (made.now() - started) / 60,
        }
    )


def state_of(plytix: PlytixSandbox) -> dict[str, Any]:
    """How many assets there are, images in galleries, and products whose thumbnail is the first of their gallery."""
    galleries = {product.sku: plytix.gallery(product.sku) for product in plytix.products()}
    thumbnails = sum(bool(ids) and plytix.thumbnail(sku) == ids[0] for sku, ids in galleries.items())
    return {
        "assets": len(plytix.assets()),
        "shown": sum(len(ids) for ids in galleries.values()),
        "thumbnails": thumbnails,
    }


def _products(listings: Sequence[AmazonListing]) -> list[NewProduct]:
    return [NewProduct(listing.suggested_sku, label=listing.title) for listing in listings]
