"""Amazon's stand-in, ready to use: catalogue, token host and image host.

Sections that docstrings of this folder name are those of docs/contracts/amazon.md.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagesync_pipelines.sandbox.amazon.catalogue import catalogue_app, catalogue_place
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
from imagesync_pipelines.sandbox.amazon.items import AmazonSwitches
from imagesync_pipelines.sandbox.amazon.listings import AmazonListing, Shelf, demo_listings, shelf_of
from imagesync_pipelines.sandbox.amazon.mapping import demo_mapping, write_mapping
from imagesync_pipelines.sandbox.amazon.mutation import ListingMutator
from imagesync_pipelines.sandbox.answers import FetchedFile
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.server import StandIn, bind, running, until_stopped, url_of

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
    mutator: ListingMutator
    switches: AmazonSwitches

    @property
    def client_id(self) -> str:
        """Of the one application that is registered."""
        return self.application.client_id

    @property
    def client_secret(self) -> str:
        """Of the one application that is registered."""
        return self.application.client_secret

    @property
    def refresh_token(self) -> str:
        """The seller's consent."""
        return self.application.refresh_token

    @property
    def listings(self) -> tuple[AmazonListing, ...]:
        """The listings as they are now, in all marketplaces."""
        return self.shelf.all()

    def mutate(self, operator: str, asin: str, marketplace: str = "US", **arguments: Any) -> AmazonListing:
        """Change one listing now; operators and arguments as in mutation.py."""
        return self.mutator.mutate(operator, asin, marketplace, **arguments)

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
        mutator=ListingMutator(shelf),
        switches=AmazonSwitches(),
    )
    served = (
        (sandbox.watched(catalogue_app(shelf, sandbox.switches, sandbox.tokens), catalogue_place), api),
        (sandbox.watched(token_app(APPLICATION, sandbox.tokens), token_place), token),
        (sandbox.watched(image_host_app(shelf), image_place), images),
    )
    with running(*served):
        yield sandbox


def serve(
    announce: Callable[[str], None],
    *,
    port: int = PORT,
    token_port: int = TOKEN_PORT,
    images_port: int = IMAGES_PORT,
    mapping: Path | None = None,
) -> None:
    """Run the stand-in with the demo's listings until SIGINT or SIGTERM; to be called from the main thread.

    `announce` is given the lines for the terminal. The demo's mapping file is written to `mapping`. Raises ServingError
    when a port is taken.
    """
    started = amazon_sandbox(port=port, token_port=token_port, images_port=images_port)
    with until_stopped() as stop, started as sandbox:
        if mapping is not None:
            write_mapping(demo_mapping(), mapping)
            announce(f"# mapping file: {mapping}")
        announce(f"# Amazon of the sandbox: catalogue {sandbox.url}, images {sandbox.images_url}")
        announce(f"# tokens: {sandbox.token_url} for {sandbox.client_id}; secret: {sandbox.client_secret}")
        announce(f"# refresh token: {sandbox.refresh_token}")
        stop.wait()
