"""Choosing the primary image of a product for another system."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from imagesync_pipelines.products.pinning import pin_image, unpin_image
from imagesync_pipelines.storage.errors import PinRefusedError
from imagesync_pipelines.web.catalogue.api.access import Pinner
from imagesync_pipelines.web.catalogue.api.answers import answered
from imagesync_pipelines.web.catalogue.api.bodies import JSON_BODY
from imagesync_pipelines.web.catalogue.api.models import ChosenImage, Image, image_of
from imagesync_pipelines.web.catalogue.api.problems import ApiRefusedError, documented
from imagesync_pipelines.web.catalogue.api.products import shown
from imagesync_pipelines.web.catalogue.pages.rendering import Here, RowId
from imagesync_pipelines.web.catalogue.queries.images import ImageView, images_by_id
from imagesync_pipelines.web.catalogue.state import Opened

router = APIRouter(tags=["primary"])


@router.put(
    "/products/{product_id}/primary",
    response_model=Image,
    dependencies=[JSON_BODY],
    responses=documented(400, 404, 409, 413, 415),
)
def set_primary(request: Request, opened: Here, key: Pinner, product_id: RowId, chosen: ChosenImage) -> Response:
    """Make an image the product's primary one; no synchronisation changes that. It may be repeated."""
    shown(opened, product_id)
    view = _own_image(opened, product_id, chosen.image_id)
    try:
        pin_image(opened.engine, product_id, view.connector, view.external_id, f"key {key.name}")
    except PinRefusedError as error:
        raise ApiRefusedError(409, str(error)) from None
    return answered(request, image_of(_own_image(opened, product_id, chosen.image_id)))


@router.delete("/products/{product_id}/primary", status_code=204, responses=documented(404))
def unset_primary(opened: Here, _: Pinner, product_id: RowId) -> None:
    """Let the rules choose the product's primary image again. It may be repeated."""
    shown(opened, product_id)
    unpin_image(opened.engine, product_id)


def _own_image(opened: Opened, product_id: int, image_id: int) -> ImageView:
    with opened.engine.connect() as connection:
        view = images_by_id(connection, [image_id]).get(image_id)
    if view is None or view.product_id != product_id:
        raise ApiRefusedError(
            409, f"Image {image_id} is not on product {product_id}; a product's primary is one of its own."
        )
    return view
