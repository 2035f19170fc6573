"""Plytix's stand-in, ready to use: the PIM and the auth host (docs/contracts/plytix.md)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from starlette.types import ASGIApp

from imagesync_pipelines.sandbox.answers import Values
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.control import ROOT, steered
from imagesync_pipelines.sandbox.ledger import CallLedger
from imagesync_pipelines.sandbox.plytix.app import (
    Limits,
    PimTokens,
    Windows,
    as_limits,
    auth_app,
    auth_place,
    pim_app,
    pim_place,
)
from imagesync_pipelines.sandbox.plytix.model import (
    AttributeType,
    NewAttribute,
    NewProduct,
    PimAccount,
    PimAsset,
    PimProduct,
    PlytixSwitches,
    new_account,
)
from imagesync_pipelines.sandbox.plytix.mutation import mutate
from imagesync_pipelines.sandbox.plytix.pim import Fetch, Pim, fetch_over_http
from imagesync_pipelines.sandbox.server import StandIn, bind, running, url_of

API_KEY, API_PASSWORD = "sandbox-key", "sandbox-only"
GALLERY = "amazon_images"
LIMITS: Limits = ((20, 10), (5000, 3600))
ATTRIBUTES = (
    NewAttribute("Amazon Images"),
    NewAttribute("Lifestyle Images"),
    NewAttribute("Swatch Image", AttributeType.MEDIA),
    NewAttribute("Amazon Title", AttributeType.TEXT),
)


@dataclass(frozen=True, kw_only=True)
class PlytixSandbox(StandIn):
    """A running Plytix on loopback; the URLs have no path and no slash at their end.

    `ledger` has the calls to the PIM, by the names of the doors in app.py; `token_ledger` those to the auth host, which
    are `token`. Faults of both are in `faults`.
    """

    url: str
    auth_url: str
    api_key: str = API_KEY
    api_password: str = API_PASSWORD
    account: PimAccount
    tokens: PimTokens
    windows: Windows
    token_ledger: CallLedger
    switches: PlytixSwitches

    def assets(self) -> tuple[PimAsset, ...]:
        """The stored assets as they are now, oldest first."""
        with self.account.lock:
            return tuple(replace(asset) for asset in self.account.assets.values() if asset.deleted is None)

    def products(self) -> tuple[PimProduct, ...]:
        """The products as they are now, oldest first."""
        with self.account.lock:
            return tuple(deepcopy(product) for product in self.account.products.values())

    def product(self, sku: str) -> PimProduct:
        """The product with this SKU as it is now; raises KeyError."""
        with self.account.lock:
            return deepcopy(self.account.products[self.account.numbered[sku]])

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
    name: str = "sandbox",
    **switches: Any,
) -> Iterator[PlytixSandbox]:
    """Run Plytix on free ports of loopback; a restart begins anew from the same arguments.

    `limits` are (calls, seconds) of the account's windows. `fetch` gets the files of uploads by URL; without it they
    are asked for over HTTP, whatever their address. `name`: the account's, of which its id and the addresses of its
    assets are made. `switches` are the fields of Switches.
    """
    clock = clock if clock is not None else SandboxClock()
    settings, windows_of = PlytixSwitches(**switches), as_limits(limits)
    listener, auth_listener = bind(port), bind(auth_port)
    account = new_account(clock, settings, attributes, products, name)
    sandbox = PlytixSandbox(
        clock=clock,
        url=url_of(listener),
        auth_url=url_of(auth_listener),
        account=account,
        tokens=PimTokens(clock, windows_of, account.new_id(f"account/{name}"), settings),
        windows=Windows(windows_of, clock, settings),
        token_ledger=CallLedger(),
        switches=settings,
    )
    app = pim_app(Pim(account, settings, fetch, sandbox.url), sandbox.tokens, sandbox.windows, sandbox.moments)
    auth = auth_app(API_KEY, API_PASSWORD, sandbox.tokens, clock, settings)
    pim = _steered(sandbox.watched(app, pim_place), sandbox)
    watched_auth = sandbox.watched(auth, auth_place, sandbox.token_ledger)
    with running((pim, listener), (watched_auth, auth_listener)):
        yield sandbox


def _steered(app: ASGIApp, sandbox: PlytixSandbox) -> ASGIApp:
    account = sandbox.account

    def state() -> Values:
        with account.lock:
            products = [
                {
                    "sku": product.sku,
                    "thumbnail": account.thumbnail_of(product),
                    "media": {label: account.media_of(product, label) for label in account.media_labels()},
                }
                for product in account.products.values()
            ]
            assets = {asset.id: asset.filename for asset in account.assets.values() if asset.deleted is None}
        return {"assets": assets, "products": products, "spent": sandbox.windows.used()}

    def change(values: Values) -> Values:
        return {"id": sandbox.mutate(str(values.pop("operator", "")), **values)}

    return steered(app, sandbox, state, {"mutate": change}, sandbox.switches)


PORT, AUTH_PORT = 8805, 8806
ALIAS = "sandbox"
# The variables that the accounts of the sandbox name for its secrets.
KEY_VARIABLE, PASSWORD_VARIABLE = "PLYTIX_SANDBOX_KEY", "PLYTIX_SANDBOX_PASSWORD"


def accounts_of(url: str, auth_url: str, alias: str = ALIAS) -> list[str]:
    """The lines of an accounts file (IMAGESYNC_ACCOUNTS) with the account of a sandbox at these URLs."""
    return [
        f"[plytix.accounts.{alias}]",
        f'url = "{url}"',
        f'auth_url = "{auth_url}"',
        f'api_key = "env:{KEY_VARIABLE}"',
        f'api_password = "env:{PASSWORD_VARIABLE}"',
    ]


def secrets_of(sandbox: PlytixSandbox) -> dict[str, str]:
    """The variables that the lines of `accounts_of` name, with their values."""
    return {KEY_VARIABLE: sandbox.api_key, PASSWORD_VARIABLE: sandbox.api_password}


def lines_of(sandbox: PlytixSandbox) -> list[str]:
    """What points to a sandbox, as lines for the terminal: the section for IMAGESYNC_ACCOUNTS and its variables."""
    variables = [f"# {name}={value}" for name, value in secrets_of(sandbox).items()]
    about = f"# Plytix of the sandbox; control: {sandbox.url}{ROOT}state"
    return [about, *variables, *accounts_of(sandbox.url, sandbox.auth_url)]
