"""Reading the fields of Plytix's answers: products, assets, errors (contract plytix.md, sections 4, 5 and 7).

What belongs here: what a row means in all the forms that v1 and v2 send it. What does not: calls (pim.py).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from imagesync_pipelines.connectors.plytix.model import Asset, PlytixProduct
from imagesync_pipelines.upstream.answers import Answer
from imagesync_pipelines.upstream.errors import BadAnswerError

_ID = re.compile(r"[0-9a-f]{24}")
_LONGEST_WORDS = 200


def rows_in(answer: Answer) -> list[Mapping[str, Any]]:
    """The rows of the envelope. Raises BadAnswerError when there is none."""
    rows = answer.data.get("data") if isinstance(answer.data, dict) else None
    if not answer.good or not isinstance(rows, list) or any(not isinstance(row, dict) for row in rows):
        raise answer.error(BadAnswerError, f"HTTP {answer.status} without the list `data` that was expected")
    return rows


def row_in(answer: Answer) -> Mapping[str, Any]:
    """The only row of the envelope. Raises BadAnswerError when there is not exactly one."""
    rows = rows_in(answer)
    if len(rows) != 1:
        raise answer.error(BadAnswerError, f"{len(rows)} rows came where one was expected")
    return rows[0]


def product_from_row(row: Mapping[str, Any], gallery: str) -> PlytixProduct:
    """A product of a search, a get or a patch; `gallery` is the label of the gallery attribute.

    Raises BadAnswerError for a row without id or SKU, and for a gallery that cannot be read: merged with an unread one,
    a patch would wipe it.
    """
    product_id, sku = row.get("id"), row.get("sku")
    if not isinstance(product_id, str) or not product_id or not isinstance(sku, str) or not sku:
        raise BadAnswerError("a product came without id or SKU")
    attributes = row.get("attributes")
    held = attributes.get(gallery) if isinstance(attributes, dict) else None
    if held is None:
        held = row.get(f"attributes.{gallery}")
    try:
        thumbnails = asset_ids(row.get("thumbnail"))
        images = asset_ids(held)
    except ValueError as error:
        raise BadAnswerError(f"product {sku}: {error}") from None
    parent = row.get("_parent_id") or row.get("parent_id")
    return PlytixProduct(
        id=product_id,
        sku=sku,
        thumbnail=thumbnails[0] if thumbnails else None,
        gallery=images,
        parent_id=parent if isinstance(parent, str) else None,
    )


def asset_ids(value: object) -> tuple[str, ...]:
    """The asset ids of a media value, in order: an object, an id, a list of either, or nothing.

    Raises ValueError for anything else.
    """
    if value is None or value == "":
        return ()
    if isinstance(value, list):
        return tuple(dict.fromkeys(asset_id for item in value for asset_id in asset_ids(item)))
    if isinstance(value, dict):
        value = value.get("id")
    if not isinstance(value, str) or not value:
        raise ValueError("a media value is neither an asset nor the id of one")
    return (value,)


def asset_from_row(row: Mapping[str, Any], filename: str) -> Asset:
    """An asset of an answer; `filename` where the answer does not name it. Raises BadAnswerError for one without id."""
    asset_id, name, size = row.get("id"), row.get("filename"), row.get("file_size")
    if not isinstance(asset_id, str) or not asset_id:
        raise BadAnswerError("an asset came without id")
    counted = isinstance(size, int) and not isinstance(size, bool)
    return Asset(asset_id, name if isinstance(name, str) and name else filename, size if counted else None)


def existing_asset_id(data: object) -> str | None:
    """The id that a refused upload (409) names: the message of the field `asset.id`, if it is one (contract 5.1)."""
    for field, message in _problems(data):
        if field == "asset.id" and isinstance(message, str) and _ID.fullmatch(message):
            return message
    return None


def refused_fields(data: object) -> frozenset[str]:
    """The fields that an error names."""
    return frozenset(field for field, _ in _problems(data))


def server_words(data: object) -> str:
    """What an error says, in one line: its message and what it has against which field."""
    error = data.get("error") if isinstance(data, dict) else None
    message = error.get("msg") if isinstance(error, dict) else None
    if message is None and isinstance(data, dict):
        message = data.get("message") or data.get("detail")
    parts = [str(message)] if message else []
    parts += [f"{field}: {text}" for field, text in _problems(data)]
    line = " ".join("; ".join(parts).split())
    return "".join(c for c in line if c.isprintable())[:_LONGEST_WORDS] or "it does not say why"


def _problems(data: object) -> Iterator[tuple[str, object]]:
    """The pairs of field and message in `error.errors`; a message may be a text, a number or an object."""
    error = data.get("error") if isinstance(data, dict) else None
    items = error.get("errors") if isinstance(error, dict) else None
    for item in items if isinstance(items, list) else []:
        if isinstance(item, dict):
            yield str(item.get("field")), item.get("msg")
