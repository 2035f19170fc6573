"""Amazon's stand-in, ready to use: catalogue, token host and image host (docs/contracts/amazon.md)."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from imagesync_pipelines.sandbox.amazon.catalogue import AmazonSwitches, catalogue_app, catalogue_place
from imagesync_pipelines.sandbox.amazon.hosts import (
    TOKEN_PATH,
    AccessTokens,
    Application,
    fetch_from,
    image_host_app,
    image_place,
    token_app,
    token_place,
)
from imagesync_pipelines.sandbox.amazon.listings import MAIN, AmazonListing, ListedImage, Shelf, demo_listings
from imagesync_pipelines.sandbox.amazon.mapping import demo_mapping, write_mapping
from imagesync_pipelines.sandbox.amazon.pictures import AmazonPicture, make_id
from imagesync_pipelines.sandbox.answers import FetchedFile
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.mutation import make, operators
from imagesync_pipelines.sandbox.server import StandIn, bind, running, url_of

APPLICATION = Application("amzn1.application-oa2-client.sandbox", "sandbox-only", "Atzr|sandbox-only")
PORT, TOKEN_PORT, IMAGES_PORT = 8807, 8808, 8809


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


@dataclass(frozen=True, kw_only=True)
class AmazonSandbox(StandIn):
    """A running Amazon on loopback; `url` (catalogue) and `images_url` have no path, `token_url` is whole.

    The ledger and the faults know the endpoints `search`, `item`, `token` and `image`; an image's part is its id.
    """

    url: str
    token_url: str
    images_url: str
    application: Application = APPLICATION
    shelf: Shelf
    tokens: AccessTokens
    dice: Random
    switches: AmazonSwitches

    @property
    def listings(self) -> tuple[AmazonListing, ...]:
        """The listings as they are now, in all marketplaces."""
        return self.shelf.all()

    def mutate(self, operator: str, asin: str, marketplace: str = "US", **arguments: Any) -> AmazonListing:
        """Change one listing now and give it as it is afterwards.

        Operators: new_image(variant) puts a new picture into a slot, remove_image(variant), swap(variant, other),
        share_image(variant, source) shows the MAIN of another listing, remove_images(), delete() takes the listing off
        sale, hide_image(variant) takes the picture off the image host while the listing still names it.
        Raises MutationError, ListingError.
        """
        with self.shelf.lock:
            if operator not in _OPERATORS:
                return make(_OPERATORS, operator)
            change = _Change(self.shelf, self.dice, self.shelf.one(asin, marketplace))
            return make(_OPERATORS, operator, change, **arguments)

    def fetch(self, url: str) -> FetchedFile:
        """Get an address of Amazon's from this image host; raises OSError when no whole answer came."""
        return fetch_from(self.images_url, url)


@contextmanager
def amazon_sandbox(
    listings: Sequence[AmazonListing] | None = None,
    *,
    clock: SandboxClock | None = None,
    port: int = 0,
    token_port: int = 0,
    images_port: int = 0,
) -> Iterator[AmazonSandbox]:
    """Run Amazon on loopback, on free ports unless they are given, with these listings or the demo's."""
    clock = clock if clock is not None else SandboxClock()
    shelf = Shelf()
    shelf.put(*(demo_listings() if listings is None else listings))
    api, token, images = bind(port), bind(token_port), bind(images_port)
    sandbox = AmazonSandbox(
        clock=clock,
        url=url_of(api),
        token_url=url_of(token) + TOKEN_PATH,
        images_url=url_of(images),
        shelf=shelf,
        tokens=AccessTokens(clock),
        dice=Random("amazon/mutations"),
        switches=AmazonSwitches(),
    )
    served = (
        (sandbox.watched(catalogue_app(shelf, sandbox.switches, sandbox.tokens), catalogue_place), api),
        (sandbox.watched(token_app(APPLICATION, sandbox.tokens), token_place), token),
        (sandbox.watched(image_host_app(shelf), image_place), images),
    )
    with running(*served):
        yield sandbox


def lines_of(sandbox: AmazonSandbox, *, mapping: Path | None = None) -> Iterator[str]:
    """What points to a sandbox, as lines for the terminal; the demo's mapping file is written to `mapping`."""
    if mapping is not None:
        write_mapping(demo_mapping(), mapping)
        yield f"# mapping file: {mapping}"
    known = sandbox.application
    yield f"# Amazon of the sandbox: catalogue {sandbox.url}, images {sandbox.images_url}"
    yield f"# tokens: {sandbox.token_url} for {known.client_id}; secret: {known.client_secret}"
    yield f"# refresh token: {known.refresh_token}"
