"""The fields of an answer: entities, images, times (contract sections 6 and 7).

What belongs here: turning rows of JSON into the connector's model. What does not: asking for them (account.py). An
image has no `id`: it is the last part of its address. Times are Moscow's.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from imagesync_pipelines.connectors.moysklad.api.limits import MOSCOW
from imagesync_pipelines.connectors.moysklad.model import TYPES, Entity, EntityType, ImageRow


class RowError(ValueError):
    """A row lacks a field or has a wrong one; the message names it."""


def moscow_time(moment: datetime) -> str:
    """A moment (with its zone) as filters take it."""
    return moment.astimezone(MOSCOW).strftime("%Y-%m-%d %H:%M:%S")


def type_of(row: Mapping[str, Any]) -> EntityType | None:
    """The type of a row of a list; None for what has no images of its own (services, consignments)."""
    named = _object(row, "meta").get("type")
    return next((known for known in TYPES if known == named), None)


def id_of(row: Mapping[str, Any]) -> str:
    """The id of a row. Raises RowError."""
    return _text(row, "id")


def entity_of(row: Mapping[str, Any]) -> Entity:
    """An entity of a list or an answer. Raises RowError."""
    kind = type_of(row)
    if kind is None:
        raise RowError("meta.type is neither product, bundle nor variant")
    images = row.get("images")
    about = images if isinstance(images, dict) else {}
    rows = about.get("rows")
    count = _object(about, "meta").get("size") if about else None
    return Entity(
        type=kind,
        id=id_of(row),
        name=_optional(row, "name"),
        external_code=_optional(row, "externalCode"),
        code=_optional(row, "code"),
        article=_optional(row, "article"),
        barcodes=_barcodes(row.get("barcodes")),
        archived=row.get("archived") is True,
        product_id=_last(_text(_object(_object(row, "product"), "meta"), "href")) if kind == "variant" else "",
        updated=_moment(row),
        image_count=count if isinstance(count, int) else -1,
        images=tuple(image_of(image) for image in rows) if isinstance(rows, list) else None,
        account_id=_optional(row, "accountId").lower(),
    )


def image_of(row: object) -> ImageRow:
    """One image of an entity. Raises RowError."""
    if not isinstance(row, dict):
        raise RowError("an image is no object")
    meta = _object(row, "meta")
    size = row.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise RowError("size of an image is no number")
    return ImageRow(
        id=_last(_text(meta, "href")),
        filename=_optional(row, "filename"),
        size=size,
        title=_optional(row, "title"),
        updated=_moment(row),
        download_href=_optional(meta, "downloadHref"),
        permanent_href=_optional(meta, "downloadPermanentHref"),
    )


def _barcodes(value: object) -> tuple[str, ...]:
    """The codes of all kinds: each is an object of one kind and its digits."""
    entries = value if isinstance(value, list) else []
    return tuple(str(code) for entry in entries if isinstance(entry, dict) for code in entry.values())


def _object(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = row.get(name)
    if not isinstance(value, dict):
        raise RowError(f"{name} is missing or no object")
    return value


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value:
        raise RowError(f"{name} is missing or no text")
    return value


def _optional(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def _moment(row: Mapping[str, Any]) -> datetime:
    try:
        return datetime.fromisoformat(_text(row, "updated")).replace(tzinfo=MOSCOW)
    except ValueError:
        raise RowError("updated is no date and time") from None


def _last(href: str) -> str:
    return href.partition("?")[0].rstrip("/").rpartition("/")[2]
