"""The photo server of a store: pictures out of its database, to whoever shows them."""

import html
import io
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote
from uuid import UUID

from PIL import Image, ImageDraw
from sqlalchemy.exc import DBAPIError, TimeoutError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from imagesync_pipelines.connectors.edge.store import StoreDatabase
from imagesync_pipelines.web.edge_photos.pictures import StorePicture, StorePictures
from imagesync_pipelines.web.edge_photos.ranges import NOT_SATISFIABLE, asked_range

Missing = Literal["404", "placeholder", "redirect"]

# What a browser may show; anything else, SVG above all, is handed over as a file.
SHOWN_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/avif"})
FOR_GOOD = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
TRIES = 3
_SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
_PAGE_SAFE = {**_SAFE, "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'"}


@dataclass(frozen=True)
class PhotoServer:
    """What the routes work with; base_url is where the head office's bucket is public, for `redirect`."""

    pictures: StorePictures
    missing: Missing
    base_url: str
    placeholder: bytes


def build_app(database: StoreDatabase, *, missing: Missing = "404", base_url: str = "") -> Starlette:
    """The application that serves a store's photos.

    missing: what is answered when a picture is not there. Raises ValueError for `redirect` without a base_url.
    """
    if missing == "redirect" and not base_url:
        raise ValueError("to redirect, the photo server needs the URL of the head office's bucket")
    routes = [
        Route("/", _page),
        Route("/photos/{photo_id}", _photo),
        Route("/products/{product_id}/photo", _photo_of_product),
        Route("/products/{product_id}/photos", _photos_of_product),
        Route("/health", _health),
    ]
    handlers: dict[type[Exception], Callable[[Request, Exception], Response | Awaitable[Response]]] = {
        DBAPIError: _busy,
        TimeoutError: _busy,
    }
    app = Starlette(routes=routes, exception_handlers=handlers)
    app.state.server = PhotoServer(StorePictures(database), missing, base_url.rstrip("/"), _draw_placeholder())
    return app


def _photo(request: Request) -> Response:
    """A photo by its id."""
    return _answer(request, lambda server, photo_id: server.pictures.by_id(photo_id), "photo_id")


def _photo_of_product(request: Request) -> Response:
    """The photo that a product shows first."""
    return _answer(request, lambda server, product_id: server.pictures.of_product(product_id), "product_id")


def _photos_of_product(request: Request) -> Response:
    """The photos of a product, without their bytes."""
    product_id = _uuid(request.path_params["product_id"])
    found = _server(request).pictures.all_of_product(product_id) if product_id else []
    photos = [
        {
            "id": picture.photo_id,
            "url": f"/photos/{picture.photo_id}?v={picture.checksum[:8]}" if picture.length else None,
            "content_type": picture.content_type,
            "size": picture.length,
            "is_primary": picture.is_primary,
            "sort_order": picture.sort_order,
            "sync_status": picture.sync_status,
        }
        for picture in found
    ]
    return JSONResponse({"photos": photos}, headers={"Cache-Control": ASK_AGAIN, **_SAFE})


def _page(request: Request) -> Response:
    """The newest photos, for people."""
    shown = "\n".join(
        f'<a href="/photos/{picture.photo_id}"><img loading="lazy" alt="{html.escape(picture.filename)}" '
        f'src="/photos/{picture.photo_id}?v={picture.checksum[:8]}"></a>'
        for picture in _server(request).pictures.newest()
    )
    style = "body{font:16px sans-serif;margin:2rem}img{height:160px;margin:4px;border-radius:4px}"
    text = shown or "No photo has been synchronised yet."
    page = f"<!doctype html><title>Photos of this store</title><style>{style}</style><h1>Newest photos</h1>{text}"
    return HTMLResponse(page, headers={"Cache-Control": ASK_AGAIN, **_PAGE_SAFE})


def _health(request: Request) -> Response:
    """Whether the store's database answers."""
    _server(request).pictures.by_id(UUID(int=0))
    return PlainTextResponse("ok", headers={"Cache-Control": ASK_AGAIN})


def _answer(request: Request, find: Callable[[PhotoServer, UUID], StorePicture | None], name: str) -> Response:
    """A picture, whole or in part, or what is answered when it is not there."""
    server, wanted = _server(request), _uuid(request.path_params[name])
    for _ in range(TRIES):
        picture = find(server, wanted) if wanted else None
        if picture is None or not picture.length:
            return _missing(server, picture)
        answer = _answer_with(request, server, picture)
        if answer is not None:
            return answer
    return _busy(request, RuntimeError("the picture changed while it was read"))


def _answer_with(request: Request, server: PhotoServer, picture: StorePicture) -> Response | None:
    """The answer for a picture that is there; None when it was replaced meanwhile."""
    headers = _headers(request, picture)
    if _is_known(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    part = asked_range(request.headers, headers["ETag"], picture.length)
    if part is NOT_SATISFIABLE:
        return PlainTextResponse("Range not satisfiable", 416, {**_SAFE, "Content-Range": f"bytes */{picture.length}"})
    first, length, status = 0, picture.length, 200
    if part is not None:
        first, length, status = part.first, part.length, 206
        headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{picture.length}"
    headers["Content-Length"] = str(length)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    body = server.pictures.read(picture, first, length)
    return None if body is None else Response(body, status, headers)


def _headers(request: Request, picture: StorePicture) -> dict[str, str]:
    """The headers of a picture; only a URL that names its content may be kept for good."""
    kind = picture.content_type.split(";")[0].strip().lower()
    is_shown = kind in SHOWN_TYPES
    plain = "".join(
        one if one.isascii() and one.isprintable() and one not in '"\\' else "_" for one in picture.filename
    )
    name = f"filename=\"{plain or 'photo'}\"; filename*=UTF-8''{quote(picture.filename or 'photo', safe='')}"
    named = request.query_params.get("v", "").lower() == picture.checksum[:8]
    return {
        "Content-Type": kind if is_shown else "application/octet-stream",
        "Content-Disposition": f"{'inline' if is_shown else 'attachment'}; {name}",
        "ETag": f'"{picture.checksum}"',
        "Cache-Control": FOR_GOOD if named else ASK_AGAIN,
        "Accept-Ranges": "bytes",
        **_SAFE,
    }


def _missing(server: PhotoServer, picture: StorePicture | None) -> Response:
    """What is answered when a picture is not there."""
    headers = {"Cache-Control": ASK_AGAIN, **_SAFE}
    if server.missing == "redirect" and picture is not None and picture.object_key:
        url = f"{server.base_url}/{quote(picture.object_key)}?v={picture.checksum[:8]}"
        return RedirectResponse(url, 307, headers)
    if server.missing == "placeholder":
        return Response(server.placeholder, 200, headers, media_type="image/png")
    return PlainTextResponse("Image not found", 404, headers)


def _busy(request: Request, error: Exception) -> Response:
    """The store's database does not answer now; nothing of its error is shown."""
    return PlainTextResponse("The photos cannot be read at the moment", 503, {"Retry-After": "5", **_SAFE})


def _is_known(if_none_match: str, etag: str) -> bool:
    """RFC 9110, 13.1.2: any of the tags that the client has, compared without their W/."""
    known = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return etag in known or "*" in known


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _server(request: Request) -> PhotoServer:
    server: PhotoServer = request.app.state.server
    return server


def _draw_placeholder() -> bytes:
    """A grey picture that says that there is none."""
    image = Image.new("RGB", (400, 300), "#e5e7eb")
    ImageDraw.Draw(image).text((200, 150), "No image", fill="#6b7280", anchor="mm", font_size=32)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
