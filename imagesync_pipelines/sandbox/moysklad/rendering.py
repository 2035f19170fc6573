"""Entities and images as МойСклад writes them (contract sections 6 and 7.2).

What belongs here: JSON of one entity and one image. What does not: lists (lists.py).
"""

from dataclasses import dataclass
from datetime import datetime

from imagesync_pipelines.sandbox.moysklad.answers import Json, refused
from imagesync_pipelines.sandbox.moysklad.limits import MOSCOW
from imagesync_pipelines.sandbox.moysklad.model import WITH_IMAGES, Account, Entity, EntityType, Image
from imagesync_pipelines.sandbox.moysklad.office import Ask, Office
from imagesync_pipelines.sandbox.moysklad.switches import FreeTariff

APPLICATION_JSON = "application/json"
MOST_EXPANDED = 100
PERMANENT = "downloadPermanentHref"
_EXPANDABLE = ("images", "product", "components")
_UI = "https://online.moysklad.ru/app/#good/edit?id="


@dataclass(frozen=True)
class Shape:
    """What of an entity is written out: its images, and their permanent links."""

    expand: bool = False
    permanent: bool = False


def shape_of(ask: Ask, limit: int | None = None) -> Shape:
    """What a call asks for; above 100 rows, and without a limit in lists (None is no list), it is not given."""
    paths = [path for path in ask.query.get("expand", "").split(",") if path]
    for path in paths:
        if path.split(".")[0] not in _EXPANDABLE:
            raise refused(1089, "expand")
    wanted = [name for name in ask.query.get("fields", "").split(",") if name]
    if len(wanted) > 1:
        raise refused(3042, "fields")
    if wanted and wanted[0] not in (PERMANENT, "stock"):
        raise refused(3043, "fields")
    permanent = PERMANENT in wanted
    if permanent and not ask.account.permanent_links and ask.office.switches.free_tariff is FreeTariff.REFUSED:
        raise refused(1070)
    if limit is not None and limit > MOST_EXPANDED:
        return Shape()
    return Shape("images" in paths, permanent and ask.account.permanent_links)


def moment(at: datetime) -> str:
    """A time as МойСклад writes it: Moscow's, to the millisecond."""
    local = at.astimezone(MOSCOW)
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03}"


def entity_url(office: Office, entity: Entity) -> str:
    """The address of an entity."""
    return f"{office.root}/entity/{entity.type}/{entity.id}"


def images_url(office: Office, entity: Entity) -> str:
    """The address of an entity's images."""
    return f"{entity_url(office, entity)}/images"


def images_of(account: Account, entity: Entity) -> list[Image]:
    """The images that an entity lists."""
    if entity.images or entity.type is not EntityType.VARIANT or not account.switches.variant_shows_parent:
        return entity.images
    return account.entities[entity.product_id].images


def entity_json(office: Office, account: Account, entity: Entity, shape: Shape) -> Json:
    """One entity; the number of its images is always there, their rows only in the expanded shape."""
    body: Json = {
        "meta": _meta(office, entity),
        "id": entity.id,
        "accountId": account.id,
        "updated": moment(entity.updated),
        "name": entity.name,
        "externalCode": entity.external_code,
        "archived": entity.archived,
        "shared": True,
    }
    for name, value in (("code", entity.code), ("article", entity.article), ("syncId", entity.sync_id)):
        if value:
            body[name] = value
    if entity.barcodes:
        body["barcodes"] = [{"ean13": barcode} for barcode in entity.barcodes]
    if entity.type is EntityType.VARIANT:
        body["product"] = {"meta": _meta(office, account.entities[entity.product_id])}
        body["characteristics"] = [{"name": "Вариант", "value": entity.name}]
    if entity.type in WITH_IMAGES:
        images = images_of(account, entity)
        meta = {
            "href": images_url(office, entity),
            "type": "image",
            "mediaType": APPLICATION_JSON,
            "size": len(images),
            "limit": 1000,
            "offset": 0,
        }
        body["images"] = {"meta": meta}
        if shape.expand:
            body["images"]["rows"] = [image_json(office, account, entity, image, shape) for image in images]
    return body


def image_json(office: Office, account: Account, entity: Entity, image: Image, shape: Shape) -> Json:
    """One image: there is no `id` in it, and `mediaType` is never that of the picture."""
    download = f"{office.root}/download/{image.id}"
    meta = {
        "href": f"{images_url(office, entity)}/{image.id}",
        "type": "image",
        "mediaType": APPLICATION_JSON,
        "downloadHref": download,
    }
    if shape.permanent:
        meta[PERMANENT] = office.links.permanent(account, image)
    small = office.links.shown_miniature(account, image) if image.id in account.visited else None
    tiny = {"href": office.links.tiny(account, image), "type": "image", "mediaType": "image/png"}
    return {
        "meta": meta,
        "title": image.filename.rpartition(".")[0] or image.filename,
        "filename": image.filename,
        "size": image.size,
        "updated": moment(image.uploaded),
        "miniature": {
            "href": f"{download}?miniature=true",
            "type": "image",
            "mediaType": "image/png",
            "downloadHref": small,
        },
        "tiny": tiny,
    }


def _meta(office: Office, entity: Entity) -> Json:
    return {
        "href": entity_url(office, entity),
        "metadataHref": f"{office.root}/entity/{entity.type}/metadata",
        "type": entity.type.value,
        "mediaType": APPLICATION_JSON,
        "uuidHref": f"{_UI}{entity.ui_id}",
    }
