"""What is sent: lists of images as JSON, filters as text, and how long they are (docs/contracts/moysklad.md).

The limit of 20 MB counts the encoded JSON, so it is counted on what is really sent.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from imagesync_pipelines.connectors.moysklad.model import EntityType, KeptImage, NewImage

Part = NewImage | KeptImage
MOST_BYTES = 20_000_000
# Values of one filter: the whole head of a request has 8 KB, and a Cyrillic letter takes six bytes of it.
MOST_VALUES = 180
MOST_FILTER_BYTES = 6_000


def entity_href(url: str, kind: EntityType, entity_id: str) -> str:
    """The address of an entity below the API's URL."""
    return f"{url.rstrip('/')}/entity/{kind}/{entity_id}"


def meta_of(href: str, kind: str) -> dict[str, Any]:
    """How one object names another."""
    return {"meta": {"href": href, "type": kind, "mediaType": "application/json"}}


def part_json(url: str, kind: EntityType, entity_id: str, part: Part) -> dict[str, Any]:
    """One element of a list of images: file name and content, or the name of what is there."""
    if isinstance(part, KeptImage):
        return meta_of(f"{entity_href(url, kind, entity_id)}/images/{part.id}", "image")
    return {"filename": part.filename, "content": base64.b64encode(part.content).decode("ascii")}


def part_size(url: str, kind: EntityType, entity_id: str, part: Part) -> int:
    """Bytes that one element takes in the body, with its comma; nothing is encoded for it."""
    if isinstance(part, KeptImage):
        return len(orjson.dumps(part_json(url, kind, entity_id, part))) + 1
    frame = len(orjson.dumps({"filename": part.filename, "content": ""}))
    return frame + 4 * ((len(part.content) + 2) // 3) + 1


def list_body(url: str, kind: EntityType, entity_id: str, parts: Sequence[Part]) -> bytes:
    """The body that sets the list of images of one entity."""
    return orjson.dumps([part_json(url, kind, entity_id, part) for part in parts])


def element_at(url: str, kind: EntityType, entity_id: str, parts: Sequence[Part], column: int) -> int | None:
    """The index of the element of a list's body that has this character (from 1); None for one between two of them."""
    begin = 2
    for index, part in enumerate(parts):
        frame = NewImage(part.filename, b"") if isinstance(part, NewImage) else part
        text = orjson.dumps(part_json(url, kind, entity_id, frame)).decode()
        length = len(text) + part_size(url, kind, entity_id, part) - part_size(url, kind, entity_id, frame)
        if begin <= column < begin + length:
            return index
        begin += length + 1
    return None


def bulk_body(url: str, kind: EntityType, lists: Mapping[str, Sequence[Part]]) -> bytes:
    """The body that sets the lists of several entities, in the mapping's order."""
    return orjson.dumps(
        [
            meta_of(entity_href(url, kind, entity_id), kind)
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
