"""The way to an image's bytes: /download of the API, and the two hosts behind it."""

from collections.abc import Callable, Mapping
from io import BytesIO

from PIL import Image as Pillow
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from imagesync_pipelines.sandbox.answers import CalledPlace, SentReply, encoded
from imagesync_pipelines.sandbox.faults import Moments
from imagesync_pipelines.sandbox.moysklad.answers import refused
from imagesync_pipelines.sandbox.moysklad.model import StockAccount, StockImage
from imagesync_pipelines.sandbox.moysklad.office import USUAL_SECONDS, Ask, Endpoint, Links

EXPIRATION = "x-lognex-download-expiration-seconds"
FOUND = 302


def download(ask: Ask) -> SentReply:
    """GET /download/{image}: nothing but the `Location`, which ends after a minute unless a header asks for more."""
    return SentReply(FOUND, headers={"Location": _location(ask)})


def head(ask: Ask) -> SentReply:
    """HEAD /download/{image}: documented nowhere; it tells no size."""
    status = ask.office.switches.head_of_download
    return SentReply(status, headers={"Location": _location(ask)} if status == FOUND else {})


def refusing(code: int) -> Endpoint:
    """The endpoint of a method that /download does not have."""

    def refuse(ask: Ask) -> SentReply:
        raise refused(code)

    return refuse


def _location(ask: Ask) -> str:
    account, links = ask.account, ask.office.links
    image = account.images.get(ask.ids["image"])
    if image is None or not (account.shown[image.id] or ask.office.switches.old_images_downloadable):
        raise refused(1021)
    if ask.query.get("miniature") == "true":
        account.visited.add(image.id)
        return links.miniature(account, image)
    seconds = ask.headers.get(EXPIRATION, str(USUAL_SECONDS))
    return links.original(account, image, int(seconds) if seconds.isdecimal() else USUAL_SECONDS)


STORAGE, CDN = "storage", "cdn"
MINIATURE, TINY = 200, 40
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE"]
_XML = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'

Accounts = Mapping[str, StockAccount]


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

    def shown(is_public: Callable[[StockAccount, StockImage], bool], longest: int | None) -> Callable[..., Response]:
        def serve(request: Request) -> Response:
            image = _found(accounts, request)
            if image is None or not is_public(accounts[request.path_params["account"]], image):
                return Response("", 404)
            if longest is None:
                return Response(image.content, media_type=_media_type(image))
            return Response(_small(image, longest), media_type="image/png")

        return serve

    def has_link(account: StockAccount, image: StockImage) -> bool:
        return account.permanent_links and bool(account.shown[image.id])

    def was_asked_for(account: StockAccount, image: StockImage) -> bool:
        return image.id in account.visited

    def always(account: StockAccount, image: StockImage) -> bool:
        return True

    return Starlette(
        routes=[
            Route("/{account}/image/{file}", shown(has_link, None)),
            Route("/miniature/{account}/documentminiature/{file}", shown(was_asked_for, MINIATURE)),
            Route("/static/tinyimage/{account}/tinyimage/{file}/t.png", shown(always, TINY)),
        ]
    )


def storage_place(scope: Scope) -> CalledPlace:
    """For the ledger and the faults: the storage host, and the file that its path names."""
    return STORAGE, str(scope["path"]).rpartition("/")[2]


def cdn_place(scope: Scope) -> CalledPlace:
    """For the ledger and the faults: the public host, and the file that its path names."""
    return CDN, str(scope["path"]).removesuffix("/t.png").rpartition("/")[2]


def _found(accounts: Accounts, request: Request) -> StockImage | None:
    account = accounts.get(request.path_params["account"])
    return None if account is None else account.files.get(request.path_params["file"])


def _media_type(image: StockImage) -> str:
    return "image/png" if image.content.startswith(b"\x89PNG") else "image/jpeg"


def _small(image: StockImage, longest: int) -> bytes:
    with Pillow.open(BytesIO(image.content)) as picture:
        small = picture.convert("RGB")
    small.thumbnail((longest, longest))
    return encoded(small, "PNG")


def _error(status: int, code: str, message: str) -> Response:
    return Response(_XML.format(code=code, message=message), status, media_type="application/xml")
