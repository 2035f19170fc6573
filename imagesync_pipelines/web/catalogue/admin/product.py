"""Choosing the primary image of a product, and everything that is known of a product and its images."""

import json
import logging
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Form, HTTPException, Request
from starlette.responses import Response

from imagesync_pipelines.products.primaries import pin_image, unpin_image
from imagesync_pipelines.storage.schema import pin as pin_table
from imagesync_pipelines.storage.schema import product, product_image
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, Viewer, go_on, private_page, tell
from imagesync_pipelines.web.catalogue.pages.rendering import Here, RowId

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")


@router.get("/admin/products/{product_id}", name="product_data")
def product_data(request: Request, opened: Here, _: Viewer, product_id: RowId) -> Response:
    """Every column of a product and of all images that are on it, with the metadata of the source."""
    image = product_image.c
    on_it = sa.select(product_image).where(image.product_id == product_id)
    with opened.engine.connect() as connection:
        row = connection.execute(sa.select(product).where(product.c.id == product_id)).mappings().first()
        pinned = connection.execute(sa.select(pin_table).where(pin_table.c.product_id == product_id)).mappings().first()
        images = connection.execute(on_it.order_by(image.is_primary.desc(), image.priority, image.id)).mappings().all()
    if row is None:
        raise HTTPException(404, "There is no product here.")
    chosen = (pinned["source"], pinned["external_id"]) if pinned else None
    shown = [
        {
            "id": one["id"],
            "is_primary": one["is_primary"],
            "version": one["fingerprint"][:12],
            "is_pinned": (one["source"], one["external_id"]) == chosen,
            "columns": {name: value for name, value in one.items() if name != "metadata"},
            "metadata": json.dumps(one["metadata"], ensure_ascii=False, indent=2),
        }
        for one in images
    ]
    found = {"id": product_id, "sku": row["sku"], "columns": row, "pin": pinned, "images": shown}
    return private_page(request, "admin/product.html", {"found": found})


@router.post("/admin/products/{product_id}/pin", name="pin")
def pin(
    request: Request, opened: Here, who: Admin, product_id: RowId, image_id: Annotated[int, Form(ge=1, le=2**63 - 1)]
) -> Response:
    """Make an image the product's primary one, in this person's name; no synchronisation undoes it."""
    mine = (product_image.c.id == image_id) & (product_image.c.product_id == product_id)
    with opened.engine.connect() as connection:
        chosen = connection.execute(sa.select(product_image.c.source, product_image.c.external_id).where(mine)).first()
    if chosen is None:
        raise HTTPException(409, "This picture is not on the product any more; nothing was changed. Reload its page.")
    pin_image(opened.engine, product_id, chosen.source, chosen.external_id, who.name)
    log.info("%s chose image %s as the primary one of product %s", who.name, chosen.external_id, product_id)
    tell(request, "This is the primary picture now. No synchronisation will change that.")
    return go_on(str(request.app.url_path_for("product", product_id=product_id)))


@router.post("/admin/products/{product_id}/unpin", name="unpin")
def unpin(request: Request, opened: Here, who: Admin, product_id: RowId) -> Response:
    """Let the rules choose the product's primary image again, at once."""
    with opened.engine.connect() as connection:
        if connection.execute(sa.select(product.c.id).where(product.c.id == product_id)).first() is None:
            raise HTTPException(404, "There is no product here.")
    if unpin_image(opened.engine, product_id):
        log.info("%s took back the choice of the primary image of product %s", who.name, product_id)
        tell(request, "The rules choose the primary picture again.")
    return go_on(str(request.app.url_path_for("product", product_id=product_id)))
