"""Assets and products as v1 and v2 write them (contract sections 5.1 and 7).

What belongs here: turning what the account holds into JSON. What does not: choosing what is answered.
"""

from datetime import datetime
from typing import Any
from urllib.parse import quote

from imagesync_pipelines.sandbox.plytix.model import THUMBNAIL, Account, Asset, AttributeType, Product
from imagesync_pipelines.sandbox.plytix.switches import ThumbnailForm

FILES = "/api/v1.1/file/public_files/pim/assets/sandbox/images/"
V1, V2 = 1, 2
_FILE_TYPES = {"image": "IMAGES", "video": "VIDEOS", "audio": "SOUNDS", "text": "TEXTS"}
_THUMB = "/thumb/"


def file_type_of(asset: Asset) -> str:
    """The group of kinds that an asset belongs to."""
    return _FILE_TYPES.get(asset.content_type.partition("/")[0], "OTHER")


def file_url(host: str, asset: Asset, *, thumb: bool = False) -> str:
    """Where Plytix shows the file to everybody."""
    return f"{host}{FILES}{asset.id[:2]}{_THUMB if thumb else '/'}{asset.id}/{quote(asset.filename)}"


def products_with(account: Account, asset: Asset) -> int:
    """How many products show an asset."""
    return sum(asset.id in account.linked(product) for product in account.products.values())


def asset_json(host: str, asset: Asset, products: int) -> dict[str, Any]:
    """An asset with all its fields; `products` is how many show it."""
    return {
        "id": asset.id,
        "filename": asset.filename,
        "extension": asset.extension,
        "content_type": asset.content_type,
        "file_type": file_type_of(asset),
        "file_size": asset.file_size,
        "status": "ACTIVE",
        "assigned": products > 0,
        "n_products": products,
        "n_catalogs": 0,
        "categories": [],
        "public": True,
        "has_custom_thumb": False,
        "created": asset.created.isoformat(),
        "modified": asset.modified.isoformat(),
        "file_modified": _without_zone(asset.modified),
        "url": file_url(host, asset),
        "thumbnail": file_url(host, asset, thumb=True),
    }


def linked_json(host: str, asset: Asset) -> dict[str, Any]:
    """An asset as a product lists it."""
    return {
        "id": asset.id,
        "filename": asset.filename,
        "thumbnail": file_url(host, asset, thumb=True),
        "url": file_url(host, asset),
        "file_size": asset.file_size,
    }


def value_of(account: Account, host: str, product: Product, column: str, version: int) -> Any:
    """One column of a product; an attribute without a value is None."""
    if column == THUMBNAIL:
        return _thumbnail(account, host, product, version)
    if column.startswith("attributes."):
        return _attribute(account, host, product, column.removeprefix("attributes."), version)
    if column in ("assets", "images"):
        assets = [account.assets[asset_id] for asset_id in account.linked(product)]
        shown = [asset for asset in assets if column == "assets" or file_type_of(asset) == "IMAGES"]
        return [asset.id for asset in shown] if version == V2 else [linked_json(host, asset) for asset in shown]
    return _plain(account, product, version)[column]


def product_json(
    account: Account, host: str, product: Product, version: int, *, all_attributes: bool = False
) -> dict[str, Any]:
    """A product with all its fields; empty attributes are left out or null."""
    values = {label: value_of(account, host, product, f"attributes.{label}", version) for label in account.attributes}
    return {
        **_plain(account, product, version),
        "overwritten_attributes": account.overwritten(product),
        "thumbnail": value_of(account, host, product, THUMBNAIL, version),
        "assets": value_of(account, host, product, "assets", version),
        "relationships": [],
        "attributes": {label: value for label, value in values.items() if all_attributes or value is not None},
    }


def audit_json(product: Product) -> dict[str, Any]:
    """What v2 answers to a write."""
    user = {"id": "sandbox"}
    return {
        "id": product.id,
        "created": _without_zone(product.created),
        "modified": _without_zone(product.modified),
        "created_user_audit": user,
        "modified_user_audit": user,
    }


def parent_key(version: int) -> str:
    """What a variant's parent is called."""
    return "parent_id" if version == V2 else "_parent_id"


def _plain(account: Account, product: Product, version: int) -> dict[str, Any]:
    """The fields that hold no assets."""
    variants = len(account.variants(product))
    is_variant = product.parent_id is not None
    stamp = _without_zone if version == V2 else datetime.isoformat
    return {
        "id": product.id,
        "sku": product.sku,
        "label": product.label,
        "gtin": product.gtin,
        "status": product.status,
        "created": stamp(product.created),
        "modified": stamp(product.modified),
        parent_key(version): product.parent_id,
        "product_type": "VARIANT" if is_variant else "PARENT" if variants else "SINGLE",
        "product_level": 2 if is_variant else 1 if variants else 0,
        "num_variations": variants,
        "product_family_id": None,
        "product_family_model_id": None,
        "categories": [],
    }


def _thumbnail(account: Account, host: str, product: Product, version: int) -> Any:
    asset_id = account.thumbnail_of(product)
    if asset_id is None:
        return None
    if version == V2:
        return [asset_id] if account.switches.v2_thumbnail is ThumbnailForm.LIST else {"id": asset_id}
    return linked_json(host, account.assets[asset_id])


def _attribute(account: Account, host: str, product: Product, label: str, version: int) -> Any:
    if account.attributes[label].type is AttributeType.TEXT:
        return product.texts.get(label)
    ids = account.media_of(product, label)
    if not ids:
        return None
    if version == V2:
        return list(ids)
    shown = [_media(host, account.assets[asset_id]) for asset_id in ids]
    return shown[0] if account.attributes[label].type is AttributeType.MEDIA else shown


def _media(host: str, asset: Asset) -> dict[str, Any]:
    return {
        "id": asset.id,
        "filename": asset.filename,
        "thumb": file_url(host, asset, thumb=True),
        "url": file_url(host, asset),
    }


def _without_zone(at: datetime) -> str:
    return at.replace(tzinfo=None).isoformat()
