"""What every endpoint of the PIM is given: the account, what it runs with, and one call.

What belongs here: plain data and reading a call's parts. What does not: endpoints (assets.py, products.py, links.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from imagesync_pipelines.sandbox.plytix.answers import (
    Answer,
    Refused,
    no_such_asset,
    no_such_product,
    product_error,
)
from imagesync_pipelines.sandbox.plytix.fetching import Fetch
from imagesync_pipelines.sandbox.plytix.model import Account, Asset, Product
from imagesync_pipelines.sandbox.plytix.switches import Switches

ASSETS_MOST = 300


@dataclass(frozen=True)
class Pim:
    """The running PIM; `host` is its own address, for the URLs of files."""

    account: Account
    switches: Switches
    fetch: Fetch
    host: str


@dataclass(frozen=True)
class Ask:
    """One call: `ids` are the parts of the path by name, `body` is the decoded JSON or None."""

    version: int
    ids: Mapping[str, str]
    query: Mapping[str, str]
    body: Any

    def fields(self) -> dict[str, Any]:
        """The body as an object, or the 400 for anything else."""
        if not isinstance(self.body, dict):
            raise Refused(400, "The browser sent a request that this server could not understand.")
        return self.body


Endpoint = Callable[[Pim, Ask], Answer]


def asked_product(pim: Pim, ask: Ask) -> Product:
    """The product that the path names, or its 404; a malformed id is a 404 too."""
    product = pim.account.products.get(ask.ids["product"])
    if product is None:
        raise no_such_product(ask.ids["product"])
    return product


def asked_asset(pim: Pim, ask: Ask) -> Asset:
    """The asset that the path names, or its 404."""
    asset = pim.account.asset(ask.ids["asset"])
    if asset is None:
        raise no_such_asset(ask.ids["asset"])
    return asset


def judge_number_of_assets(media: Mapping[str, list[str]], thumbnail: str | None) -> None:
    """The 422 for a product that would show more than 300 assets, each counted once."""
    shown = {asset_id for ids in media.values() for asset_id in ids} | ({thumbnail} if thumbnail else set())
    if len(shown) > ASSETS_MOST:
        raise product_error(("assets", f"a product has at most {ASSETS_MOST} assets"))
