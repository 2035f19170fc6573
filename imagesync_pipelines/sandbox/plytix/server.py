"""Plytix's stand-in, ready to use: the PIM and the auth host, with faults, a clock and a ledger around them.

What belongs here: putting the parts together. What does not: the parts, and running it for good (serve.py).
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import FaultPlan
from imagesync_pipelines.sandbox.ledger import Ledger
from imagesync_pipelines.sandbox.plytix.app import pim_app, pim_place
from imagesync_pipelines.sandbox.plytix.auth_app import auth_app, auth_place
from imagesync_pipelines.sandbox.plytix.control import steered
from imagesync_pipelines.sandbox.plytix.fetching import Fetch, fetch_over_http
from imagesync_pipelines.sandbox.plytix.limits import Limits, Windows, as_limits
from imagesync_pipelines.sandbox.plytix.losing import LostAnswers, losing
from imagesync_pipelines.sandbox.plytix.model import (
    Account,
    Asset,
    AttributeType,
    NewAttribute,
    NewProduct,
    Product,
    copy_of,
    new_account,
)
from imagesync_pipelines.sandbox.plytix.moments import Moments
from imagesync_pipelines.sandbox.plytix.mutation import mutate
from imagesync_pipelines.sandbox.plytix.pim import Pim
from imagesync_pipelines.sandbox.plytix.switches import Switches
from imagesync_pipelines.sandbox.plytix.tokens import Tokens
from imagesync_pipelines.sandbox.serving import LOOPBACK, bind, running
from imagesync_pipelines.sandbox.steering import Steered
from imagesync_pipelines.sandbox.wire import observed

API_KEY, API_PASSWORD = "sandbox-key", "sandbox-only"
GALLERY = "amazon_images"
LIMITS: Limits = ((20, 10), (5000, 3600))
ATTRIBUTES = (
    NewAttribute("Amazon Images"),
    NewAttribute("Lifestyle Images"),
    NewAttribute("Swatch Image", AttributeType.MEDIA),
    NewAttribute("Amazon Title", AttributeType.TEXT),
)


@dataclass(frozen=True)
class PlytixSandbox:
    """A running Plytix on loopback; the URLs have no path and no slash at their end.

    `ledger` has the calls to the PIM, by the names of the doors in app.py; `token_ledger` those to the auth host, which
    are `token`. Faults of both are in `faults`; a call that meets one before it reaches Plytix spends no limit. `lost`
    loses answers after their work was done; the ledger has what was done. `moments` does something between two calls.
    """

    url: str
    auth_url: str
    api_key: str
    api_password: str
    account: Account
    tokens: Tokens
    windows: Windows
    faults: FaultPlan
    lost: LostAnswers
    moments: Moments
    ledger: Ledger
    token_ledger: Ledger
    clock: SandboxClock
    switches: Switches

    def assets(self) -> tuple[Asset, ...]:
        """The stored assets as they are now, oldest first."""
        with self.account.lock:
            return tuple(replace(asset) for asset in self.account.assets.values() if asset.deleted is None)

    def products(self) -> tuple[Product, ...]:
        """The products as they are now, oldest first."""
        with self.account.lock:
            return tuple(copy_of(product) for product in self.account.products.values())

    def product(self, sku: str) -> Product:
        """The product with this SKU as it is now; raises KeyError."""
        with self.account.lock:
            return copy_of(self.account.products[self.account.numbered[sku]])

    def gallery(self, sku: str, label: str = GALLERY) -> tuple[str, ...]:
        """The asset ids that a product shows in an attribute, in order; raises KeyError for an unknown SKU."""
        with self.account.lock:
            return tuple(self.account.media_of(self.product(sku), label))

    def filenames(self, sku: str, label: str = GALLERY) -> tuple[str, ...]:
        """The file names that a product shows in an attribute, in order."""
        with self.account.lock:
            return tuple(self.account.assets[asset_id].filename for asset_id in self.gallery(sku, label))

    def thumbnail(self, sku: str) -> str | None:
        """The asset id of the thumbnail that a product shows."""
        with self.account.lock:
            return self.account.thumbnail_of(self.product(sku))

    def mutate(self, operator: str, **arguments: Any) -> str:
        """Change the account now, as a person in the UI does; operators and arguments as in mutation.py."""
        return mutate(self.account, operator, **arguments)

    def spend(self, calls: int) -> None:
        """Another client of the account makes so many calls."""
        self.windows.hit(calls)


@contextmanager
def plytix_sandbox(
    *,
    products: Sequence[NewProduct] = (),
    attributes: Sequence[NewAttribute] = ATTRIBUTES,
    limits: Sequence[tuple[int, int]] = LIMITS,
    clock: SandboxClock | None = None,
    fetch: Fetch = fetch_over_http,
    port: int = 0,
    auth_port: int = 0,
    **switches: Any,
) -> Iterator[PlytixSandbox]:
    """Run Plytix on free ports of loopback; a restart begins anew from the same arguments.

    `limits` are (calls, seconds) of the account's windows. `fetch` gets the files of uploads by URL; without it they
    are asked for over HTTP, whatever their address. `switches` are the fields of Switches.
    """
    clock = clock if clock is not None else SandboxClock()
    settings, windows_of = Switches(**switches), as_limits(limits)
    listener, auth_listener = bind(port), bind(auth_port)
    account = new_account(clock, settings, attributes, products)
    sandbox = PlytixSandbox(
        url=_url(listener),
        auth_url=_url(auth_listener),
        api_key=API_KEY,
        api_password=API_PASSWORD,
        account=account,
        tokens=Tokens(clock, windows_of, account.new_id("account")),
        windows=Windows(windows_of, clock, settings),
        faults=FaultPlan(),
        lost=LostAnswers(),
        moments=Moments(),
        ledger=Ledger(),
        token_ledger=Ledger(),
        clock=clock,
        switches=settings,
    )
    app = pim_app(Pim(account, settings, fetch, sandbox.url), sandbox.tokens, sandbox.windows, sandbox.moments)
    pim = losing(observed(app, pim_place, sandbox.faults, sandbox.ledger, clock), pim_place, sandbox.lost)
    auth = auth_app(API_KEY, API_PASSWORD, sandbox.tokens, clock, settings)
    watched_auth = observed(auth, auth_place, sandbox.faults, sandbox.token_ledger, clock)
    steerable = steered(pim, account, sandbox.windows, Steered(sandbox.faults, sandbox.ledger, clock))
    with running((steerable, listener), (watched_auth, auth_listener)):
        yield sandbox


def _url(listener: socket.socket) -> str:
    return f"http://{LOOPBACK}:{listener.getsockname()[1]}"
