"""What is sent, what an answer holds and what a refusal means (docs/contracts/moysklad.md).

An image has no `id`: it is the last part of its address. Times are Moscow's. The size of an image and the time of an
entity only describe. A refusal's body may be empty, HTML of a proxy, or lack the code; texts are for people only and
never decide, but one: the number of megabytes that 51004 names.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote

import orjson
from pydantic import Field, TypeAdapter
from pydantic.functional_validators import PlainValidator

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.moysklad import errors
from imagesync_pipelines.connectors.moysklad.model import (
    TYPES,
    UNKNOWN_SIZE,
    Entity,
    EntityType,
    ImageRow,
    KeptImage,
    Part,
)
from imagesync_pipelines.errors import error_reason
from imagesync_pipelines.languages import N_
from imagesync_pipelines.upstream.answers import Answer, Place
from imagesync_pipelines.upstream.details import ADDRESS_CHARACTERS, KEY_CHARACTERS, keepable, read_details
from imagesync_pipelines.upstream.errors import BadAnswerError, RateLimitedError, UnavailableError, UpstreamError

# Values of one filter: the whole head of a request has 8 KB, and a Cyrillic letter takes six bytes of it.
MOST_VALUES = 180
MOST_FILTER_BYTES = 6_000
MOSCOW = timezone(timedelta(hours=3), "MSK")


class RowError(ValueError):
    """A row lacks a field or has a wrong one; the message names it."""


def moscow_time(moment: datetime) -> str:
    """A moment (with its zone) as filters take it."""
    return moment.astimezone(MOSCOW).strftime("%Y-%m-%d %H:%M:%S")


def type_of(row: Mapping[str, Any]) -> EntityType | None:
    """The type of a row of a list; None for what has no images of its own (services, consignments)."""
    named = _object(row, "meta").get("type")
    return next((known for known in TYPES if known == named), None)


def _moment(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError("no text")
    return datetime.fromisoformat(value).replace(tzinfo=MOSCOW)


class _EntityDetails(NamedTuple):
    updated: Annotated[datetime | None, PlainValidator(_moment)] = None


class _ImageDetails(NamedTuple):
    size: Annotated[int, Field(strict=True, ge=0)] = UNKNOWN_SIZE


_OF_ENTITY, _OF_IMAGE = TypeAdapter(_EntityDetails), TypeAdapter(_ImageDetails)
Told = Callable[[str, str], object]
"""Hears of details that cannot be read: of what, and which."""


def entity_of(row: Mapping[str, Any], told: Told = lambda of, what: None) -> Entity:
    """An entity of a list or an answer. Raises RowError."""
    kind = type_of(row)
    if kind is None:
        raise RowError("meta.type is neither product, bundle nor variant")
    images = row.get("images")
    about = images if isinstance(images, dict) else {}
    rows = about.get("rows")
    count = _object(about, "meta").get("size") if about else None
    # Each is an object of one kind and its digits.
    codes = row["barcodes"] if isinstance(row.get("barcodes"), list) else []
    entity_id = _text(row, "id")
    details, left_out = read_details(_OF_ENTITY, {"updated": row.get("updated")}, ["updated"])
    for what in left_out:
        told(f"{kind}:{entity_id}", what)
    return Entity(
        type=kind,
        id=entity_id,
        # Only describes it.
        name=keepable(str(row.get("name") or ""))[:KEY_CHARACTERS],
        external_code=_optional(row, "externalCode"),
        code=_optional(row, "code"),
        article=_optional(row, "article"),
        barcodes=tuple(
            keepable(code)
            for one in codes
            if isinstance(one, dict)
            for code in map(str, one.values())
            if len(code) <= KEY_CHARACTERS
        ),
        archived=row.get("archived") is True,
        product_id=_last(_text(_object(_object(row, "product"), "meta"), "href")) if kind == "variant" else "",
        updated=details.updated,
        image_count=count if isinstance(count, int) else -1,
        images=tuple(image_of(image, told) for image in rows) if isinstance(rows, list) else None,
        account_id=_optional(row, "accountId").lower(),
    )


def image_of(row: object, told: Told = lambda of, what: None) -> ImageRow:
    """One image of an entity. Raises RowError."""
    if not isinstance(row, dict):
        raise RowError("an image is no object")
    meta, sent = _object(row, "meta"), row.get("filename")
    image_id = _last(_text(meta, "href"))
    filename = keepable(sent) if isinstance(sent, str) else ""
    if len(filename) > KEY_CHARACTERS:  # it only describes; its extension is kept
        told(f"image {image_id}", f"filename of {len(filename)} characters")
        filename = filename[-KEY_CHARACTERS:]
    details, left_out = read_details(_OF_IMAGE, {"size": row.get("size")}, ["size"])
    for what in left_out:
        told(f"image {filename or image_id}", what)
    return ImageRow(
        id=image_id,
        filename=filename,
        size=details.size,
        download_href=_optional(meta, "downloadHref"),
        permanent_href=_optional(meta, "downloadPermanentHref"),
    )


def _object(row: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = row.get(name)
    if not isinstance(value, dict):
        raise RowError(f"{name} is missing or no object")
    return value


def _text(row: Mapping[str, Any], name: str) -> str:
    value = _optional(row, name)
    if not value:
        raise RowError(f"{name} is missing or no text")
    return value


def _optional(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        return ""
    longest = ADDRESS_CHARACTERS if name.lower().endswith("href") else KEY_CHARACTERS
    if len(value) > longest:
        raise RowError(f"{name} has {len(value)} characters; {longest} fit")
    return keepable(value)


def _last(href: str) -> str:
    return href.partition("?")[0].rstrip("/").rpartition("/")[2]


@dataclass(frozen=True)
class AssortmentPage:
    """A page of entities. size: how many the whole list has. illegible: key to reason of rows that lack something.

    offset: place of the page in its list. left_out: details that cannot be read, of what and which.
    """

    entities: tuple[Entity, ...]
    offset: int
    size: int
    illegible: Mapping[str, str] = field(default_factory=dict)
    left_out: Sequence[tuple[str, str]] = ()


def rows_of(reply: Answer) -> tuple[list[Mapping[str, Any]], int]:
    """Rows and size of a list. Raises BadAnswerError."""
    data = reply.data if isinstance(reply.data, dict) else {}
    rows, meta = data.get("rows"), data.get("meta")
    size = meta.get("size") if isinstance(meta, dict) else None
    if not isinstance(rows, list) or not isinstance(size, int) or any(not isinstance(row, dict) for row in rows):
        raise reply.error(
            BadAnswerError, languages.told(f"HTTP {reply.status} without the list `rows` and its `meta.size`")
        )
    return rows, size


def page_of(rows: Sequence[Mapping[str, Any]], offset: int, size: int) -> AssortmentPage:
    entities, illegible = [], {}
    left_out: list[tuple[str, str]] = []
    for place, row in enumerate(rows, offset):
        key = languages.told(f"row {place}")
        try:
            kind = type_of(row)
            key = f"{kind}:{_text(row, 'id')}"
            if kind is not None:
                entities.append(entity_of(row, lambda of, what: left_out.append((of, what))))
        except RowError as error:
            illegible[key] = str(error)
        except Exception as error:  # noqa: BLE001 - whatever one row does to a library, the others are read
            illegible[key] = error_reason(error)
    return AssortmentPage(tuple(entities), offset, size, illegible, left_out)


def images_in(element: object, entity_id: str) -> tuple[ImageRow, ...] | None:
    """The images in the answer to a write of this entity.

    None where their rows were left out or cannot be read, or where the answer is about another entity.
    """
    try:
        entity = entity_of(element) if isinstance(element, dict) else None
    except RowError:
        return None
    return entity.delivered if entity is not None and entity.id == entity_id else None


# The server says that it could not, so nothing was carried out; 1083 and 1036 are failures in the middle.
NOT_CARRIED_OUT = frozenset({51007, 1074, 1095})
_KINDS: dict[int, type[UpstreamError]] = {
    **dict.fromkeys((51001, 51002, 51005), errors.NotAnImageError),
    51003: errors.StorageFullError,
    51004: errors.ImageTooLargeError,
    1002: errors.UnknownPathError,
    **dict.fromkeys((1044, 2007, 2022, 1088), errors.TooLargeError),
    **dict.fromkeys((1049, 1073), RateLimitedError),
    **dict.fromkeys((1048, 1056, 1061), errors.AccountRefusedError),
    **dict.fromkeys((1016, 1017, 1018, 1045, 1075, 1070, 47000), errors.AccountForbiddenError),
    **dict.fromkeys((1020, 1021, 1008), errors.EntityGoneError),
    1065: errors.ChangedMeanwhileError,
    **dict.fromkeys((51007, 1074, 1095, 1083, 1036), UnavailableError),
}
_STATUSES: dict[int, type[UpstreamError]] = {
    401: errors.AccountRefusedError,
    403: errors.AccountForbiddenError,
    # Proxies answer so; that an entity is gone, only МойСклад's own number says.
    404: UnavailableError,
    410: UnavailableError,
    413: errors.TooLargeError,
    429: RateLimitedError,
    **dict.fromkeys((500, 502, 503, 504), UnavailableError),
}
_HINTS: dict[type[UpstreamError], str] = {
    errors.AccountRefusedError: N_("; check the token, or login and password, in the accounts file"),
    errors.AccountForbiddenError: N_("; check the rights of this account's user, and its tariff"),
    errors.StorageFullError: N_("; the account's owner must make room"),
}
_MEGABYTES = re.compile(r"(\d+(?:[.,]\d+)?)\s*(?:МБ|Мб|мб|MB|Mb|mb|мегабайт)")


def errors_of(data: object) -> list[Mapping[str, Any]]:
    """The entries of `errors` in a body, or in one element of a bulk answer; none where there are none."""
    entries = data.get("errors") if isinstance(data, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def code_of(data: object) -> int | None:
    """The first code that a body names."""
    codes = (entry.get("code") for entry in errors_of(data))
    return next((code for code in codes if isinstance(code, int) and not isinstance(code, bool)), None)


def refusal(place: Place, status: int, data: object, *, write: bool) -> UpstreamError:
    """The error that an answer means, with what its entry says about where it is."""
    entries, code = errors_of(data), code_of(data)
    fallback = errors.ImagesRefusedError if write else UpstreamError
    kind = _KINDS.get(code, fallback) if code is not None else _STATUSES.get(status, fallback)
    number = languages.told(f", error {code}") if code is not None else ""
    said = "; ".join(filter(None, (str(entry.get("error_message") or entry.get("error") or "") for entry in entries)))
    # What is said about credentials may repeat them.
    refused = kind is errors.AccountRefusedError
    words = (
        languages.told("the credentials were refused") if refused else said[:200] or languages.told("no reason given")
    )
    error = place.error(kind, f"HTTP {status}{number}: {words}{_HINTS.get(kind, '')}", status=status)
    if isinstance(error, errors.ImagesRefusedError):
        entry = next((entry for entry in entries if entry.get("code") == code), {})
        column = entry.get("column")
        error.code = code
        error.column = column if isinstance(column, int) and entry.get("line") in (None, 1) else None
        found = re.search(r"\[(\d+)\]", str(entry.get("parameter") or ""))
        error.element = int(found.group(1)) if found else None
        size = _MEGABYTES.search(f"{entry.get('error') or ''} {entry.get('error_message') or ''}")
        if isinstance(error, errors.ImageTooLargeError) and size:
            error.limit_bytes = round(float(size.group(1).replace(",", ".")) * 1_000_000)
    return error


def _meta(url: str, path: str, kind: str) -> dict[str, Any]:
    return {"meta": {"href": f"{url.rstrip('/')}/{path}", "type": kind, "mediaType": "application/json"}}


def encoded_size(filename: str, size: int) -> int:
    """Bytes that an image takes in a request: base64, its name, its frame and a comma."""
    return len(orjson.dumps({"filename": filename, "content": ""})) + 4 * ((size + 2) // 3) + 1


def part_json(url: str, kind: EntityType, entity_id: str, part: Part) -> dict[str, Any]:
    """One element of a list of images: file name and content, or the name of what is there."""
    if isinstance(part, KeptImage):
        return _meta(url, f"entity/{kind}/{entity_id}/images/{part.id}", "image")
    return {"filename": part.filename, "content": base64.b64encode(part.content).decode("ascii")}


def list_body(url: str, kind: EntityType, entity_id: str, parts: Sequence[Part]) -> bytes:
    """The body that sets the list of images of one entity."""
    return orjson.dumps([part_json(url, kind, entity_id, part) for part in parts])


def element_at(url: str, kind: EntityType, entity_id: str, parts: Sequence[Part], column: int) -> int | None:
    """The index of the element of a list's body that has this character (from 1); None for one between two of them."""
    begin = 2
    for index, part in enumerate(parts):
        length = len(orjson.dumps(part_json(url, kind, entity_id, part)).decode())
        if begin <= column < begin + length:
            return index
        begin += length + 1
    return None


def bulk_body(url: str, kind: EntityType, lists: Mapping[str, Sequence[Part]]) -> bytes:
    """The body that sets the lists of several entities, in the mapping's order."""
    return orjson.dumps(
        [
            _meta(url, f"entity/{kind}/{entity_id}", kind)
            | {"images": [part_json(url, kind, entity_id, part) for part in parts]}
            for entity_id, parts in lists.items()
        ]
    )


def either(field: str, values: Sequence[str]) -> str:
    """A filter that a field has one of these values."""
    return ";".join(f"{field}={_escaped(value)}" for value in values)


def filter_portions(field: str, values: Sequence[str]) -> Iterator[list[str]]:
    """Values in lists that fit into one filter each, order kept."""
    portion: list[str] = []
    length = 0
    for value in values:
        size = len(quote(f"{field}={_escaped(value)};", safe=""))
        if portion and (len(portion) == MOST_VALUES or length + size > MOST_FILTER_BYTES):
            yield portion
            portion, length = [], 0
        portion.append(value)
        length += size
    if portion:
        yield portion


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(";", "\\;")
