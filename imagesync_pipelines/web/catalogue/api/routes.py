"""What the API answers: products and their images, changes since a moment, choosing a primary image.

Changes are what a system that keeps a copy has to ask for again. A product counts as changed when it, its pin, one of
its images or a product of its family changed, when it shows another product's images than before, and when those
changed. Moments are those of the transactions that wrote; a moment is given out only when every transaction that began
before it has ended, so that nobody who goes on from there misses one that ended late.
"""

from datetime import UTC, datetime
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from pydantic import AwareDatetime
from starlette.responses import Response

from imagesync_pipelines.products.primaries import pin_image, unpin_image
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.web.catalogue import models, past, queries
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
from imagesync_pipelines.web.catalogue.pages.rendering import Here, RowId
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.service import Text

router = APIRouter(tags=["products"])
changes_router = APIRouter(tags=["changes"])
primary_router = APIRouter(tags=["primary"])

LONGEST_SEARCH, LONGEST_CURSOR = 200, 1000

Cursor = Annotated[Text | None, Query(max_length=LONGEST_CURSOR, description="`next_cursor` of the page before")]
Skus = Annotated[list[models.Sku], Query(min_length=1, max_length=50, description="may be repeated")]
AsOf = Annotated[
    AwareDatetime | None, Query(description="as it was at this moment; 404 for one of which nothing is known any more")
]
Since = Annotated[AwareDatetime | None, Query(description="changes of then or later; without it all")]
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
    changed_since: Annotated[AwareDatetime | None, Query(description="an image changed then or later")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> Response:
    """Products in the order of their SKUs; every filter that is given must be true of them."""
    filters = queries.Filters(q.strip(), without_image, without_front, low_resolution, unmatched, changed_since, kind)
    page = queries.list_products(opened.engine, filters, cursor, limit, opened.showing)
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


BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

# A second: between taking its moment and showing it here a transaction is nowhere. Five minutes: who has not written by
# then only reads, as an export does.
_SETTLED = sa.text("""
SELECT least(min(xact_start), clock_timestamp() - interval '1 second')
  FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
   AND (backend_xid IS NOT NULL OR xact_start > clock_timestamp() - interval '5 minutes')
""")

# A page looks at a stretch of time with so many writes, and no further: what is read first takes no longer for it.
_STRETCH = 5000
_UNTIL = sa.text("""
SELECT at
  FROM ((SELECT last_synced AS at FROM imagesync.product_image
          WHERE last_synced > :since AND last_synced < :settled ORDER BY 1 LIMIT :stretch)
         UNION ALL
        (SELECT removed_at FROM imagesync.image_removal
          WHERE removed_at > :since AND removed_at < :settled ORDER BY 1 LIMIT :stretch)
         UNION ALL
        (SELECT updated_at FROM imagesync.product
          WHERE updated_at > :since AND updated_at < :settled ORDER BY 1 LIMIT :stretch)
         UNION ALL
        (SELECT changed_at FROM imagesync.shown_image
          WHERE changed_at > :since AND changed_at < :settled ORDER BY 1 LIMIT :stretch)) AS every
 ORDER BY at OFFSET :stretch - 1 LIMIT 1
""")

_CHANGES = sa.text("""
WITH touched AS (
    SELECT product_id, max(at) AS at
      FROM (SELECT product_id, last_synced AS at FROM imagesync.product_image
             WHERE last_synced >= :since AND last_synced < :settled AND last_synced <= :until
             UNION ALL
            SELECT product_id, removed_at FROM imagesync.image_removal
             WHERE removed_at >= :since AND removed_at < :settled AND removed_at <= :until
             UNION ALL
            SELECT id, updated_at FROM imagesync.product
             WHERE updated_at >= :since AND updated_at < :settled AND updated_at <= :until) AS every
     GROUP BY product_id
), newest AS (
    -- A product that changed again behind this stretch is told there.
    SELECT product_id, at FROM touched
     WHERE NOT EXISTS (SELECT FROM imagesync.product_image later WHERE later.product_id = touched.product_id
                          AND later.last_synced > :until AND later.last_synced < :settled)
       AND NOT EXISTS (SELECT FROM imagesync.image_removal later WHERE later.product_id = touched.product_id
                          AND later.removed_at > :until AND later.removed_at < :settled)
       AND NOT EXISTS (SELECT FROM imagesync.product later WHERE later.id = touched.product_id
                          AND later.updated_at > :until AND later.updated_at < :settled)
), shown AS (
    SELECT product_id, at FROM newest
     UNION ALL
    SELECT borrower.id, at FROM newest JOIN imagesync.product borrower ON borrower.parent_id = newest.product_id
     UNION ALL
    SELECT lender.parent_id, at FROM newest JOIN imagesync.product lender ON lender.id = newest.product_id
     WHERE lender.parent_id IS NOT NULL
     UNION ALL
    SELECT borrower.product_id, at
      FROM newest JOIN imagesync.shown_image borrower ON borrower.owner_id = newest.product_id
     UNION ALL
    SELECT borrower.product_id, at
      FROM newest JOIN imagesync.shown_image borrower ON borrower.own_first_id = newest.product_id
                                                      AND borrower.own_first_id <> borrower.owner_id
     UNION ALL
    -- Whose images are shown, or a person's choice: it concerns nobody else.
    SELECT product_id, changed_at FROM imagesync.shown_image
     WHERE changed_at >= :since AND changed_at < :settled AND changed_at <= :until
), latest AS (
    SELECT product_id, max(at) AS at FROM shown GROUP BY product_id
)
SELECT product_id, sku, at, left_erp_at
  FROM latest JOIN imagesync.product ON id = product_id
 WHERE (at, product_id) > (:since, :last)
 ORDER BY at, product_id
 LIMIT :limit
""")


def changes_since(engine: sa.Engine, since: datetime | None, cursor: str | None, limit: int) -> models.ChangePage:
    """Products changed at `since` or later, or after a cursor; all of them with neither.

    Raises CursorError for text that is no cursor of changes.
    """
    begin, last = queries.decode_cursor(cursor, (datetime, int)) if cursor else (since or BEGINNING, 0)
    if not 0 <= last <= models.LARGEST_ID:
        raise queries.CursorError("This is no cursor of changes; begin again with `since`.")
    with engine.connect() as connection:
        settled = connection.execute(_SETTLED).scalar_one()
        values = {"since": begin, "last": last, "settled": settled, "limit": limit + 1}
        until = connection.execute(_UNTIL, {**values, "stretch": _STRETCH}).scalar()
        rows = connection.execute(_CHANGES, {**values, "until": settled if until is None else until}).all()
    given = [models.ImageChange(**row._mapping, changed_at=row.at.astimezone(UTC)) for row in rows[:limit]]
    if until is not None and len(rows) <= limit:
        # The stretch is through: the next page begins behind it.
        begin, last = until.astimezone(UTC), models.LARGEST_ID
    elif given:
        begin, last = given[-1].changed_at, given[-1].product_id
    has_more = until is not None or len(rows) > limit
    return models.ChangePage(items=given, has_more=has_more, next_cursor=queries.encode_cursor([begin, last]))
