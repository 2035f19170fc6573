"""Exports: the images of all products in one answer."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from imagesync_pipelines.products.exports.formats import Format, kind_of
from imagesync_pipelines.web.catalogue import keys
from imagesync_pipelines.web.catalogue.api.access import needs
from imagesync_pipelines.web.catalogue.api.problems import ApiRefusedError, documented
from imagesync_pipelines.web.catalogue.exporting import RETRY, Exports, TooManyExportsError
from imagesync_pipelines.web.catalogue.keys import ApiKey

router = APIRouter(tags=["exports"])

Exporter = Annotated[ApiKey, Depends(needs(keys.KeyScope.EXPORT))]
"""A route's parameter of this type lets in keys that may export."""

_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The file, as a stream",
        "content": {
            kind_of(one).media_type.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
            for one in Format
        },
    }
}


@router.get("/exports/{wanted}", response_class=Response, responses={**_FILES, **documented()})
def export_everything(request: Request, _: Exporter, wanted: Format) -> Response:
    """A row for every image that is shown for a product, in the order of SKU and position.

    The file is of one moment and is streamed: read it as it comes. An answer that breaks off is no whole file.
    """
    exports: Exports = request.app.state.exports
    try:
        return exports.answer(wanted)
    except TooManyExportsError as error:
        raise ApiRefusedError(503, str(error), RETRY) from None
