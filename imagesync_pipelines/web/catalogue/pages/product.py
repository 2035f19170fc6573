"""The page of one product: its gallery and what is known about its pictures."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import RedirectResponse, Response

from imagesync_pipelines.registry import connectors
from imagesync_pipelines.sync.connector import Place
from imagesync_pipelines.web.catalogue.pages.rendering import Here, RowId, render
from imagesync_pipelines.web.catalogue.queries.product import product_id_of, product_view

router = APIRouter(include_in_schema=False)


@router.get("/products/{product_id}", name="product")
def product(
    request: Request, opened: Here, product_id: RowId, image: Annotated[int | None, Query()] = None
) -> Response:
    """A product; `image` is the id of the picture to show large, the primary one without it."""
    view = product_view(opened.engine, product_id, own_images_first=opened.showing.image_db_own_images_first)
    if view is None:
        raise HTTPException(404, "There is no product here. It may have been an address from another installation.")
    chosen = next((one for one in view.images if one.id == image), next(iter(view.images), None))
    context = {
        "product": view,
        "chosen": chosen,
        "places": places_of(opened.engine, view.sku),
        "min_height": opened.showing.image_db_detail_min_height,
    }
    return render(request, "product.html", context)


@router.get("/sku/{sku:path}", name="product_of_sku")
def product_of_sku(request: Request, opened: Here, sku: str) -> Response:
    """The page of the product with this SKU."""
    found = product_id_of(opened.engine, sku.replace("\0", ""))
    if found is None:
        raise HTTPException(404, f"There is no product with the SKU {sku}.")
    return RedirectResponse(request.url_for("product", product_id=found), 307)


def places_of(engine: sa.Engine, sku: str) -> tuple[tuple[str, Place], ...]:
    """Where the images of a product also are, each with the connector that brought them there, in their order."""
    with engine.connect() as connection:
        return tuple(
            (one.name, place)
            for one in sorted(connectors(), key=lambda one: one.name)
            for place in one.places_of(connection, sku)
        )
