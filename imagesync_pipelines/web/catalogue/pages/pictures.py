"""Pictures in the sizes that pages need, made from the source's own files.

What belongs here: the route, and the grey picture when there is none. What does not: fetching a URL that is data
(upstream/fetch.py). A picture that cannot be had is never an error page.
"""

import io
import warnings
from importlib.resources import files
from typing import Literal

from fastapi import APIRouter, HTTPException
from itsdangerous import BadSignature, URLSafeSerializer
from PIL import Image, ImageOps
from starlette.responses import Response

from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines.upstream.fetch import FetchPolicy, fetch_image
from imagesync_pipelines.web.catalogue.opening import Opened
from imagesync_pipelines.web.catalogue.pages.rendering import PACKAGE, Here, RowId
from imagesync_pipelines.web.catalogue.reading.images import images_by_id

router = APIRouter(include_in_schema=False)

# The longer side in pixels.
PURPOSES = {"thumb": 160, "small": 480, "web": 1200}
FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
FOR_A_DAY = "private, max-age=86400"
ASK_SOON = "no-cache"


@router.get("/media/{image_id}/{purpose}", name="derivative")
def derivative(opened: Here, image_id: RowId, purpose: Literal["thumb", "small", "web"]) -> Response:
    """A product image as WebP of at most the purpose's size; a grey picture when it cannot be had now."""
    with opened.engine.connect() as connection:
        view = images_by_id(connection, [image_id]).get(image_id)
    url = None if view is None else (view.thumbnail_url or view.image_url) if purpose == "thumb" else view.image_url
    body = _smaller(opened, url, PURPOSES[purpose]) if url else None
    if body is None:
        return Response(placeholder(), media_type="image/svg+xml", headers={"Cache-Control": ASK_SOON})
    return Response(body, media_type="image/webp", headers={"Cache-Control": FOR_A_DAY})


@router.get("/plan-pictures/{token}", name="picture_of_plan")
def picture_of_plan(opened: Here, token: str) -> Response:
    """A picture that a plan speaks about and no product image shows; the token is ours and holds its URL."""
    try:
        url = _signer(opened).loads(token)
    except BadSignature:
        raise HTTPException(404) from None
    body = _smaller(opened, url, PURPOSES["thumb"])
    if body is None:
        return Response(placeholder(), media_type="image/svg+xml", headers={"Cache-Control": ASK_SOON})
    return Response(body, media_type="image/webp", headers={"Cache-Control": FOR_A_DAY})


def picture_token(opened: Opened, url: str) -> str:
    """A URL that only we can have written: the route fetches nothing else."""
    token: str = _signer(opened).dumps(url)
    return token


def placeholder() -> bytes:
    """The grey picture that says that there is none."""
    return (files(PACKAGE) / "static" / "no-picture.svg").read_bytes()


def _signer(opened: Opened) -> URLSafeSerializer:
    return URLSafeSerializer(opened.session_secret.get_secret_value(), salt="picture of a plan")


def _smaller(opened: Opened, url: str, side: int) -> bytes | None:
    """The picture behind a URL, upright, its longer side at most `side` pixels; None when it cannot be had."""
    policy = FetchPolicy(
        allowed_hosts=frozenset(opened.shared.allowed_image_hosts),
        max_bytes=opened.settings.derivative_max_bytes,
        total_deadline=opened.settings.derivative_seconds,
        tries=1,
    )
    try:
        body = fetch_image(url, policy).body
        with warnings.catch_warnings(), Image.open(io.BytesIO(body), formats=FORMATS) as image:
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            if image.width * image.height > opened.settings.derivative_max_pixels:
                return None
            image.draft("RGB", (side, side))
            upright = ImageOps.exif_transpose(image)
            small = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except (UpstreamError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    small.thumbnail((side, side))
    target = io.BytesIO()
    small.save(target, "WEBP", quality=80)
    return target.getvalue()
