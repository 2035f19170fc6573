"""The products and assets of the PIM, and the links between them (docs/contracts/plytix.md)."""

import base64
import hashlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from imagesync_pipelines.sandbox.answers import SentReply
from imagesync_pipelines.sandbox.plytix.model import (
    THUMBNAIL,
    AttributeType,
    NewAttribute,
    PimAccount,
    PimAsset,
    PimProduct,
    extension_of,
)
from imagesync_pipelines.sandbox.plytix.pim import (
    V2,
    Pim,
    PimAsk,
    PimRefusalError,
    asked_asset,
    asked_product,
    asset_json,
    audit_json,
    content_type_of,
    created,
    fetch_file,
    found,
    judge_number_of_assets,
    linked_json,
    name_in,
    no_such_product,
    product_error,
    product_json,
    products_with,
    schema_error,
)

STATUSES = ("Draft", "Completed", "Archived")
# Plytix answers an object here, not a text.
WRONG_TYPE = {"_schema": ["Invalid input type."]}
NO_TEXT, REQUIRED = "Not a valid string.", "Missing data for required field."


def changed(account: PimAccount, product: PimProduct, body: Mapping[str, Any]) -> PimProduct:
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
            texts[label] = _text_value(label, value)
        else:
            media[label] = _media(account, attribute, value)
    thumbnail = product.thumbnail
    if THUMBNAIL in body and body[THUMBNAIL] is not None:
        thumbnail = _asset_id(account, THUMBNAIL, body[THUMBNAIL])
    elif THUMBNAIL in body and account.switches.null_thumbnail == "refused":
        raise product_error((THUMBNAIL, WRONG_TYPE))
    elif THUMBNAIL in body and account.switches.null_thumbnail == "taken":
        thumbnail = None
    judge_number_of_assets(media, thumbnail)
    if body.get("status", product.status) not in STATUSES:
        raise product_error(("status", "Not a valid choice."))
    return replace(
        product,
        sku=_text_value("sku", body.get("sku", product.sku)),
        label=_text_value("label", body.get("label", product.label)),
        gtin=_text_value("gtin", body.get("gtin", product.gtin)),
        status=body.get("status", product.status),
        thumbnail=thumbnail,
        media=media,
        texts=texts,
        modified=account.clock.now(),
    )


def _text_value(label: str, value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise product_error((label, NO_TEXT))
    return value or ""


def _media(account: PimAccount, attribute: NewAttribute, value: object) -> list[str]:
    """The asset ids of a media attribute: one object, or for a gallery a list of them, kept as it was sent."""
    if value is None:
        return []
    if attribute.type is AttributeType.MEDIA:
        return [_asset_id(account, attribute.label, value)]
    if not isinstance(value, list):
        raise product_error((attribute.label, WRONG_TYPE))
    return [_asset_id(account, attribute.label, one) for one in value]


def _asset_id(account: PimAccount, label: str, value: object) -> str:
    """The id in `{"id": …}`; a bare id is refused."""
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        raise product_error((label, WRONG_TYPE))
    asset = account.stored(value["id"])
    if asset is None:
        raise product_error((label, "asset does not exist"))
    return asset.id


def get(pim: Pim, ask: PimAsk) -> SentReply:
    """GET /products/{id}; `all_attributes=true` shows the empty ones too."""
    product = asked_product(pim, ask)
    everything = ask.query.get("all_attributes") == "true"
    return found([product_json(pim.account, pim.host, product, ask.version, all_attributes=everything)])


def create(pim: Pim, ask: PimAsk) -> SentReply:
    """POST /products: only the SKU is mandatory; what is unknown is ignored."""
    return _create(pim, ask.fields(), ask.version, None)


def patch(pim: Pim, ask: PimAsk) -> SentReply:
    """PATCH /products/{id}: what is given is replaced, null clears, the rest stays; all of it or nothing."""
    product = asked_product(pim, ask)
    body = ask.fields()
    if body.get("sku", product.sku) != product.sku:
        _judge_sku(pim.account, body["sku"])
    after = changed(pim.account, product, body)
    pim.account.keep_product(after)
    return found([_written(pim, after, ask.version)])


def delete(pim: Pim, ask: PimAsk) -> SentReply:
    """DELETE /products/{id}: the product goes, and its variants with it."""
    pim.account.remove_product(asked_product(pim, ask))
    return SentReply(204)


def variants(pim: Pim, ask: PimAsk) -> SentReply:
    """GET /products/{id}/variants."""
    rows = pim.account.variants(asked_product(pim, ask))
    return found([product_json(pim.account, pim.host, one, ask.version) for one in rows])


def create_variant(pim: Pim, ask: PimAsk) -> SentReply:
    """POST /products/{id}/variants: `{"variant": {"sku": …}}` on v1, the flat body on v2."""
    body = ask.fields() if ask.version == V2 else ask.fields().get("variant")
    if not isinstance(body, dict):
        raise schema_error(("variant", REQUIRED))
    return _create(pim, body, ask.version, asked_product(pim, ask).id)


def _create(pim: Pim, body: dict[str, Any], version: int, parent_id: str | None) -> SentReply:
    sku = body.get("sku")
    _judge_sku(pim.account, sku)
    product = changed(pim.account, pim.account.new_product(str(sku), parent_id), body)
    pim.account.keep_product(product)
    return created(_written(pim, product, version), f"{pim.host}/api/v1/products/{product.id}")


def _written(pim: Pim, product: PimProduct, version: int) -> dict[str, Any]:
    """v1 gives the whole product back, v2 the id and who wrote when."""
    return audit_json(product) if version == V2 else product_json(pim.account, pim.host, product, version)


def _judge_sku(account: PimAccount, sku: object) -> None:
    if not isinstance(sku, str) or not sku:
        raise product_error(("sku", REQUIRED))
    if account.by_sku(sku) is not None:
        taken = (("sku", "A product with the same SKU already exists"),)
        raise PimRefusalError(409, "product data validation failed", taken)


# What one link will write: the product's id, the label, the asset's id, and the whole new value of the attribute.
_Link = tuple[str, str, str, list[str]]


def link(pim: Pim, ask: PimAsk) -> SentReply:
    """POST /products/{id}/assets: show one asset in an attribute; galleries grow, anything else is replaced."""
    with pim.account.lock:
        read = _read(pim, ask)
        if not pim.switches.lost_update_race:
            return _write(pim, read)
    time.sleep(pim.switches.race_seconds)
    with pim.account.lock:
        return _write(pim, read)


def unlink(pim: Pim, ask: PimAsk) -> SentReply:
    """DELETE /products/{id}/assets/{asset}: the asset leaves every attribute of the product, the thumbnail too."""
    product, asset_id = asked_product(pim, ask), _related(pim, ask)
    if product.thumbnail == asset_id:
        product.thumbnail = None
    for label, ids in product.media.items():
        product.media[label] = [one for one in ids if one != asset_id]
    product.modified = pim.account.clock.now()
    return SentReply(204)


def linked(pim: Pim, ask: PimAsk) -> SentReply:
    """GET /products/{id}/assets: all assets of a product; it does not say in which attribute."""
    ids = pim.account.linked(asked_product(pim, ask))
    return found([linked_json(pim.host, pim.account.assets[asset_id]) for asset_id in ids])


def linked_one(pim: Pim, ask: PimAsk) -> SentReply:
    """GET /products/{id}/assets/{asset}."""
    return found([linked_json(pim.host, pim.account.assets[_related(pim, ask)])])


def _read(pim: Pim, ask: PimAsk) -> _Link:
    """Judge a link and compute what it will write."""
    product = asked_product(pim, ask)
    body = ask.fields()
    asset_id, label = body.get("id"), body.get("attribute_label")
    if not asset_id:
        missing = ("id", REQUIRED)
        raise schema_error(("asset.id", "asset id not found in request") if ask.version == V2 else missing)
    if not label:
        raise schema_error(("attribute_label", REQUIRED))
    attribute = pim.account.attributes.get(str(label))
    if label != THUMBNAIL and (attribute is None or attribute.type is AttributeType.TEXT):
        raise schema_error(("attribute_label", "label does not exist"))
    asset = pim.account.stored(asset_id)
    if asset is None:
        raise PimRefusalError(404, f"Asset id {asset_id} does not exist", (("asset.id", "asset does not exist"),))
    shown = product.shown(label)
    if asset.id in shown:
        message = f"Asset id {asset.id} is already linked to product attribute"
        raise PimRefusalError(409, message, (("asset.id", "already linked"),))
    grows = attribute is not None and attribute.type is AttributeType.GALLERY
    return product.id, label, asset.id, [*shown, asset.id] if grows else [asset.id]


def _write(pim: Pim, made: _Link) -> SentReply:
    product_id, label, asset_id, after = made
    product = pim.account.products.get(product_id)
    if product is None:
        raise no_such_product(product_id)
    media, thumbnail = dict(product.media), product.thumbnail
    if label == THUMBNAIL:
        thumbnail = asset_id
    else:
        media[label] = after
    judge_number_of_assets(media, thumbnail)
    product.media, product.thumbnail = media, thumbnail
    product.modified = pim.account.clock.now()
    return created({"id": asset_id}, f"{pim.host}/api/v1/products/{product_id}/assets/{asset_id}")


def _related(pim: Pim, ask: PimAsk) -> str:
    """The id of an asset that the product shows, or the 404."""
    product, asset_id = asked_product(pim, ask), ask.ids["asset"]
    if asset_id not in pim.account.linked(product):
        message = f"asset id {asset_id} is not related to product id {product.id}"
        raise PimRefusalError(404, message, (("asset_id", message),))
    return asset_id


SUFFIX_LENGTH = 5


def create_asset(pim: Pim, ask: PimAsk) -> SentReply:
    """POST /assets: fetch or decode the file, and store it unless the same file has the same name already."""
    content, filename = _file(pim, ask)
    content_type = content_type_of(content, filename)
    if content_type is None:
        raise PimRefusalError(
            pim.switches.bad_image_status, "Schema validation error", (("url", "the file type is not supported"),)
        )
    with pim.account.lock:
        asset = store(pim.account, filename, content, content_type)
        return created(asset_json(pim.host, asset, products=0), f"{pim.host}/api/v1/assets/{asset.id}")


def get_asset(pim: Pim, ask: PimAsk) -> SentReply:
    """GET /assets/{id}."""
    asset = asked_asset(pim, ask)
    return found([asset_json(pim.host, asset, products_with(pim.account, asset))])


def patch_asset(pim: Pim, ask: PimAsk) -> SentReply:
    """PATCH /assets/{id}: another name, whose extension is the same."""
    asset = asked_asset(pim, ask)
    name = ask.fields().get("filename", asset.filename)
    if not isinstance(name, str):
        raise schema_error(("filename", NO_TEXT))
    rename(pim.account, asset, name)
    return found([asset_json(pim.host, asset, products_with(pim.account, asset))])


def delete_asset(pim: Pim, ask: PimAsk) -> SentReply:
    """DELETE /assets/{id}: the asset goes, and its links with it."""
    remove(pim.account, asked_asset(pim, ask))
    return SentReply(204)


def store(account: PimAccount, filename: str, content: bytes, content_type: str) -> PimAsset:
    """Keep a file: same name and content is the 409, same name and other content gets another name."""
    sha256 = hashlib.sha256(content).hexdigest()
    now = account.clock.now()
    asset = PimAsset(
        id=account.new_id(f"asset/{filename}/{sha256}"),
        filename=_free_name(account, filename, sha256),
        content=content,
        sha256=sha256,
        content_type=content_type,
        created=now,
        modified=now,
        account=account.name,
    )
    account.assets[asset.id] = asset
    account.named[asset.filename] = asset.id
    return asset


def rename(account: PimAccount, asset: PimAsset, name: str) -> None:
    """Give an asset another name; a name that is taken is treated as in an upload."""
    if name == asset.filename:
        return
    if extension_of(name) != asset.extension:
        raise schema_error(("filename", "Extension changes are not allowed"))
    free = _free_name(account, name, asset.sha256)
    del account.named[asset.filename]
    account.named[free] = asset.id
    asset.filename = free
    asset.modified = account.clock.now()


def remove(account: PimAccount, asset: PimAsset) -> None:
    """Delete an asset and unlink it everywhere."""
    asset.deleted = account.clock.now()
    del account.named[asset.filename]
    for product in account.products.values():
        if product.thumbnail == asset.id:
            product.thumbnail = None
        for label, ids in product.media.items():
            product.media[label] = [one for one in ids if one != asset.id]


def _file(pim: Pim, ask: PimAsk) -> tuple[bytes, str]:
    """The content and the name that a body asks to store; the file is fetched without holding the account."""
    body = ask.fields()
    url, content, filename = body.get("url"), body.get("content"), body.get("filename")
    if filename is not None and not isinstance(filename, str):
        raise schema_error(("filename", NO_TEXT))
    if content is not None:
        if not filename:
            raise schema_error(("filename", "filename field is mandatory when uploading from content"))
        try:
            return base64.b64decode(str(content), validate=True), filename
        except ValueError as error:  # also for letters that base64 does not have at all
            raise schema_error(("content", "content is not valid base64")) from error
    if url is None:
        raise schema_error(("url", REQUIRED))
    if not isinstance(url, str):
        raise schema_error(("url", NO_TEXT))
    return fetch_file(pim.fetch, url, pim.switches.bad_image_status), filename or name_in(url)


def _free_name(account: PimAccount, filename: str, sha256: str) -> str:
    """The name under which a file is stored; raises the 409 when the same file has it."""
    namesake = account.by_name(filename)
    if namesake is None:
        return filename
    if namesake.sha256 == sha256:
        raise PimRefusalError(409, "Asset already exists", (("asset.id", namesake.id),))
    stem, dot, extension = filename.rpartition(".")
    suffix = account.new_id(f"suffix/{filename}")[:SUFFIX_LENGTH]
    return f"{stem}_{suffix}{dot}{extension}" if dot else f"{filename}_{suffix}"
