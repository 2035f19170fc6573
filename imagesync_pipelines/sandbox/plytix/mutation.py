"""What other people do in the account while a client works: they add, remove, rename and delete.

What belongs here: the operators. What does not: the API (app.py); nothing here is a call, and nothing is counted.
"""

import hashlib
from collections.abc import Callable, Mapping
from inspect import signature
from types import MappingProxyType

from imagesync_pipelines.sandbox.plytix import assets
from imagesync_pipelines.sandbox.plytix.answers import Refused, error_body
from imagesync_pipelines.sandbox.plytix.model import Account, Asset, Product

GALLERY = "amazon_images"
KIND = "image/jpeg"


class MutationError(Exception):
    """A change cannot be made; the message says which and why."""


def add_image(
    account: Account, *, sku: str, label: str = GALLERY, filename: str = "by-hand.jpg", position: int | None = None
) -> str:
    """Somebody uploads a picture and puts it into a gallery, at the end or before a position; gives the asset's id."""
    product = _product(account, sku)
    asset = assets.store(account, filename, _content(account, filename), KIND)
    ids = product.shown(label)
    place = len(ids) if position is None else position
    product.media[label] = [*ids[:place], asset.id, *ids[place:]]
    return asset.id


def upload(account: Account, *, filename: str, content: bytes | None = None) -> str:
    """Somebody uploads a file and uses it nowhere; gives the asset's id."""
    return assets.store(account, filename, content or _content(account, filename), KIND).id


def remove_image(account: Account, *, sku: str, label: str = GALLERY, position: int = 0) -> str:
    """Somebody takes an image out of a gallery; gives the asset's id. The asset stays."""
    product = _product(account, sku)
    ids = product.shown(label)
    if not 0 <= position < len(ids):
        raise MutationError(f"{sku} shows {len(ids)} images in {label}; there is none at position {position}")
    product.media[label] = [one for nth, one in enumerate(ids) if nth != position]
    return ids[position]


def reorder(account: Account, *, sku: str, label: str = GALLERY, order: tuple[int, ...] | None = None) -> str:
    """Somebody turns a gallery round, or puts its positions into an order; gives the product's id."""
    product = _product(account, sku)
    ids = product.shown(label)
    product.media[label] = ids[::-1] if order is None else [ids[position] for position in order]
    return product.id


def set_thumbnail(account: Account, *, sku: str, asset_id: str | None = None) -> str:
    """Somebody sets another thumbnail, or removes it; gives the product's id."""
    product = _product(account, sku)
    product.thumbnail = None if asset_id is None else _asset(account, asset_id).id
    return product.id


def rename_asset(account: Account, *, asset_id: str, filename: str) -> str:
    """Somebody gives an asset another name; gives its id."""
    assets.rename(account, _asset(account, asset_id), filename)
    return asset_id


def delete_asset(account: Account, *, asset_id: str) -> str:
    """Somebody deletes an asset, and so its links; gives its id."""
    assets.remove(account, _asset(account, asset_id))
    return asset_id


def delete_product(account: Account, *, sku: str) -> str:
    """Somebody deletes a product; gives its id."""
    product = _product(account, sku)
    account.remove_product(product)
    return product.id


def add_product(account: Account, *, sku: str, label: str = "", parent: str = "") -> str:
    """Somebody creates a product, or a variant of `parent`; gives its id."""
    product = account.new_product(sku, _product(account, parent).id if parent else None)
    product.label = label
    account.keep_product(product)
    return product.id


OPERATORS: Mapping[str, Callable[..., str]] = MappingProxyType(
    {
        operator.__name__: operator
        for operator in (
            add_image,
            upload,
            remove_image,
            reorder,
            set_thumbnail,
            rename_asset,
            delete_asset,
            delete_product,
            add_product,
        )
    }
)


def mutate(account: Account, operator: str, **arguments: object) -> str:
    """Make one change now; gives the id of what was changed. Raises MutationError."""
    if operator not in OPERATORS:
        raise MutationError(f"no operator is called {operator}; there are {', '.join(sorted(OPERATORS))}")
    try:
        signature(OPERATORS[operator]).bind(account, **arguments)
    except TypeError as error:
        raise MutationError(f"{operator}: {error}") from error
    with account.lock:
        try:
            return OPERATORS[operator](account, **arguments)
        except Refused as refused:
            raise MutationError(f"{operator}: {error_body(refused)}") from refused


def _product(account: Account, sku: str) -> Product:
    product = account.by_sku(sku)
    if product is None:
        raise MutationError(f"there is no product {sku}")
    return product


def _asset(account: Account, asset_id: str) -> Asset:
    asset = account.stored(asset_id)
    if asset is None:
        raise MutationError(f"there is no asset {asset_id}")
    return asset


def _content(account: Account, filename: str) -> bytes:
    """Bytes that no other upload has: Plytix looks no further than at the first ones."""
    return b"\xff\xd8\xff" + hashlib.sha256(f"{filename}/{len(account.assets)}".encode()).digest()
