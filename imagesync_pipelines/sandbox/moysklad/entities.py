"""Single entities and bulk writes: create, change, delete, partial success (contract sections 7.4 and 8).

What belongs here: those endpoints. What does not: the rules of images (images.py).
"""

from collections.abc import Callable
from typing import Any

from imagesync_pipelines.sandbox.moysklad.answers import Answer, Json, Refused, answered, malformed, refused
from imagesync_pipelines.sandbox.moysklad.images import set_list
from imagesync_pipelines.sandbox.moysklad.model import WITH_IMAGES, Entity, EntityType
from imagesync_pipelines.sandbox.moysklad.office import Ask
from imagesync_pipelines.sandbox.moysklad.rendering import entity_json, shape_of
from imagesync_pipelines.sandbox.moysklad.webhooks import CREATE, DELETE, UPDATE

_TEXTS = {"name": "name", "externalCode": "external_code", "code": "code", "article": "article"}
_WITH_SYNC_ID = (EntityType.PRODUCT, EntityType.BUNDLE)


def get(ask: Ask) -> Answer:
    """GET /entity/{type}/{id}."""
    return _one(ask, ask.account.entity(ask.type, ask.ids["entity"]))


def put(ask: Ask) -> Answer:
    """PUT /entity/{type}/{id}: what is named changes."""
    entity = ask.account.entity(ask.type, ask.ids["entity"])
    _change(ask, entity, _object(ask.body), bulk=False)
    return _one(ask, entity)


def post(ask: Ask) -> Answer:
    """POST /entity/{type}: an object creates one, an array creates and changes many."""
    if isinstance(ask.body, list):
        return post_many(ask)
    return _one(ask, _written(ask, _object(ask.body), bulk=False))


def delete(ask: Ask) -> Answer:
    """DELETE /entity/{type}/{id}."""
    entity = ask.account.entity(ask.type, ask.ids["entity"])
    ask.account.remove(entity)
    ask.note(entity, DELETE)
    return Answer()


def post_many(ask: Ask) -> Answer:
    """POST /entity/{type} and /entity/{type}/batch with an array: the answer has a place for every element."""
    shape = shape_of(ask, len(ask.body) if isinstance(ask.body, list) else None)
    return _bulk(ask, lambda element: entity_json(ask.office, ask.account, _written(ask, element), shape))


def delete_many(ask: Ask) -> Answer:
    """POST /entity/{type}/delete with an array of metas."""

    def remove(element: Json) -> Json:
        entity = ask.account.entity(ask.type, _id_of(element))
        ask.account.remove(entity)
        ask.note(entity, DELETE)
        return {"info": f"Сущность '{entity.type}' с UUID: {entity.id} успешно удалена"}

    return _bulk(ask, remove)


def _bulk(ask: Ask, one: Callable[[Json], Json]) -> Answer:
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
        except Refused as error:
            results.append(error.body())
    failed = sum("errors" in result for result in results)
    return answered(results, switches.mixed_bulk_status if failed else 200)


def _one(ask: Ask, entity: Entity) -> Answer:
    return answered(entity_json(ask.office, ask.account, entity, shape_of(ask)))


def _written(ask: Ask, element: Json, *, bulk: bool = True) -> Entity:
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
    except Refused:
        account.remove(entity)
        raise
    return entity


def _change(ask: Ask, entity: Entity, element: Json, *, bulk: bool, action: str = UPDATE) -> None:
    """Write what an element names; images first, because they may be refused."""
    if entity.sync_id and element.get("syncId", entity.sync_id) != entity.sync_id:
        raise refused(1047, "syncId")
    switches = ask.office.switches
    fields = []
    images = _inline_images(element)
    if images is not None and entity.type in WITH_IMAGES and (switches.bulk_inline_images or not bulk):
        set_list(ask.office, ask.account, entity, images, inline=True)
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
    only_images = fields == [switches.image_field_name]
    if not only_images or switches.image_write_bumps_updated:
        ask.account.touch(entity)
    if not only_images or switches.image_write_fires_webhook:
        ask.note(entity, action, *fields)


def _inline_images(element: Json) -> list[Any] | None:
    """The images of an element in either form; None when it does not speak of them."""
    images = element.get("images")
    if isinstance(images, dict):
        images = images.get("rows")
    return images if isinstance(images, list) else None


def _id_of(element: Any) -> str:
    meta = element.get("meta") if isinstance(element, dict) else None
    href = meta.get("href") if isinstance(meta, dict) else None
    if not isinstance(href, str):
        raise refused(2013, "meta")
    return href.partition("?")[0].rpartition("/")[2]


def _object(body: Any) -> Json:
    if not isinstance(body, dict):
        raise refused(1027 if body is None else 2000)
    return body
