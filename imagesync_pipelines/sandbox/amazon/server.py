"""Amazon's stand-in, ready to use: catalogue, token host and image host.

Sections that docstrings of this folder name are those of docs/contracts/amazon.md.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from imagesync_pipelines.sandbox.amazon.listings import AmazonListing, Shelf, demo_listings, shelf_of
from imagesync_pipelines.sandbox.amazon.mapping import demo_mapping, write_mapping
from imagesync_pipelines.sandbox.amazon.mutation import mutate
from imagesync_pipelines.sandbox.answers import FetchedFile
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.server import StandIn, bind, running, url_of

APPLICATION = Application("amzn1.application-oa2-client.sandbox", "sandbox-only", "Atzr|sandbox-only")
PORT, TOKEN_PORT, IMAGES_PORT = 8807, 8808, 8809


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
        """Change one listing now; operators and arguments as in mutation.py."""
        return mutate(self.shelf, self.dice, operator, asin, marketplace, **arguments)

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
    shelf = shelf_of(demo_listings() if listings is None else listings)
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
