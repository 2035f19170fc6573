"""What the API says: the shapes of its answers and requests, with examples, and how an answer is written."""

import hashlib
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from imagesync_pipelines.web.catalogue.queries.images import ImageView
from imagesync_pipelines.web.catalogue.queries.product import ProductView
from imagesync_pipelines.web.service import Text, names_etag

LARGEST_ID = 2**63 - 1
MOST_SKUS = 500
LENDER = "the SKU of the product that lends its images, '' when they are its own"

Sku = Annotated[Text, Field(min_length=1, max_length=50, examples=["803721"])]
Kind = Literal["parent", "variant"]


class AsRead(BaseModel):
    """What is made of a row as it was read: `model_validate` of the row."""

    model_config = ConfigDict(from_attributes=True)


class Image(AsRead):
    """A product image. product_id is that of the product that it is on, which may lend it to another."""

    id: int = Field(examples=[4711])
    product_id: int = Field(examples=[12])
    external_id: str = Field(description="its id in the image database", examples=["930363"])
    image_url: str = Field(examples=["https://media.example.com/930363_g.jpg"])
    thumbnail_url: str | None = Field(examples=["https://media.example.com/930363.png"])
    image_type: str = Field(examples=["Produktfoto"])
    is_primary: bool = Field(description="the one shown first of those on its product")
    is_front: bool
    priority: int = Field(description="1 is shown before 5", examples=[1])
    alt_text: str = Field(examples=["Engel - Produktfoto"])
    width: int | None = Field(description="pixels", examples=[1920])
    height: int | None = Field(description="pixels", examples=[1280])
    format: str | None = Field(examples=["jpeg"], validation_alias="image_format")
    file_name: str = Field(examples=["930363_g.jpg"])
    original_url: str | None = Field(description="the file that it was made from; it may be no picture for browsers")
    source: str = Field(description="how it came into the image database", examples=["Desktop app"])
    matched_by: str = Field(description="the rule that found its product", examples=["variant sku"])
    chosen_because: str = Field(description="why this file of it is shown", examples=["large enough"])
    last_synced: datetime = Field(description="when what we know of it last changed")


class ImageWithMetadata(Image):
    """A product image with its record in the image database, as it came."""

    metadata: dict[str, Any]


class ListedProduct(AsRead):
    """A product in a list, with the image that stands for it."""

    id: int = Field(examples=[12])
    sku: str = Field(examples=["803721"])
    kind: Kind
    name: str = Field(examples=["Engel"])
    is_active: bool
    primary: Image | None = Field(description="null: there is nothing to show", validation_alias="image")
    image_count: int = Field(description="images that are shown for it", examples=[3], validation_alias="images")
    images_from: str = Field(description=LENDER, validation_alias="lent_by")


class ProductPage(BaseModel):
    """A page of products in the order of their SKUs."""

    items: list[ListedProduct]
    next_cursor: str | None = Field(description="for the next page; null on the last one")


class Pin(AsRead):
    """A person's or system's choice of the primary image; dormant while the product does not have that image."""

    external_id: str
    pinned_by: str = Field(examples=["anna"])
    pinned_at: datetime
    is_dormant: bool


class FamilyMember(AsRead):
    """A parent or a variant of a product."""

    id: int
    sku: str
    name: str
    variant_code: str | None = Field(examples=["BE"])


class Product(BaseModel):
    """A product with everything but the list of its images."""

    id: int = Field(examples=[12])
    sku: str = Field(examples=["803721"])
    kind: Kind
    name: str = Field(examples=["Engel"])
    is_active: bool
    left_erp_at: datetime | None = Field(description="since when the ERP no longer has it")
    variant_code: str | None = Field(examples=["BE"])
    legacy_sku: str | None = Field(examples=["11400-BE"])
    base_sku: str | None = Field(examples=["11400"])
    updated_at: datetime
    parent: FamilyMember | None
    variants: list[FamilyMember] = Field(description="of a parent; empty for a variant")
    primary: Image | None = Field(description="null: there is nothing to show")
    image_count: int = Field(examples=[3])
    images_from: str = Field(description=LENDER)
    pin: Pin | None


class ProductImages(AsRead):
    """The images that are shown for a product, the primary first."""

    product_id: int = Field(examples=[12])
    sku: str = Field(examples=["803721"])
    images_from: str = Field(description=LENDER, validation_alias="lent_by")
    images: list[Image]


class Lookup(BaseModel):
    """The SKUs that are looked up."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"skus": ["803721", "804113"]}]})

    skus: list[Sku] = Field(min_length=1, max_length=MOST_SKUS)


class FoundProducts(BaseModel):
    """What a lookup found, in the order asked for, every SKU once."""

    items: list[ProductImages]
    unknown: list[str] = Field(description="SKUs that no product has")


class ImageChange(AsRead):
    """A product of which something that the API says changed, at the latest at this moment."""

    product_id: int = Field(examples=[12])
    sku: str = Field(examples=["803721"])
    changed_at: datetime
    left_erp_at: datetime | None = Field(description="since when the ERP no longer has it")


class ChangePage(BaseModel):
    """A page of changed products, the earliest change first."""

    items: list[ImageChange]
    has_more: bool = Field(description="more can be had now")
    next_cursor: str = Field(description="keep it: the next call with it, now or tomorrow, goes on here")


class ChosenImage(BaseModel):
    """The image that is to be the primary one."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"image_id": 4711}]})

    image_id: int = Field(ge=1, le=LARGEST_ID, strict=True, description="`id` of an image that is on this product")


def image_with_metadata(view: ImageView, metadata: dict[str, Any]) -> ImageWithMetadata:
    """An image as it was read, and its record."""
    return ImageWithMetadata.model_validate({**vars(view), "file_name": view.file_name, "metadata": metadata})


def product_of(view: ProductView) -> Product:
    """A product as it was read."""
    computed = {
        "variants": view.family if view.kind == "parent" else (),
        "primary": next(iter(view.images), None),
        "image_count": len(view.images),
        "images_from": view.lent_by.sku if view.lent_by else "",
    }
    return Product.model_validate({**vars(view), **computed})


# Every caller asks again each time, and gets 304 as long as nothing changed.
_CACHING = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "Unchanged since the answer with the ETag that If-None-Match names"}
}


def answered(request: Request, model: BaseModel, next_cursor: str | None = None) -> Response:
    """The model as JSON with its ETag, or 304 to a reader who has it; next_cursor: where a list goes on (Link)."""
    body = model.model_dump_json().encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**_CACHING, "ETag": tag}
    if next_cursor is not None:
        following = request.url.include_query_params(cursor=next_cursor)
        # Without the host: the caller may know us by another name.
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    if request.method == "GET" and names_etag(request.headers.get("If-None-Match", ""), tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")
