"""The two searches of the PIM: filters, columns, order and pages (docs/contracts/plytix.md)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from operator import ge, gt, le, lt
from typing import Any, TypeVar

from imagesync_pipelines.sandbox.answers import SentReply
from imagesync_pipelines.sandbox.plytix.model import THUMBNAIL, AttributeType, Counts, PimAccount, PimAsset, PimProduct
from imagesync_pipelines.sandbox.plytix.pim import (
    Pim,
    PimAsk,
    PimRefusalError,
    asset_json,
    file_type_of,
    found,
    parent_key,
    products_with,
    schema_error,
    value_of,
)

UNARY = frozenset({"exists", "!exists"})
TEXT = frozenset({"exists", "!exists", "eq", "!eq", "like"})
LISTED = frozenset({"in", "!in"})
ORDERED = frozenset({"eq", "gt", "gte", "lt", "lte"})
_COMPARED = {"gt": gt, "gte": ge, "lt": lt, "lte": le}
UNDECODABLE = ("filters", "Unable to decode filters properly")

# The operators that a field knows, by the field's name.
Fields = Mapping[str, frozenset[str]]
Value = Callable[[str], Any]


@dataclass(frozen=True)
class SearchCondition:
    """One `field operator value`; texts are lower case already, because Plytix ignores case."""

    field: str
    operator: str
    value: Any


Filters = tuple[tuple[SearchCondition, ...], ...]


def read_filters(filters: object, fields: Fields, groups_most: int | None) -> Filters:
    """The filters of a body, or the 422 that names what is wrong."""
    if not isinstance(filters, list) or not all(isinstance(group, list) for group in filters):
        raise schema_error(UNDECODABLE)
    if groups_most is not None and len(filters) > groups_most:
        raise schema_error(("filters", f"at most {groups_most} groups"), UNDECODABLE)
    return _joined(tuple(tuple(_condition(one, fields) for one in group) for group in filters), fields)


def matches(filters: Filters, value: Value) -> bool:
    """Whether a record is found; `value` gives its fields. No filters find everything."""
    return not filters or any(all(_holds(one, value(one.field)) for one in group) for group in filters)


def _joined(filters: Filters, fields: Fields) -> Filters:
    """The same filters, where many names asked for one by one are one list: a search looks at every record."""
    texts: dict[str, set[Any]] = {}
    others = []
    for group in filters:
        if len(group) == 1 and group[0].operator == "eq" and not fields[group[0].field] >= ORDERED:
            texts.setdefault(group[0].field, set()).add(group[0].value)
        else:
            others.append(group)
    return (*others, *((SearchCondition(field, "in", frozenset(values)),) for field, values in texts.items()))


def _condition(item: object, fields: Fields) -> SearchCondition:
    if not isinstance(item, dict):
        raise schema_error(UNDECODABLE)
    name, operator = item.get("field"), item.get("operator")
    if not isinstance(name, str) or name not in fields:
        raise schema_error((str(name), "unknown field"), UNDECODABLE)
    if not isinstance(operator, str) or operator not in fields[name]:
        raise schema_error((name, f"unknown operator {operator}"), UNDECODABLE)
    if operator in UNARY:
        return SearchCondition(name, operator, None)
    value = item.get("value")
    if operator in LISTED:
        if not isinstance(value, list) or not all(isinstance(one, str | int | float) for one in value):
            raise schema_error((name, "value is a list"), UNDECODABLE)
        return SearchCondition(name, operator, frozenset(_folded(one) for one in value))
    if not isinstance(value, str | int | float):
        raise schema_error((name, "value is missing"), UNDECODABLE)
    return SearchCondition(name, operator, _folded(value))


def _holds(condition: SearchCondition, actual: Any) -> bool:
    operator, wanted = condition.operator, condition.value
    if operator in UNARY:
        return (actual not in (None, "", [])) == (operator == "exists")
    if isinstance(actual, datetime):
        actual, wanted = actual.replace(tzinfo=None), _moment(condition)
    actual = _folded(actual)
    if operator in LISTED:
        return (actual in wanted) == (operator == "in")
    if operator == "like":
        return str(wanted) in str(actual or "")
    if operator in ("eq", "!eq"):
        return bool(actual == wanted) == (operator == "eq")
    return isinstance(actual, str) == isinstance(wanted, str) and bool(_COMPARED[operator](actual, wanted))


def _moment(condition: SearchCondition) -> datetime:
    try:
        return datetime.fromisoformat(str(condition.value)).replace(tzinfo=None)
    except ValueError as error:
        raise schema_error((condition.field, "not a date"), UNDECODABLE) from error


def _folded(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


DEFAULT_ROWS, MOST_ROWS = 25, 100
MOST_ORDERED = 10_000
_Record = TypeVar("_Record", PimAsset, PimProduct)


@dataclass(frozen=True)
class PageAsked:
    """The page that is asked for; `order` is a field, with a minus for the other way round, or None."""

    number: int = 1
    size: int = DEFAULT_ROWS
    order: str | None = None


def read_columns(body: Mapping[str, Any], known: Sequence[str], most: int) -> list[str]:
    """The columns of a body, or the 422 for one that is not there and for too many."""
    columns = body.get("attributes") or []
    if not isinstance(columns, list):
        raise schema_error(("attributes", "Not a valid list."))
    if len(columns) > most:
        raise schema_error(("schema", f"columns limit exceeded, current limit is {most}"))
    unknown = [str(column) for column in columns if column not in known]
    if unknown:
        raise schema_error(*((name, "unknown column") for name in unknown))
    return columns


def read_page(body: Mapping[str, Any], orders: Sequence[str]) -> PageAsked:
    """The page of a body, or the 422 for a size above 100 and for an order that is not there."""
    asked = body.get("pagination") or {}
    if not isinstance(asked, dict):
        raise schema_error(("pagination", "Invalid input type."))
    page = PageAsked(asked.get("page", 1), asked.get("page_size", DEFAULT_ROWS), asked.get("order"))
    if type(page.number) is not int or page.number < 1:
        raise schema_error(("page", "page is a number from 1"))
    if type(page.size) is not int or not 1 <= page.size <= MOST_ROWS:
        raise schema_error(("page_size", f"page_size is a number from 1 to {MOST_ROWS}"))
    if page.order and str(page.order).removeprefix("-") not in orders:
        raise schema_error(("order", "unknown order"))
    return page


def cut(hits: list[_Record], page: PageAsked, value: Callable[[_Record, str], Any]) -> list[_Record]:
    """The rows of one page; raises the 428 for a sorted search that finds too much."""
    if page.order:
        if len(hits) > MOST_ORDERED:
            raise PimRefusalError(428, f"results cannot be ordered above {MOST_ORDERED}")
        name = page.order.removeprefix("-")
        hits = sorted(hits, key=lambda one: value(one, name), reverse=page.order.startswith("-"))
    return hits[(page.number - 1) * page.size : page.number * page.size]


def page_answer(page: PageAsked, rows: list[dict[str, Any]], matching: int, total: int, counts: Counts) -> SentReply:
    """The 200 of a search; `matching` records are found of `total`."""
    by_page = counts == "page of matches"
    return found(
        rows,
        pagination={
            "count": len(rows) if by_page else matching,
            "order": page.order,
            "page": page.number,
            "page_size": page.size,
            "total_count": matching if by_page else total,
        },
    )


ASSET_FIELDS: Fields = {
    **dict.fromkeys(("filename", "extension"), frozenset({"like", "eq", "!eq"})),
    "id": LISTED | {"eq", "!eq"},
    "file_type": LISTED,
    "assigned": frozenset({"eq"}),
    "categories": UNARY | LISTED,
    **dict.fromkeys(("file_size", "created", "modified"), ORDERED),
}
ASSET_ORDERS = ("id", "filename", "file_size", "created", "modified")
ASSET_COLUMNS = (
    *("id", "filename", "extension", "content_type", "file_type", "file_size", "status", "assigned", "n_products"),
    *("n_catalogs", "categories", "public", "has_custom_thumb", "created", "modified", "file_modified", "url"),
    THUMBNAIL,
)
PRODUCT_FIELDS: Fields = {
    **dict.fromkeys(("sku", "status"), TEXT | LISTED),
    **dict.fromkeys(("label", "gtin"), TEXT),
    **dict.fromkeys(("created", "modified"), ORDERED),
    **dict.fromkeys(("categories", "assets", "images", THUMBNAIL), UNARY),
    "product_level": ORDERED | LISTED,
}
PRODUCT_ORDERS = ("id", "sku", "modified")
PRODUCT_COLUMNS = (
    *("id", "sku", "label", "gtin", "status", "created", "modified", "categories", "product_level", "product_type"),
    *("num_variations", "overwritten_attributes", THUMBNAIL, "assets", "images"),
)
ATTRIBUTE = "attributes."


def search_assets(pim: Pim, ask: PimAsk) -> SentReply:
    """POST /assets/search: only the id comes back, and the columns that are asked for."""
    body = ask.fields()
    if "filters" not in body:
        raise schema_error(("filters", "Missing data for required field."))
    filters = read_filters(body["filters"], ASSET_FIELDS, pim.switches.groups_most)
    columns = read_columns(body, ASSET_COLUMNS, pim.switches.columns_most)
    page = read_page(body, ASSET_ORDERS)
    # Young ones are known only later, deleted ones a little longer, with the switches.
    ripe = pim.account.clock.now() - timedelta(seconds=pim.switches.search_delay)
    there = [one for one in pim.account.assets.values() if one.created <= ripe and pim.account.asset(one.id) is one]
    hits = [asset for asset in there if matches(filters, partial(_asset_value, pim.account, asset))]
    # Counting the products of an asset looks at all of them.
    counted = "assigned" in columns or "n_products" in columns
    rows = []
    for asset in cut(hits, page, getattr):
        whole = asset_json(pim.host, asset, products_with(pim.account, asset) if counted else 0)
        rows.append({"id": asset.id} | {column: whole[column] for column in columns})
    return page_answer(page, rows, len(hits), len(there), pim.switches.counts)


def search_products(pim: Pim, ask: PimAsk) -> SentReply:
    """POST /products/search: id and SKU come back, and the columns that are asked for."""
    body = ask.fields()
    account = pim.account
    filters = read_filters(body.get("filters", []), _product_fields(pim), pim.switches.groups_most)
    most = pim.switches.in_most
    lists = [one.value for group in filters for one in group if one.field == "sku" and one.operator in LISTED]
    if any(len(skus) > most for skus in lists):
        raise schema_error(("sku", f"at most {most} values"), UNDECODABLE)
    known = (*PRODUCT_COLUMNS, *(ATTRIBUTE + label for label in account.attributes))
    columns = read_columns(body, known, pim.switches.columns_most)
    page = read_page(body, (*PRODUCT_ORDERS, *(ATTRIBUTE + label for label in account.attributes)))
    hits = [one for one in account.products.values() if matches(filters, partial(_product_value, account, one))]
    rows = [
        _product_row(pim, product, columns, ask.version) for product in cut(hits, page, partial(_order_value, account))
    ]
    return page_answer(page, rows, len(hits), len(account.products), pim.switches.counts)


def _asset_value(account: PimAccount, asset: PimAsset, name: str) -> Any:
    if name == "file_type":
        return file_type_of(asset)
    if name == "assigned":
        return products_with(account, asset) > 0
    # Categories of assets are not played; every asset has none.
    return None if name == "categories" else getattr(asset, name)


def _product_fields(pim: Pim) -> Fields:
    """The fields of a product search, with the attributes of the account; `in` on SKUs can be switched off."""
    attributes = {
        ATTRIBUTE + label: TEXT if attribute.type is AttributeType.TEXT else UNARY
        for label, attribute in pim.account.attributes.items()
    }
    skus = {"sku": TEXT} if pim.switches.in_refused else {}
    return {**PRODUCT_FIELDS, **attributes, **skus}


def _product_value(account: PimAccount, product: PimProduct, name: str) -> Any:
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


def _order_value(account: PimAccount, product: PimProduct, name: str) -> Any:
    """What products are ordered by; those without a value come first."""
    value = _product_value(account, product, name)
    return value if value is not None else ""


def _product_row(pim: Pim, product: PimProduct, columns: list[str], version: int) -> dict[str, Any]:
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
