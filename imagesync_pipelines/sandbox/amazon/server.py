"""Amazon's stand-in, ready to use: catalogue, token host and image host with faults, a clock and one ledger.

What belongs here: putting the parts together. What does not: the parts, and running it for good (serve.py).
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from imagesync_pipelines.sandbox.amazon.catalogue import catalogue_app, catalogue_place
from imagesync_pipelines.sandbox.amazon.fetching import Answer, fetch_from
from imagesync_pipelines.sandbox.amazon.image_host import image_host_app, image_place
from imagesync_pipelines.sandbox.amazon.listings import Listing, Shelf, shelf_of
from imagesync_pipelines.sandbox.amazon.making import demo_listings
from imagesync_pipelines.sandbox.amazon.mutation import Mutator
from imagesync_pipelines.sandbox.amazon.switches import Switches
from imagesync_pipelines.sandbox.amazon.tokens import PATH as TOKEN_PATH
from imagesync_pipelines.sandbox.amazon.tokens import AccessTokens, Application, token_app, token_place
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import FaultPlan
from imagesync_pipelines.sandbox.ledger import Ledger
from imagesync_pipelines.sandbox.serving import LOOPBACK, bind, running
from imagesync_pipelines.sandbox.wire import observed

APPLICATION = Application("amzn1.application-oa2-client.sandbox", "sandbox-only", "Atzr|sandbox-only")


@dataclass(frozen=True)
class AmazonSandbox:
    """A running Amazon on loopback; `url` (catalogue) and `images_url` have no path, `token_url` is whole.

    The ledger and the faults know the endpoints `search`, `item`, `token` and `image`; an image's part is its id.
    """

    url: str
    token_url: str
    images_url: str
    application: Application
    shelf: Shelf
    tokens: AccessTokens
    mutator: Mutator
    switches: Switches
    faults: FaultPlan
    ledger: Ledger
    clock: SandboxClock

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
    def listings(self) -> tuple[Listing, ...]:
        """The listings as they are now, in all marketplaces."""
        return self.shelf.all()

    def mutate(self, operator: str, asin: str, marketplace: str = "US", **arguments: Any) -> Listing:
        """Change one listing now; operators and arguments as in mutation.py."""
        return self.mutator.mutate(operator, asin, marketplace, **arguments)

    def fetch(self, url: str) -> Answer:
        """Get an address of Amazon's from this image host; raises OSError when no whole answer came (fetching.py)."""
        return fetch_from(self.images_url, url)


@contextmanager
def amazon_sandbox(
    listings: Sequence[Listing] | None = None,
    *,
    clock: SandboxClock | None = None,
    port: int = 0,
    token_port: int = 0,
    images_port: int = 0,
) -> Iterator[AmazonSandbox]:
    """Run Amazon on loopback, on free ports unless they are given, with these listings or the demo's."""
    clock = clock if clock is not None else SandboxClock()
    shelf = shelf_of(demo_listings() if listings is None else listings)
    switches, tokens, faults, ledger = Switches(), AccessTokens(clock), FaultPlan(), Ledger()
    api, token, images = bind(port), bind(token_port), bind(images_port)
    sandbox = AmazonSandbox(
        url=_url(api),
        token_url=_url(token) + TOKEN_PATH,
        images_url=_url(images),
        application=APPLICATION,
        shelf=shelf,
        tokens=tokens,
        mutator=Mutator(shelf),
        switches=switches,
        faults=faults,
        ledger=ledger,
        clock=clock,
    )
    served = (
        (observed(catalogue_app(shelf, switches, tokens), catalogue_place, faults, ledger, clock), api),
        (observed(token_app(APPLICATION, tokens), token_place, faults, ledger, clock), token),
        (observed(image_host_app(shelf), image_place, faults, ledger, clock), images),
    )
    with running(*served):
        yield sandbox


def _url(listener: socket.socket) -> str:
    return f"http://{LOOPBACK}:{listener.getsockname()[1]}"
