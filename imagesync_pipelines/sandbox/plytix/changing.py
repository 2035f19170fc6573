"""What a body makes of a product: which values it may have (contract section 7).

What belongs here: judging the values of a create or a patch and computing the product after it. What does not: keeping
it (products.py).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from imagesync_pipelines.sandbox.plytix.answers import product_error
from imagesync_pipelines.sandbox.plytix.model import THUMBNAIL, Account, AttributeType, NewAttribute, Product
from imagesync_pipelines.sandbox.plytix.pim import judge_number_of_assets

STATUSES = ("Draft", "Completed", "Archived")
# Plytix answers an object here, not a text.
WRONG_TYPE = {"_schema": ["Invalid input type."]}
NO_TEXT = "Not a valid string."


def changed(account: Account, product: Product, body: Mapping[str, Any]) -> Product:
    """The product with the values of a body, or the 422; keys that are not known are ignored, labels are not."""
    attributes = body.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise product_error(("attributes", WRONG_TYPE))
    media, texts = dict(product.media), dict(product.texts)
    for label, value in attributes.items():
        attribute = account.attributes.get(label)
        if attribute is None:
            raise product_error((label, "label does not exist"))
        if attribute.type is AttributeType.TEXT:
            texts[label] = _text(label, value)
        else:
            media[label] = _media(account, attribute, value)
    thumbnail = product.thumbnail
    if THUMBNAIL in body:
        thumbnail = None if body[THUMBNAIL] is None else _asset_id(account, THUMBNAIL, body[THUMBNAIL])
    judge_number_of_assets(media, thumbnail)
    if body.get("status", product.status) not in STATUSES:
        raise product_error(("status", "Not a valid choice."))
    return replace(
        product,
        sku=_text("sku", body.get("sku", product.sku)),
        label=_text("label", body.get("label", product.label)),
        gtin=_text("gtin", body.get("gtin", product.gtin)),
        status=body.get("status", product.status),
        thumbnail=thumbnail,
        media=media,
        texts=texts,
        modified=account.clock.now(),
    )


def _text(label: str, value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise product_error((label, NO_TEXT))
    return value or ""


def _media(account: Account, attribute: NewAttribute, value: object) -> list[str]:
    """The asset ids of a media attribute: one object, or for a gallery a list of them, kept as it was sent."""
    if value is None:
        return []
    if attribute.type is AttributeType.MEDIA:
        return [_asset_id(account, attribute.label, value)]
    if not isinstance(value, list):
        raise product_error((attribute.label, WRONG_TYPE))
    return [_asset_id(account, attribute.label, one) for one in value]


def _asset_id(account: Account, label: str, value: object) -> str:
    """The id in `{"id": …}`; a bare id is refused."""
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        raise product_error((label, WRONG_TYPE))
    asset = account.stored(value["id"])
    if asset is None:
        raise product_error((label, "asset does not exist"))
    return asset.id
