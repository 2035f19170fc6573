"""The two searches of the PIM: assets and products (contract sections 5.5 and 6).

What belongs here: the fields, columns and rows of both. What does not: the filter language (filters.py), pages
(pages.py).
"""

from datetime import timedelta
from functools import partial
from typing import Any

from imagesync_pipelines.sandbox.plytix.answers import Answer, schema_error
from imagesync_pipelines.sandbox.plytix.filters import (
    LISTED,
    ORDERED,
    TEXT,
    UNARY,
    UNDECODABLE,
    Fields,
    Filters,
    matches,
    read_filters,
)
from imagesync_pipelines.sandbox.plytix.model import THUMBNAIL, Account, Asset, AttributeType, Product
from imagesync_pipelines.sandbox.plytix.pages import cut, page_answer, read_columns, read_page
from imagesync_pipelines.sandbox.plytix.pim import Ask, Pim
from imagesync_pipelines.sandbox.plytix.rendering import (
    asset_json,
    file_type_of,
    parent_key,
    products_with,
    value_of,
)

ASSET_FIELDS: Fields = {
    "filename": frozenset({"like", "eq", "!eq"}),
    "extension": frozenset({"like", "eq", "!eq"}),
    "id": LISTED | {"eq", "!eq"},
    "file_type": LISTED,
    "assigned": frozenset({"eq"}),
    "file_size": ORDERED,
    "categories": UNARY | LISTED,
    "created": ORDERED,
    "modified": ORDERED,
}
ASSET_ORDERS = ("filename", "file_size", "created", "modified")
ASSET_COLUMNS = (
    *("id", "filename", "extension", "content_type", "file_type", "file_size", "status", "assigned", "n_products"),
    *("n_catalogs", "categories", "public", "has_custom_thumb", "created", "modified", "file_modified", "url"),
    THUMBNAIL,
)
PRODUCT_FIELDS: Fields = {
    "sku": TEXT | LISTED,
    "label": TEXT,
    "gtin": TEXT,
    "status": TEXT | LISTED,
    "created": ORDERED,
    "modified": ORDERED,
    "categories": UNARY,
    "assets": UNARY,
    "images": UNARY,
    THUMBNAIL: UNARY,
    "product_level": ORDERED | LISTED,
}
PRODUCT_ORDERS = ("sku",)
PRODUCT_COLUMNS = (
    *("id", "sku", "label", "gtin", "status", "created", "modified", "categories", "product_level", "product_type"),
    *("num_variations", "overwritten_attributes", THUMBNAIL, "assets", "images"),
)
ATTRIBUTE = "attributes."


def search_assets(pim: Pim, ask: Ask) -> Answer:
    """POST /assets/search: only the id comes back, and the columns that are asked for."""
    body = ask.fields()
    if "filters" not in body:
        raise schema_error(("filters", "Missing data for required field."))
    filters = read_filters(body["filters"], ASSET_FIELDS, pim.switches.groups_most)
    columns = read_columns(body, ASSET_COLUMNS, pim.switches.columns_most)
    page = read_page(body, ASSET_ORDERS)
    with pim.account.lock:
        there = _findable(pim.account)
        hits = [asset for asset in there if matches(filters, partial(_asset_value, pim.account, asset))]
        rows = [_asset_row(pim, asset, columns) for asset in cut(hits, page)]
        return page_answer(page, rows, len(hits), len(there), pim.switches.counts)


def search_products(pim: Pim, ask: Ask) -> Answer:
    """POST /products/search: id and SKU come back, and the columns that are asked for."""
    body = ask.fields()
    with pim.account.lock:
        account = pim.account
        filters = read_filters(body.get("filters", []), _product_fields(pim), pim.switches.groups_most)
        _judge_skus(pim, filters)
        known = (*PRODUCT_COLUMNS, *(ATTRIBUTE + label for label in account.attributes))
        columns = read_columns(body, known, pim.switches.columns_most)
        page = read_page(body, PRODUCT_ORDERS)
        hits = [one for one in account.products.values() if matches(filters, partial(_product_value, account, one))]
        rows = [_product_row(pim, product, columns, ask.version) for product in cut(hits, page)]
        return page_answer(page, rows, len(hits), len(account.products), pim.switches.counts)


def _findable(account: Account) -> list[Asset]:
    """The assets that a search knows of: young ones only later, deleted ones a little longer, with the switches."""
    ripe = account.clock.now() - timedelta(seconds=account.switches.search_delay)
    return [asset for asset in account.assets.values() if asset.created <= ripe and account.asset(asset.id) is asset]


def _asset_value(account: Account, asset: Asset, name: str) -> Any:
    if name == "file_type":
        return file_type_of(asset)
    if name == "assigned":
        return products_with(account, asset) > 0
    # Categories of assets are not played; every asset has none.
    return None if name == "categories" else getattr(asset, name)


def _asset_row(pim: Pim, asset: Asset, columns: list[str]) -> dict[str, Any]:
    # Counting the products of an asset looks at all of them.
    counted = "assigned" in columns or "n_products" in columns
    whole = asset_json(pim.host, asset, products_with(pim.account, asset) if counted else 0)
    return {"id": asset.id} | {column: whole[column] for column in columns}


def _product_fields(pim: Pim) -> Fields:
    """The fields of a product search, with the attributes of the account; `in` on SKUs can be switched off."""
    attributes = {
        ATTRIBUTE + label: TEXT if attribute.type is AttributeType.TEXT else UNARY
        for label, attribute in pim.account.attributes.items()
    }
    skus = {"sku": TEXT} if pim.switches.in_refused else {}
    return {**PRODUCT_FIELDS, **attributes, **skus}


def _judge_skus(pim: Pim, filters: Filters) -> None:
    """The 422 for more SKUs in one list than are taken."""
    most = pim.switches.in_most
    lists = [one.value for group in filters for one in group if one.field == "sku" and one.operator in LISTED]
    if any(len(skus) > most for skus in lists):
        raise schema_error(("sku", f"at most {most} values"), UNDECODABLE)


def _product_value(account: Account, product: Product, name: str) -> Any:
    if name.startswith(ATTRIBUTE):
        label = name.removeprefix(ATTRIBUTE)
        is_text = account.attributes[label].type is AttributeType.TEXT
        return product.texts.get(label) if is_text else account.media_of(product, label)
    if name == THUMBNAIL:
        return account.thumbnail_of(product)
    if name in ("assets", "images"):
        return account.linked(product)
    if name == "product_level":
        return value_of(account, "", product, name, version=1)
    return None if name == "categories" else getattr(product, name)


def _product_row(pim: Pim, product: Product, columns: list[str], version: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": product.id,
        "sku": product.sku,
        "attributes": {},
        "num_variations": len(pim.account.variants(product)),
    }
    if product.parent_id is not None:
        row[parent_key(version)] = product.parent_id
    for column in columns:
        value = value_of(pim.account, pim.host, product, column, version)
        if not column.startswith(ATTRIBUTE):
            row[column] = value
        elif value is not None:
            row["attributes"][column.removeprefix(ATTRIBUTE)] = value
    return row
