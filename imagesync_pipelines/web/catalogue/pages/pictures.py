"""Pictures in the sizes that pages need.

A picture that cannot be had is never an error page.
"""

from importlib.resources import files
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, HTTPException, Path, Request
from itsdangerous import BadSignature, URLSafeSerializer
from starlette.responses import Response

from imagesync_pipelines.storage.contents import OWN_PATH, ContentMissingError, Contents, own_source
from imagesync_pipelines.web.catalogue.derivatives import (
    Derivatives,
    OriginalPicture,
    Purpose,
    picture_of,
    wanted_encoding,
)
from imagesync_pipelines.web.catalogue.pages.rendering import PACKAGE, Here, RowId
from imagesync_pipelines.web.catalogue.state import Opened

router = APIRouter(include_in_schema=False)

# An address with the picture's version never shows another picture.
FOR_EVER = "public, max-age=31536000, immutable"
FOR_A_DAY = "private, max-age=86400"
ASK_AGAIN = "no-cache"


@router.get("/media/{image_id}/{purpose}", name="derivative")
async def derivative(request: Request, opened: Here, image_id: RowId, purpose: Purpose, v: str = "") -> Response:
    """A product image of at most the purpose's size, as AVIF, WebP or JPEG; a grey picture when it cannot be had now.

    v is the version of the picture; with the present one the answer may be kept for ever.
    """
    picture = await to_thread.run_sync(picture_of, opened.engine, image_id, purpose)
    if picture is None:
        return _grey()
    originals, version = picture
    return await _answer(request, originals, purpose, FOR_EVER if v and v == version else ASK_AGAIN)


@router.get(OWN_PATH + "{sha256}", name="content")
def content(request: Request, opened: Here, sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$")]) -> Response:
    """A picture that we keep for everybody, whole, by its hash; the address never shows another one."""
    contents = Contents(opened.engine, opened.storage, opened.clock)
    found = contents.find([own_source(sha256)]).get(own_source(sha256))
    if found is None:
        raise HTTPException(404, "There is no picture here.")
    headers = {"Cache-Control": FOR_EVER, "ETag": f'"{sha256}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    try:
        body = contents.read(found)
    except ContentMissingError:
        raise HTTPException(404, "The picture is kept no longer; the next synchronisation brings it.") from None
    return Response(body, media_type=f"image/{found.format.lower()}", headers=headers)


@router.get("/plan-pictures/{token}", name="picture_of_plan")
async def picture_of_plan(request: Request, opened: Here, token: str) -> Response:
    """A picture that a plan speaks about and no product image shows; the token is ours and holds its URL."""
    try:
        url: str = _signer(opened).loads(token)
    except BadSignature:
        raise HTTPException(404) from None
    if "\0" in url:  # no URL has one, and no database keeps one
        return _grey()
    return await _answer(request, (OriginalPicture(url, ""),), "thumb", FOR_A_DAY)


def picture_token(opened: Opened, url: str) -> str:
    """A URL that only we can have written: the route fetches nothing else."""
    token: str = _signer(opened).dumps(url)
    return token


async def _answer(request: Request, originals: tuple[OriginalPicture, ...], purpose: Purpose, caching: str) -> Response:
    derivatives: Derivatives = request.app.state.derivatives
    encoding = wanted_encoding(request.headers.get("accept", ""))
    content = await derivatives.copy(originals, purpose, encoding)
    if content is None:
        return _grey()
    headers = {"Cache-Control": caching, "Vary": "Accept", "ETag": f'"{content.sha256}"'}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    body = await to_thread.run_sync(derivatives.read, content)
    return Response(body, media_type=f"image/{encoding}", headers=headers) if body is not None else _grey()


def _grey() -> Response:
    grey = (files(PACKAGE) / "static" / "no-picture.svg").read_bytes()
    return Response(grey, media_type="image/svg+xml", headers={"Cache-Control": ASK_AGAIN})


def _signer(opened: Opened) -> URLSafeSerializer:
    return URLSafeSerializer(opened.session_secret.get_secret_value(), salt="picture of a plan")
