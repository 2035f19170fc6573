"""The hosts that have the bytes: storage behind signed links, and the public one (contract sections 1 and 7.5).

What belongs here: two small apps. What does not: making links (links.py), the API (app.py).
"""

from collections.abc import Callable, Mapping
from io import BytesIO

from PIL import Image as Pillow
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from imagesync_pipelines.sandbox.moysklad.links import Links
from imagesync_pipelines.sandbox.moysklad.model import Account, Image
from imagesync_pipelines.sandbox.plytix.moments import Moments
from imagesync_pipelines.sandbox.wire import Place

STORAGE, CDN = "storage", "cdn"
MINIATURE, TINY = 200, 40
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'

Accounts = Mapping[str, Account]


def storage_app(accounts: Accounts, links: Links, moments: Moments) -> Starlette:
    """The storage host: a GET with a good link and without Authorization gives the bytes, all else an error in XML."""

    def serve(request: Request) -> Response:
        moments.come(STORAGE)
        if "authorization" in request.headers:
            return _error(400, "InvalidArgument", "Unsupported Authorization Type")
        query = request.query_params
        signature, expires = query.get("temp_url_sig", ""), query.get("temp_url_expires", "")
        if request.method != "GET" or not links.is_good(request.url.path, signature, expires):
            return _error(403, "AccessDenied", "Access Denied")
        image = _found(accounts, request)
        if image is None:
            return _error(404, "NoSuchKey", "The specified key does not exist.")
        if "/miniature/" in request.url.path:
            return Response(_small(image, MINIATURE), media_type="image/png")
        return Response(image.content, media_type=_media_type(image))

    return Starlette(
        routes=[
            Route("/image-prod/image/{account}/goodimage/{file}", serve, methods=METHODS),
            Route("/image-prod/miniature/{account}/{file}", serve, methods=METHODS),
        ]
    )


def cdn_app(accounts: Accounts) -> Starlette:
    """The public host: permanent links of accounts that have them, miniatures that were asked for, tiny pictures."""

    def answer(make: Callable[[Account, Image], Response]) -> Callable[[Request], Response]:
        def serve(request: Request) -> Response:
            image = _found(accounts, request)
            return Response("", 404) if image is None else make(accounts[request.path_params["account"]], image)

        return serve

    def original(account: Account, image: Image) -> Response:
        if not account.permanent_links or not account.shown[image.id]:
            return Response("", 404)
        return Response(image.content, media_type=_media_type(image))

    def miniature(account: Account, image: Image) -> Response:
        if image.id not in account.visited:
            return Response("", 404)
        return Response(_small(image, MINIATURE), media_type="image/png")

    def tiny(account: Account, image: Image) -> Response:
        return Response(_small(image, TINY), media_type="image/png")

    return Starlette(
        routes=[
            Route("/{account}/image/{file}", answer(original)),
            Route("/miniature/{account}/documentminiature/{file}", answer(miniature)),
            Route("/static/tinyimage/{account}/tinyimage/{file}/t.png", answer(tiny)),
        ]
    )


def storage_place(scope: Scope) -> Place:
    """For the ledger and the faults: the storage host, and the file that its path names."""
    return STORAGE, str(scope["path"]).rpartition("/")[2]


def cdn_place(scope: Scope) -> Place:
    """For the ledger and the faults: the public host, and the file that its path names."""
    return CDN, str(scope["path"]).removesuffix("/t.png").rpartition("/")[2]


def _found(accounts: Accounts, request: Request) -> Image | None:
    account = accounts.get(request.path_params["account"])
    return None if account is None else account.files.get(request.path_params["file"])


def _media_type(image: Image) -> str:
    return "image/png" if image.content.startswith(b"\x89PNG") else "image/jpeg"


def _small(image: Image, longest: int) -> bytes:
    with Pillow.open(BytesIO(image.content)) as picture:
        small = picture.convert("RGB")
    small.thumbnail((longest, longest))
    file = BytesIO()
    small.save(file, "PNG")
    return file.getvalue()


def _error(status: int, code: str, message: str) -> Response:
    return Response(_XML.format(code=code, message=message), status, media_type="application/xml")
