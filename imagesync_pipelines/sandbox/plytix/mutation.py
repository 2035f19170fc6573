"""What other people do in the account while a client works: they add, remove, rename and delete."""

import hashlib

from imagesync_pipelines.sandbox.mutation import MutationError, make, operators
from imagesync_pipelines.sandbox.plytix import products
from imagesync_pipelines.sandbox.plytix.model import PimAccount, PimAsset, PimProduct
from imagesync_pipelines.sandbox.plytix.pim import PimRefusalError

GALLERY = "amazon_images"
KIND = "image/jpeg"


def add_image(
    account: PimAccount, *, sku: str, label: str = GALLERY, filename: str = "by-hand.jpg", position: int | None = None
) -> str:
    """Somebody uploads a picture and puts it into a gallery, at the end or before a position; gives the asset's id."""
    product = _product(account, sku)
    asset = products.store(account, filename, _content(account, filename), KIND)
    ids = product.shown(label)
    place = len(ids) if position is None else position
    product.media[label] = [*ids[:place], asset.id, *ids[place:]]
    return asset.id


def upload(account: PimAccount, *, filename: str, content: bytes | None = None) -> str:
    """Somebody uploads a file and uses it nowhere; gives the asset's id."""
    return products.store(account, filename, content or _content(account, filename), KIND).id


def remove_image(account: PimAccount, *, sku: str, label: str = GALLERY, position: int = 0) -> str:
    """Somebody takes an image out of a gallery; gives the asset's id. The asset stays."""
    product = _product(account, sku)
    ids = product.shown(label)
    if not 0 <= position < len(ids):
        raise MutationError(f"{sku} shows {len(ids)} images in {label}; there is none at position {position}")
    product.media[label] = [one for nth, one in enumerate(ids) if nth != position]
    return ids[position]


def reorder(account: PimAccount, *, sku: str, label: str = GALLERY, order: tuple[int, ...] | None = None) -> str:
    """Somebody turns a gallery round, or puts its positions into an order; gives the product's id."""
    product = _product(account, sku)
    ids = product.shown(label)
    product.media[label] = ids[::-1] if order is None else [ids[position] for position in order]
    return product.id


def set_thumbnail(account: PimAccount, *, sku: str, asset_id: str | None = None) -> str:
    """Somebody sets another thumbnail, or removes it; gives the product's id."""
    product = _product(account, sku)
    product.thumbnail = None if asset_id is None else _asset(account, asset_id).id
    return product.id


def rename_asset(account: PimAccount, *, asset_id: str, filename: str) -> str:
    """Somebody gives an asset another name; gives its id."""
    products.rename(account, _asset(account, asset_id), filename)
    return asset_id


def delete_asset(account: PimAccount, *, asset_id: str) -> str:
    """Somebody deletes an asset, and so its links; gives its id."""
    products.remove(account, _asset(account, asset_id))
    return asset_id


def delete_product(account: PimAccount, *, sku: str) -> str:
    """Somebody deletes a product; gives its id."""
    product = _product(account, sku)
    account.remove_product(product)
    return product.id


def add_product(account: PimAccount, *, sku: str, label: str = "", parent: str = "") -> str:
    """Somebody creates a product, or a variant of `parent`; gives its id."""
    product = account.new_product(sku, _product(account, parent).id if parent else None)
    product.label = label
    account.keep_product(product)
    return product.id


OPERATORS = operators(
    *(add_image, upload, remove_image, reorder, set_thumbnail),
    *(rename_asset, delete_asset, delete_product, add_product),
)


def mutate(account: PimAccount, operator: str, **arguments: object) -> str:
    """Make one change now; gives the id of what was changed. Raises MutationError."""
    with account.lock:
        try:
            return make(OPERATORS, operator, account, **arguments)
        except PimRefusalError as refused:
            raise MutationError(f"{operator}: {refused.reply().body.decode()}") from refused


def _product(account: PimAccount, sku: str) -> PimProduct:
    product = account.by_sku(sku)
    if product is None:
        raise MutationError(f"there is no product {sku}")
    return product


def _asset(account: PimAccount, asset_id: str) -> PimAsset:
    asset = account.stored(asset_id)
    if asset is None:
        raise MutationError(f"there is no asset {asset_id}")
    return asset


def _content(account: PimAccount, filename: str) -> bytes:
    """Bytes that no other upload has: Plytix looks no further than at the first ones."""
    return b"\xff\xd8\xff" + hashlib.sha256(f"{filename}/{len(account.assets)}".encode()).digest()
