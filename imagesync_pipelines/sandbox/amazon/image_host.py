"""Amazon's image host: /images/I/… for every picture on the shelf (contract section 4).

What belongs here: addresses and headers. What does not: bytes (drawing.py), faults (mishaps.py).
"""

import base64
from functools import lru_cache
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from imagesync_pipelines.sandbox.amazon.drawing import draw
from imagesync_pipelines.sandbox.amazon.listings import Shelf
from imagesync_pipelines.sandbox.amazon.pictures import Picture, read_name
from imagesync_pipelines.sandbox.wire import Place

IMAGE, OTHER = "image", "image host"
PATH, LEGACY_PATH = "/images/I/", "/images/P/"
TINY_GIF = base64.b64decode("R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7")
# Drawings that are kept, at some 100 kB each; a picture is often asked for twice.
KEPT = 200
ONE_YEAR = "max-age=31536000,public"


def image_host_app(shelf: Shelf) -> Starlette:
    """The app; it answers under any host name, because the real aliases all show the same."""

    @lru_cache(maxsize=KEPT)
    def drawn(picture: Picture, tokens: str) -> tuple[bytes, str]:
        return draw(picture, tokens)

    async def image(request: Request) -> Response:
        # Decoded by the server: %2B is a plus here, and a plus is a plus.
        named = read_name(request.path_params["name"])
        picture = None if named is None else shelf.picture(named[0])
        if named is None or picture is None or named[2] != picture.extension:
            return Response(b"", HTTPStatus.NOT_FOUND, media_type="image/jpeg")
        content, media_type = await run_in_threadpool(drawn, picture, named[1])
        return Response(content, media_type=media_type, headers={"Cache-Control": ONE_YEAR, "X-Cache": "Hit"})

    async def legacy(request: Request) -> Response:
        return Response(TINY_GIF, media_type="image/gif")

    return Starlette(routes=[Route(PATH + "{name:path}", image), Route(LEGACY_PATH + "{name:path}", legacy)])


def image_place(scope: Scope) -> Place:
    """For the ledger and the faults: an image and its id; the name of the file when it has none."""
    path = str(scope["path"])
    if not path.startswith(PATH):
        return OTHER, path
    name = path.removeprefix(PATH)
    named = read_name(name)
    return IMAGE, name if named is None else named[0]
