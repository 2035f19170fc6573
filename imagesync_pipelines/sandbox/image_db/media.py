"""The media server: the files behind the URLs of the records. No credentials, as contract section 1 has it.

What belongs here: answering GET /media/<name>. What does not: drawing (drawing.py).
"""

from functools import lru_cache

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from imagesync_pipelines.sandbox.image_db.catalogue import Catalogue
from imagesync_pipelines.sandbox.image_db.drawing import draw
from imagesync_pipelines.sandbox.wire import Place

ENDPOINT = "media"
PREFIX = "/media/"
KEPT_FILES = 256
NOT_FOUND = "<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1></body></html>"


def media_app(catalogue: Catalogue) -> Starlette:
    """The app of the media host: files are drawn when first asked for; the last 256 are kept."""
    drawn = lru_cache(maxsize=KEPT_FILES)(draw)

    def file(request: Request) -> Response:
        picture = catalogue.picture(request.path_params["name"])
        if picture is None:
            return HTMLResponse(NOT_FOUND, 404)
        content, media_type = drawn(picture)
        return Response(content, media_type=media_type)

    return Starlette(routes=[Route(PREFIX + "{name}", file)])


def media_place(scope: Scope) -> Place | None:
    """For the ledger and the faults: every call here is `media`, its part is the file's name."""
    return ENDPOINT, str(scope["path"]).removeprefix(PREFIX)
