"""What the API answers: products and their images, changes since a moment, choosing a primary image."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from starlette.responses import Response

from imagesync_pipelines.products.primaries import pin_image, unpin_image
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.web.catalogue import listing, models, past, queries
from imagesync_pipelines.web.catalogue.access import ApiKey, KeyScope
from imagesync_pipelines.web.catalogue.api.calls import (
    NOT_MODIFIED,
    Reader,
    answered,
    documented,
    is_wanted,
    json_only,
    needs,
)
from imagesync_pipelines.web.catalogue.changes import changes_since
from imagesync_pipelines.web.catalogue.pages.rendering import Here, RowId
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.service import Moment, Text

router = APIRouter(tags=["products"])
changes_router = APIRouter(tags=["changes"])
primary_router = APIRouter(tags=["primary"])

LONGEST_SEARCH, LONGEST_CURSOR = 200, 1000

Cursor = Annotated[Text | None, Query(max_length=LONGEST_CURSOR, description="`next_cursor` of the page before")]
Skus = Annotated[list[models.Sku], Query(min_length=1, max_length=50, description="may be repeated")]
PathSku = Annotated[models.Sku, Path()]
AsOf = Annotated[
    Moment | None, Query(description="as it was at this moment; 404 for one of which nothing is known any more")
]
PictureName = Annotated[
    Text, Query(max_length=500, description="of this image only, as it is called now or was before it was renamed")
]
Since = Annotated[Moment | None, Query(description="changes of then or later; without it all")]
MostChanges = Annotated[int, Query(ge=1, le=1000)]
CHOOSING = documented(400, 404, 409, 412, 413, 415)
JSON_BODY = [Depends(json_only)]
# What may be answered: of many things, of one, to a choice.
OF_MANY = {**NOT_MODIFIED, **documented()}
OF_ONE = {**NOT_MODIFIED, **documented(404)}
Pinner = Annotated[ApiKey, Depends(needs(KeyScope.PIN))]
"""A route's parameter of this type lets in keys that may choose a primary image."""


@router.get("/products", response_model=models.ProductPage, responses=OF_MANY)
def list_of_products(
    request: Request,
    opened: Here,
    _: Reader,
    q: Annotated[Text, Query(max_length=LONGEST_SEARCH, description="the beginning of a SKU, or words of a name")] = "",
    kind: Literal["", "parent", "variant"] = "",
    without_image: bool = False,
    without_front: bool = False,
    low_resolution: bool = False,
    unmatched: bool = False,
    changed_since: Annotated[Moment | None, Query(description="an image changed then or later")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Products in the order of their SKUs; every filter that is given must be true of them."""
    filters = listing.Filters(q.strip(), without_image, without_front, low_resolution, unmatched, changed_since, kind)
    page = listing.list_products(opened.engine, filters, cursor, limit, opened.showing)
    return answered(request, page, page.next_cursor)


@router.get("/products/{product_id}", response_model=models.Product, responses=OF_ONE)
def one_product(request: Request, opened: Here, _: Reader, product_id: RowId) -> Response:
    """A product, its family, its primary image, and who chose it."""
    found = queries.product_view(opened.engine, product_id, opened.showing)
    if found is None:
        raise HTTPException(404, f"There is no product {product_id}.")
    return answered(request, found)


@router.get("/products/{product_id}/images", response_model=models.ProductImages, responses=OF_ONE)
def images_of_one(request: Request, opened: Here, _: Reader, product_id: RowId, as_of: AsOf = None) -> Response:
    """The images that are shown for a product, the primary first, or were at a moment.

    A product without images of its own shows those of its base product, its parent or, for a parent, a variant; nothing
    is mixed.
    """
    return answered(request, _shown(opened, product_id, as_of))


@router.get("/skus/{sku:path}/images", response_model=models.ProductImages, responses=OF_ONE)
def images_of_sku(request: Request, opened: Here, _: Reader, sku: PathSku, as_of: AsOf = None) -> Response:
    """The same by the SKU of the product, a variant before a parent of the same SKU."""
    found = _found(opened, [sku], as_of).items
    if not found:
        raise HTTPException(404, f"There is no product with the SKU {sku}.")
    return answered(request, found[0])


@router.get("/products/{product_id}/history", response_model=models.ProductHistory, responses=OF_ONE)
def history_of_one(request: Request, opened: Here, _: Reader, product_id: RowId, image: PictureName = "") -> Response:
    """What was done to a product's images in any system, or to one image: who, when, what and why, the newest first."""
    with opened.engine.connect() as connection:
        sku = queries.skus_of(connection, [product_id]).get(product_id)
    if sku is None:
        raise HTTPException(404, f"There is no product {product_id}.")
    lines, since, is_cut = past.timeline(opened.engine, product_id, sku, image)
    items = [past.line_of(one) for one in lines]
    found = models.ProductHistory(product_id=product_id, sku=sku, known_since=since, is_cut=is_cut, items=items)
    return answered(request, found)


@router.get("/products/{product_id}/primary", response_model=models.Image, responses=OF_ONE)
def primary_of_one(request: Request, opened: Here, _: Reader, product_id: RowId) -> Response:
    """The image that is shown first for a product."""
    found = _shown(opened, product_id)
    if not found.images:
        raise HTTPException(404, f"Product {product_id} has no image to show.")
    return answered(request, found.images[0])


@router.get("/images/{image_id}", response_model=models.ImageWithMetadata, responses=OF_ONE)
def one_image(request: Request, opened: Here, _: Reader, image_id: RowId) -> Response:
    """A product image with its record in the image database."""
    found = queries.image_with_record(opened.engine, image_id)
    if found is None:
        raise HTTPException(404, f"There is no product image {image_id}.")
    return answered(request, found)


@router.get("/lookup", response_model=models.FoundProducts, responses=OF_ONE)
def look_up(request: Request, opened: Here, _: Reader, sku: Skus, as_of: AsOf = None) -> Response:
    """The images of products by their SKUs, now or at a moment; a variant before a parent of the same SKU."""
    return answered(request, _found(opened, sku, as_of))


@router.post(
    "/lookup", response_model=models.FoundProducts, dependencies=JSON_BODY, responses=documented(400, 413, 415)
)
def look_up_many(request: Request, opened: Here, _: Reader, wanted: models.Lookup) -> Response:
    """The same for many SKUs at once."""
    return answered(request, _found(opened, wanted.skus))


def _shown(opened: Opened, product_id: int, as_of: datetime | None = None) -> models.ProductImages:
    if as_of is None:
        found = queries.shown_for(opened.engine, [product_id], opened.showing).get(product_id)
    else:
        found = past.shown_at(opened.engine, product_id, as_of, opened.showing)
    if found is None:
        raise HTTPException(404, f"There is no product {product_id}.")
    return found


def _found(opened: Opened, skus: list[str], as_of: datetime | None = None) -> models.FoundProducts:
    wanted = list(dict.fromkeys(sku.strip() for sku in skus))
    ids = queries.products_of_skus(opened.engine, wanted)
    if as_of is None:
        found = queries.shown_for(opened.engine, ids.values(), opened.showing)
    else:
        found = {one: _shown(opened, one, as_of) for one in ids.values()}
    known = {sku: found[ids[sku]] for sku in wanted if ids.get(sku) in found}
    return models.FoundProducts(items=list(known.values()), unknown=[sku for sku in wanted if sku not in known])


@primary_router.put(
    "/products/{product_id}/primary", response_model=models.Image, dependencies=JSON_BODY, responses=CHOOSING
)
def set_primary(request: Request, opened: Here, key: Pinner, product_id: RowId, chosen: models.ChosenImage) -> Response:
    """Make an image the product's primary one; no synchronisation changes that. It may be repeated."""
    is_wanted(request, next(iter(_shown(opened, product_id).images), None))
    image = _own_image(opened, product_id, chosen.image_id)
    pin_image(opened.engine, product_id, image.connector, image.external_id, f"key {key.name}")
    return answered(request, _own_image(opened, product_id, chosen.image_id))


@primary_router.delete("/products/{product_id}/primary", status_code=204, responses=documented(404, 412))
def unset_primary(request: Request, opened: Here, key: Pinner, product_id: RowId) -> None:
    """Let the rules choose the product's primary image again. It may be repeated."""
    is_wanted(request, next(iter(_shown(opened, product_id).images), None))
    unpin_image(opened.engine, product_id, f"key {key.name}")


def _own_image(opened: Opened, product_id: int, image_id: int) -> models.Image:
    with opened.engine.connect() as connection:
        own = (product_image.c.id == image_id) & (product_image.c.product_id == product_id)
        image = next(iter(queries.read_images(connection, own)), None)
    if image is None:
        said = f"Image {image_id} is not on product {product_id}; a product's primary is one of its own."
        raise HTTPException(409, said)
    return image


@changes_router.get("/changes", response_model=models.ChangePage, responses=OF_MANY)
def changes(
    request: Request, opened: Here, _: Reader, since: Since = None, cursor: Cursor = None, limit: MostChanges = 500
) -> Response:
    """Products that changed, the earliest change first; removed images and fallback included.

    With a cursor `since` is not looked at.
    """
    page = changes_since(opened.engine, since, cursor, limit)
    return answered(request, page, page.next_cursor if page.has_more else None)
