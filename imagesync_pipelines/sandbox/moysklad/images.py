"""Writing the images of one entity: add, set, keep by meta, delete; what is refused and why (contract sections 5, 7).

What belongs here: those rules and their endpoints. What does not: when an entity's own write sets them (entities.py).
"""

import base64
import binascii
import json
from collections.abc import Sequence
from io import BytesIO
from typing import Any

from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from imagesync_pipelines.sandbox.moysklad.answers import Answer, Json, Refused, answered, malformed, refused
from imagesync_pipelines.sandbox.moysklad.lists import read_page, window_of
from imagesync_pipelines.sandbox.moysklad.model import MOST_IMAGES, Account, Entity, Image
from imagesync_pipelines.sandbox.moysklad.office import Ask, Office
from imagesync_pipelines.sandbox.moysklad.rendering import Shape, image_json, images_of, images_url, shape_of
from imagesync_pipelines.sandbox.moysklad.switches import BadElement, BadElementNamed, EmptyArray, SameMeta
from imagesync_pipelines.sandbox.moysklad.webhooks import UPDATE

LONGEST_NAME = 255
_OFFICIAL, _OTHERS = ("JPEG", "PNG"), ("JPEG", "PNG", "GIF", "WEBP", "BMP")
_IMAGES, _IMAGE = "images", "image"


def list_images(ask: Ask) -> Answer:
    """GET /entity/{type}/{id}/images."""
    entity = ask.account.entity(ask.type, ask.ids["entity"])
    shape, page = shape_of(ask), read_page(ask.query)
    images = images_of(ask.account, entity)
    rows = [image_json(ask.office, ask.account, entity, image, shape) for image in images[page.offset :][: page.limit]]
    url = images_url(ask.office, entity)
    return answered({"meta": window_of(url, _IMAGE, len(images), page, ask.query), "rows": rows})


def post_images(ask: Ask) -> Answer:
    """POST /entity/{type}/{id}/images: one object adds, an array sets the list; the answer is all images."""
    entity = ask.account.entity(ask.type, ask.ids["entity"])
    if isinstance(ask.body, list):
        if not ask.body and ask.office.switches.empty_array is EmptyArray.REFUSED:
            raise refused(1027)
        set_list(ask.office, ask.account, entity, ask.body, ask.raw)
    elif isinstance(ask.body, dict):
        _show(ask.office, ask.account, entity, [*entity.images, _made(ask.office, ask.account, entity, ask.body)])
    else:
        raise refused(1027 if ask.body is None else 2000)
    written(ask, entity)
    shape = Shape(expand=True, permanent=False)
    return answered([image_json(ask.office, ask.account, entity, image, shape) for image in entity.images])


def delete_image(ask: Ask) -> Answer:
    """DELETE /entity/{type}/{id}/images/{image}: the first with this id goes."""
    entity = ask.account.entity(ask.type, ask.ids["entity"])
    ask.account.show(entity, _without(entity.images, ask.ids["image"]))
    written(ask, entity)
    return Answer()


def delete_images(ask: Ask) -> Answer:
    """POST /entity/{type}/{id}/images/delete: the first of each named id goes; all or nothing."""
    entity = ask.account.entity(ask.type, ask.ids["entity"])
    if not isinstance(ask.body, list):
        raise refused(2000)
    after: Sequence[Image] = entity.images
    for element in ask.body:
        after = _without(after, _id_of_meta(element))
    ask.account.show(entity, after)
    written(ask, entity)
    return Answer()


def written(ask: Ask, entity: Entity) -> None:
    """What a write of images does beside them: the stamp of the entity, a webhook."""
    switches = ask.office.switches
    if switches.image_write_bumps_updated:
        ask.account.touch(entity)
    if switches.image_write_fires_webhook:
        ask.note(entity, UPDATE, switches.image_field_name)


def set_list(
    office: Office, account: Account, entity: Entity, elements: list[Any], raw: bytes = b"", *, inline: bool = False
) -> None:
    """Make the elements the entity's list: what is not among them goes. Raises Refused; then the list stays."""
    after: list[Image] = []
    for place, element in enumerate(elements):
        try:
            after.append(_element(office, account, entity, element, after, inline=inline))
        except Refused as error:
            if office.switches.bad_element is BadElement.REST:
                continue
            raise _named(error, office.switches.bad_element_named, place, raw) from error
    kept = [_id_of_meta(element) for element in elements if _is_meta(element)]
    if len(kept) != len(set(kept)):
        if office.switches.same_meta is SameMeta.REFUSED:
            raise refused(3013)
        if office.switches.same_meta is SameMeta.ONCE:
            after = list(dict.fromkeys(after))
    _show(office, account, entity, after)


def _element(
    office: Office, account: Account, entity: Entity, element: Any, beside: Sequence[Image], *, inline: bool
) -> Image:
    if not isinstance(element, dict):
        raise refused(2000)
    if not _is_meta(element):
        return _made(office, account, entity, element, beside)
    if inline and not office.switches.inline_keep_by_meta:
        raise refused(2013, "meta")
    image_id = _id_of_meta(element)
    own = next((image for image in entity.images if image.id == image_id), None)
    if own is not None and f"/{entity.type}/{entity.id}/" in str(element["meta"].get("href")):
        return own
    if image_id not in account.images or not account.shown[image_id]:
        raise refused(2013, "meta")
    if not office.switches.foreign_meta_adds:
        raise refused(3033, "meta")
    other = account.images[image_id]
    return account.image_of(entity, other.filename, other.content)


def _made(office: Office, account: Account, entity: Entity, element: Json, beside: Sequence[Image] = ()) -> Image:
    """The image that name and content of an element make; raises 51001, 51002, 51004 and 51005."""
    filename, encoded = element.get("filename"), element.get("content")
    if not isinstance(filename, str) or not filename:
        raise refused(51005, "filename")
    if len(filename) > LONGEST_NAME:
        raise malformed(f"Длина поля filename не должна превышать {LONGEST_NAME}", "filename", 412)
    if not isinstance(encoded, str) or not encoded:
        raise refused(51001, "content")
    try:
        content = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise refused(51002, "content") from error
    limit = office.switches.image_megabytes
    if len(content) > limit * 1_000_000:
        raise refused(51004, "content", limit=f"{limit:g}")
    image = account.image_of(entity, filename, content, beside)
    if not account.shown[image.id]:
        _decode(content, _OTHERS if office.switches.other_formats else _OFFICIAL)
    return image


def _decode(content: bytes, formats: tuple[str, ...]) -> None:
    try:
        with Pillow.open(BytesIO(content), formats=formats) as picture:
            picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
        raise refused(51002, "content") from error


def _show(office: Office, account: Account, entity: Entity, images: Sequence[Image]) -> None:
    if len(images) > MOST_IMAGES:
        raise refused(51006, limit=MOST_IMAGES)
    account.show(entity, images)


def _is_meta(element: Any) -> bool:
    return isinstance(element, dict) and isinstance(element.get("meta"), dict) and "content" not in element


def _id_of_meta(element: Any) -> str:
    """The id of an image that is named by meta: the end of its address."""
    href = element["meta"].get("href") if _is_meta(element) else None
    if not isinstance(href, str):
        raise refused(2013, "meta")
    return href.rpartition("/")[2]


def _without(images: Sequence[Image], image_id: str) -> list[Image]:
    place = next((place for place, image in enumerate(images) if image.id == image_id), None)
    if place is None:
        raise refused(1021)
    return [image for nth, image in enumerate(images) if nth != place]


def _named(error: Refused, how: BadElementNamed, place: int, raw: bytes) -> Refused:
    """The same error, telling which element of the array it is about as far as the switch lets it."""
    if how is BadElementNamed.PARAMETER:
        return Refused(error.code, error.text, error.status, f"[{place}].{error.parameter}".rstrip("."))
    if how is BadElementNamed.COLUMN and raw:
        line, column = _position(raw.decode(), place)
        return Refused(error.code, error.text, error.status, error.parameter, {"line": line, "column": column})
    return Refused(error.code, error.text, error.status)


def _position(text: str, place: int) -> tuple[int, int]:
    """Line and column, from 1, at which an element of a JSON array begins."""
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    for _ in range(place + 1):
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n,"))
        start = at
        _, at = decoder.raw_decode(text, at)
    return text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
