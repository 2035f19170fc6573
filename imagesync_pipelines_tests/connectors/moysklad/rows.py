"""Rows and answers of МойСклад as the contract prints them, for tests that need no stand-in."""

from datetime import datetime
from typing import Any

from imagesync_pipelines.connectors.moysklad.client.answers import MOSCOW
from imagesync_pipelines.connectors.moysklad.model import Entity, EntityType, ImageRow

URL = "https://api.moysklad.ru/api/remap/1.2"
MOMENT = datetime(2026, 11, 20, 16, 55, 24, 567000, MOSCOW)


def image_json(
    image_id: str, *, filename: str = "птица.png", size: int = 14052, owner: str = "product/p1"
) -> dict[str, Any]:
    """An image as a list has it: without an id, and with a media type that is not the picture's."""
    return {
        "meta": {
            "href": f"{URL}/entity/{owner}/images/{image_id}",
            "type": "image",
            "mediaType": "application/json",
            "downloadHref": f"{URL}/download/{image_id}",
        },
        "title": filename.rpartition(".")[0],
        "filename": filename,
        "size": size,
        "updated": "2026-11-20 16:55:24.567",
        "miniature": {"href": f"{URL}/download/{image_id}?miniature=true", "type": "image", "downloadHref": None},
    }


def entity_json(
    entity_id: str, *, kind: str = "product", images: list[Any] | None = None, **more: object
) -> dict[str, Any]:
    """An entity as a list has it, with the rows of its images when they are given."""
    listed = {"meta": {"href": f"{URL}/entity/{kind}/{entity_id}/images", "type": "image", "size": len(images or [])}}
    if images is not None:
        listed["rows"] = images  # type: ignore[assignment]
    row = {
        "meta": {"href": f"{URL}/entity/{kind}/{entity_id}", "type": kind, "mediaType": "application/json"},
        "id": entity_id,
        "name": f"Товар {entity_id}",
        "externalCode": f"ext-{entity_id}",
        "code": "00012",
        "article": "A-1",
        "archived": False,
        "updated": "2026-11-20 16:55:24.567",
        "barcodes": [{"ean13": "4600000000017"}, {"code128": "X1"}],
        "images": listed,
    }
    if kind == "variant":
        row["product"] = {"meta": {"href": f"{URL}/entity/product/p1", "type": "product"}}
    return row | more


def list_json(rows: list[Any], size: int | None = None) -> dict[str, Any]:
    """A page of a list."""
    return {
        "context": {},
        "meta": {"size": len(rows) if size is None else size, "limit": 100, "offset": 0},
        "rows": rows,
    }


def error_json(code: int | None, text: str = "Ошибка", **more: object) -> dict[str, Any]:
    """The body of a refusal."""
    return {"errors": [{"error": text} | ({} if code is None else {"code": code}) | more]}


def image(image_id: str, *, filename: str = "птица.png", size: int = 14052) -> ImageRow:
    """An image in the connector's words."""
    return ImageRow(image_id, filename, size, f"{URL}/download/{image_id}")


def entity(
    entity_id: str, kind: EntityType = "product", images: tuple[ImageRow, ...] | None = (), **more: Any
) -> Entity:
    """An entity in the connector's words; its external code is `ext-<id>` unless said otherwise."""
    values: dict[str, Any] = {
        "name": f"Товар {entity_id}",
        "external_code": f"ext-{entity_id}",
        "code": "",
        "article": "",
        "barcodes": (),
        "archived": False,
        "product_id": "p1" if kind == "variant" else "",
        "updated": MOMENT,
        "image_count": len(images or ()),
        "images": images,
    }
    return Entity(kind, entity_id, **(values | more))
