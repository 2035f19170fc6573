"""Writing images and entities: what is refused and why, partial success of bulk writes (docs/contracts/moysklad.md)."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

from PIL import Image as Pillow
from PIL import UnidentifiedImageError

from imagesync_pipelines.sandbox.answers import SentReply, replied
from imagesync_pipelines.sandbox.moysklad.answers import Json, RemapRefusalError, malformed, refused
from imagesync_pipelines.sandbox.moysklad.lists import (
    Shape,
    context_of,
    entity_json,
    image_json,
    images_of,
    images_url,
    read_page,
    shape_of,
    window_of,
)
from imagesync_pipelines.sandbox.moysklad.model import (
    MOST_IMAGES,
    WITH_IMAGES,
    BadElementNamed,
    EntityType,
    ListForm,
    StockEntity,
    StockImage,
)
from imagesync_pipelines.sandbox.moysklad.office import Ask
from imagesync_pipelines.sandbox.moysklad.webhooks import CREATE, DELETE, UPDATE

LONGEST_NAME = 255
_OFFICIAL, _OTHERS = ("JPEG", "PNG"), ("JPEG", "PNG", "GIF", "WEBP", "BMP")
_IMAGES, _IMAGE = "images", "image"


def list_images(ask: Ask) -> SentReply:
    """GET /entity/{type}/{id}/images."""
    entity = ask.entity()
    shape, page = shape_of(ask), read_page(ask.query)
    images = images_of(ask.account, entity)
    rows = [image_json(ask, entity, image, shape) for image in images[page.offset :][: page.limit]]
    url = images_url(ask.office, entity)
    meta = window_of(url, _IMAGE, len(images), page, ask.query)
    return replied({"context": context_of(ask.office), "meta": meta, "rows": rows})


def post_images(ask: Ask) -> SentReply:
    """POST /entity/{type}/{id}/images: one object adds, an array sets the list; the answer is all images."""
    entity = ask.entity()
    if isinstance(ask.body, list):
        _judge_form(ask.office.switches.images_form, "array")
        return _set(ask, entity)
    if not isinstance(ask.body, dict):
        raise refused(1027 if ask.body is None else 2000)
    _show(ask, entity, [*entity.images, _made(ask, entity, ask.body)])
    return _all_images(ask, entity)


def post_batch(ask: Ask) -> SentReply:
    """POST /entity/{type}/{id}/images/batch: an array sets the list; the answer is all images."""
    _judge_form(ask.office.switches.images_form, "batch")
    if not isinstance(ask.body, list):
        raise refused(1027 if ask.body is None else 2000)
    return _set(ask, ask.entity())


def _set(ask: Ask, entity: StockEntity) -> SentReply:
    if not ask.body and ask.office.switches.empty_array == "refused":
        raise refused(1027)
    _set_list(ask, entity, ask.body)
    return _all_images(ask, entity)


def _all_images(ask: Ask, entity: StockEntity) -> SentReply:
    ask.note(entity, UPDATE, ask.office.switches.image_field_name)
    shape = Shape(expand=True, permanent=False)
    return replied([image_json(ask, entity, image, shape) for image in entity.images])


def _judge_form(taken: ListForm, form: ListForm) -> None:
    if taken not in ("both", form):
        raise refused(1002)


def delete_image(ask: Ask) -> SentReply:
    """DELETE /entity/{type}/{id}/images/{image}: the first with this id goes."""
    entity = ask.entity()
    ask.account.show(entity, _without(entity.images, ask.ids["image"]))
    ask.note(entity, UPDATE, ask.office.switches.image_field_name)
    return SentReply()


def delete_images(ask: Ask) -> SentReply:
    """POST /entity/{type}/{id}/images/delete: the first of each named id goes; all or nothing."""
    entity = ask.entity()
    if not isinstance(ask.body, list):
        raise refused(2000)
    after: Sequence[StockImage] = entity.images
    for element in ask.body:
        after = _without(after, _id_of(element))
    ask.account.show(entity, after)
    ask.note(entity, UPDATE, ask.office.switches.image_field_name)
    return SentReply()


def _set_list(ask: Ask, entity: StockEntity, elements: list[Any], *, inline: bool = False) -> None:
    """Make the elements the entity's list: what is not among them goes. When it is refused, the list stays."""
    switches = ask.office.switches
    after: list[StockImage] = []
    for place, element in enumerate(elements):
        try:
            after.append(_element(ask, entity, element, after, inline=inline))
        except RemapRefusalError as error:
            if switches.bad_element == "rest":
                continue
            raise _named(error, switches.bad_element_named, place, b"" if inline else ask.raw) from error
    kept = [_id_of(element) for element in elements if _is_meta(element)]
    if len(kept) != len(set(kept)):
        if switches.same_meta == "refused":
            raise refused(3013)
        if switches.same_meta == "once":
            after = list(dict.fromkeys(after))
    _show(ask, entity, after)


def _element(ask: Ask, entity: StockEntity, element: Any, beside: Sequence[StockImage], *, inline: bool) -> StockImage:
    account, switches = ask.account, ask.office.switches
    if not isinstance(element, dict):
        raise refused(2000)
    if not _is_meta(element):
        return _made(ask, entity, element, beside)
    if inline and not switches.inline_keep_by_meta:
        raise refused(2013, "meta")
    image_id = _id_of(element)
    own = next((image for image in entity.images if image.id == image_id), None)
    if own is not None and f"/{entity.type}/{entity.id}/" in str(element["meta"].get("href")):
        return own
    if image_id not in account.images or not account.shown[image_id]:
        raise refused(2013, "meta")
    if not switches.foreign_meta_adds:
        raise refused(3033, "meta")
    other = account.images[image_id]
    return account.image_of(entity, other.filename, other.content)


def _made(ask: Ask, entity: StockEntity, element: Json, beside: Sequence[StockImage] = ()) -> StockImage:
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
    limit = ask.office.switches.image_megabytes
    if len(content) > limit * 1_000_000:
        raise refused(51004, "content", limit=f"{limit:g}")
    image = ask.account.image_of(entity, filename, content, beside)
    if not ask.account.shown[image.id]:
        _decode(content, _OTHERS if ask.office.switches.other_formats else _OFFICIAL)
    return image


def _decode(content: bytes, formats: tuple[str, ...]) -> None:
    try:
        with Pillow.open(BytesIO(content), formats=formats) as picture:
            picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Pillow.DecompressionBombError) as error:
        raise refused(51002, "content") from error


def _show(ask: Ask, entity: StockEntity, images: Sequence[StockImage]) -> None:
    if len(images) > MOST_IMAGES:
        raise refused(51006, limit=MOST_IMAGES)
    ask.account.show(entity, images)


def _is_meta(element: Any) -> bool:
    return isinstance(element, dict) and isinstance(element.get("meta"), dict) and "content" not in element


def _without(images: Sequence[StockImage], image_id: str) -> list[StockImage]:
    place = next((place for place, image in enumerate(images) if image.id == image_id), None)
    if place is None:
        raise refused(1021)
    return [image for nth, image in enumerate(images) if nth != place]


def _named(error: RemapRefusalError, how: BadElementNamed, place: int, raw: bytes) -> RemapRefusalError:
    """The same error, telling which element of the array it is about as far as the switch lets it."""
    if how == "parameter":
        return replace(error, parameter=f"[{place}].{error.parameter}".rstrip("."))
    if how == "column" and raw:
        line, column = _position(raw.decode(), place)
        return replace(error, more={"line": line, "column": column})
    return replace(error, parameter="")


def _position(text: str, place: int) -> tuple[int, int]:
    """Line and column, from 1, at which an element of a JSON array begins."""
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    for _ in range(place + 1):
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n,"))
        start = at
        _, at = decoder.raw_decode(text, at)
    return text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)


_TEXTS = {"name": "name", "externalCode": "external_code", "code": "code", "article": "article"}
_WITH_SYNC_ID = (EntityType.PRODUCT, EntityType.BUNDLE)


def get(ask: Ask) -> SentReply:
    """GET /entity/{type}/{id}."""
    return _one(ask, ask.entity())


def put(ask: Ask) -> SentReply:
    """PUT /entity/{type}/{id}: what is named changes."""
    entity = ask.entity()
    _change(ask, entity, _object(ask.body), bulk=False)
    return _one(ask, entity)


def post(ask: Ask) -> SentReply:
    """POST /entity/{type}: an object creates one, an array creates and changes many."""
    if isinstance(ask.body, list):
        _judge_form(ask.office.switches.bulk_form, "array")
        return _written_many(ask)
    return _one(ask, _written(ask, _object(ask.body), bulk=False))


def delete(ask: Ask) -> SentReply:
    """DELETE /entity/{type}/{id}."""
    entity = ask.entity()
    ask.account.remove(entity)
    ask.note(entity, DELETE)
    return SentReply()


def post_many(ask: Ask) -> SentReply:
    """POST /entity/{type}/batch with an array."""
    _judge_form(ask.office.switches.bulk_form, "batch")
    return _written_many(ask)


def _written_many(ask: Ask) -> SentReply:
    """Create and change what an array names: the answer has a place for every element."""
    shape = shape_of(ask, len(ask.body) if isinstance(ask.body, list) else None)
    return _bulk(ask, lambda element: entity_json(ask, _written(ask, element), shape))


def delete_many(ask: Ask) -> SentReply:
    """POST /entity/{type}/delete with an array of metas."""

    def remove(element: Json) -> Json:
        entity = ask.account.entity(ask.type, _id_of(element))
        ask.account.remove(entity)
        ask.note(entity, DELETE)
        return {"info": f"Сущность '{entity.type}' с UUID: {entity.id} успешно удалена"}

    return _bulk(ask, remove)


def _bulk(ask: Ask, one: Callable[[Json], Json]) -> SentReply:
    """Do one after the other; a bad element does not stop the others."""
    if not isinstance(ask.body, list) or not ask.body:
        raise refused(2000 if ask.body else 1027)
    switches = ask.office.switches
    results: list[Json] = []
    for element in ask.body:
        if switches.bulk_most is not None and len(results) >= switches.bulk_most:
            raise refused(1088)
        try:
            results.append(one(_object(element)))
        except RemapRefusalError as error:
            results.append(error.body())
    failed = sum("errors" in result for result in results)
    return replied(results, switches.mixed_bulk_status if failed else 200)


def _one(ask: Ask, entity: StockEntity) -> SentReply:
    return replied(entity_json(ask, entity, shape_of(ask)))


def _written(ask: Ask, element: Json, *, bulk: bool = True) -> StockEntity:
    """Change the entity that an element's `meta` names, or create one; a known syncId gives the one that is there."""
    account = ask.account
    if "meta" in element:
        entity = account.entity(ask.type, _id_of(element))
        _change(ask, entity, element, bulk=bulk)
        return entity
    sync_id = str(element.get("syncId") or "")
    if sync_id and ask.type in _WITH_SYNC_ID:
        known = next((one for one in account.of_types([ask.type]) if one.sync_id == sync_id), None)
        if known is not None:
            return known
    name = element.get("name")
    if ask.type is EntityType.VARIANT:
        product = account.entity(EntityType.PRODUCT, _id_of(element.get("product")))
        name = name or f"{product.name} ({account.new_id()[:4]})"
    if not isinstance(name, str) or not name:
        raise malformed("Не указано поле name", "name", 412)
    entity = account.add(ask.type, name, str(element.get("externalCode") or ""))
    try:
        if ask.type is EntityType.VARIANT:
            entity.product_id = product.id
        entity.sync_id = sync_id if ask.type in _WITH_SYNC_ID else ""
        _change(ask, entity, element, bulk=bulk, action=CREATE)
    except RemapRefusalError:
        account.remove(entity)
        raise
    return entity


def _change(ask: Ask, entity: StockEntity, element: Json, *, bulk: bool, action: str = UPDATE) -> None:
    """Write what an element names; images first, because they may be refused."""
    if entity.sync_id and element.get("syncId", entity.sync_id) != entity.sync_id:
        raise refused(1047, "syncId")
    switches = ask.office.switches
    fields = []
    images = element.get("images")
    if isinstance(images, dict):
        images = images.get("rows")
    if isinstance(images, list) and entity.type in WITH_IMAGES and (switches.bulk_inline_images or not bulk):
        _set_list(ask, entity, images, inline=True)
        fields.append(switches.image_field_name)
    for name, attribute in _TEXTS.items():
        if isinstance(element.get(name), str):
            setattr(entity, attribute, element[name])
            fields.append(name)
    if isinstance(element.get("archived"), bool):
        entity.archived = element["archived"]
        fields.append("archived")
    if isinstance(element.get("barcodes"), list):
        given = [one for one in element["barcodes"] if isinstance(one, dict)]
        entity.barcodes = tuple(str(code) for one in given for code in one.values())
        fields.append("barcodes")
    ask.note(entity, action, *fields)


def _id_of(element: Any) -> str:
    """The id of what an element names by meta: the end of its address."""
    meta = element.get("meta") if isinstance(element, dict) else None
    href = meta.get("href") if isinstance(meta, dict) else None
    if not isinstance(href, str):
        raise refused(2013, "meta")
    return href.partition("?")[0].rpartition("/")[2]


def _object(body: Any) -> Json:
    if not isinstance(body, dict):
        raise refused(1027 if body is None else 2000)
    return body
