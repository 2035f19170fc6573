"""Links between products and assets: one at a time, appended to a gallery (contract section 8).

What belongs here: the endpoints below /products/{id}/assets. What does not: a gallery as a whole (products.py).
"""

import time
from dataclasses import dataclass

from imagesync_pipelines.sandbox.plytix.answers import Answer, FieldError, Refused, found, no_such_product, schema_error
from imagesync_pipelines.sandbox.plytix.model import THUMBNAIL, AttributeType
from imagesync_pipelines.sandbox.plytix.pim import Ask, Pim, asked_product, judge_number_of_assets
from imagesync_pipelines.sandbox.plytix.rendering import V2, linked_json


@dataclass(frozen=True)
class _Link:
    """What one link will write: the whole new value of an attribute."""

    product_id: str
    label: str
    asset_id: str
    after: list[str]


def link(pim: Pim, ask: Ask) -> Answer:
    """POST /products/{id}/assets: show one asset in an attribute; galleries grow, anything else is replaced."""
    if not pim.switches.lost_update_race:
        with pim.account.lock:
            return _write(pim, _read(pim, ask))
    with pim.account.lock:
        read = _read(pim, ask)
    time.sleep(pim.switches.race_seconds)
    with pim.account.lock:
        return _write(pim, read)


def unlink(pim: Pim, ask: Ask) -> Answer:
    """DELETE /products/{id}/assets/{asset}: the asset leaves every attribute of the product, the thumbnail too."""
    with pim.account.lock:
        product, asset_id = asked_product(pim, ask), _related(pim, ask)
        if product.thumbnail == asset_id:
            product.thumbnail = None
        for label, ids in product.media.items():
            product.media[label] = [one for one in ids if one != asset_id]
        product.modified = pim.account.clock.now()
    return Answer(204)


def linked(pim: Pim, ask: Ask) -> Answer:
    """GET /products/{id}/assets: all assets of a product; it does not say in which attribute."""
    with pim.account.lock:
        ids = pim.account.linked(asked_product(pim, ask))
        return found([linked_json(pim.host, pim.account.assets[asset_id]) for asset_id in ids])


def linked_one(pim: Pim, ask: Ask) -> Answer:
    """GET /products/{id}/assets/{asset}."""
    with pim.account.lock:
        return found([linked_json(pim.host, pim.account.assets[_related(pim, ask)])])


def _read(pim: Pim, ask: Ask) -> _Link:
    """Judge a link and compute what it will write."""
    product = asked_product(pim, ask)
    body = ask.fields()
    asset_id, label = body.get("id"), body.get("attribute_label")
    if not asset_id:
        raise schema_error(_no_asset(ask.version))
    if not label:
        raise schema_error(("attribute_label", "Missing data for required field."))
    attribute = pim.account.attributes.get(str(label))
    if label != THUMBNAIL and (attribute is None or attribute.type is AttributeType.TEXT):
        raise schema_error(("attribute_label", "label does not exist"))
    asset = pim.account.stored(asset_id)
    if asset is None:
        raise Refused(404, f"Asset id {asset_id} does not exist", (("asset.id", "asset does not exist"),))
    shown = product.shown(label)
    if asset.id in shown:
        message = f"Asset id {asset.id} is already linked to product attribute"
        raise Refused(409, message, (("asset.id", "already linked"),))
    grows = attribute is not None and attribute.type is AttributeType.GALLERY
    return _Link(product.id, label, asset.id, [*shown, asset.id] if grows else [asset.id])


def _write(pim: Pim, made: _Link) -> Answer:
    product = pim.account.products.get(made.product_id)
    if product is None:
        raise no_such_product(made.product_id)
    media, thumbnail = dict(product.media), product.thumbnail
    if made.label == THUMBNAIL:
        thumbnail = made.asset_id
    else:
        media[made.label] = made.after
    judge_number_of_assets(media, thumbnail)
    product.media, product.thumbnail = media, thumbnail
    product.modified = pim.account.clock.now()
    where = f"{pim.host}/api/v1/products/{product.id}/assets/{made.asset_id}"
    return Answer(201, {"data": [{"id": made.asset_id}]}, {"Location": where})


def _no_asset(version: int) -> FieldError:
    if version == V2:
        return ("asset.id", "asset id not found in request")
    return ("id", "Missing data for required field.")


def _related(pim: Pim, ask: Ask) -> str:
    """The id of an asset that the product shows, or the 404."""
    product, asset_id = asked_product(pim, ask), ask.ids["asset"]
    if asset_id not in pim.account.linked(product):
        message = f"asset id {asset_id} is not related to product id {product.id}"
        raise Refused(404, message, (("asset_id", message),))
    return asset_id
