"""The photo server of a store: pictures out of its database, to whoever shows them.

What is known of a picture is read apart from its bytes; a blob is read for one photo at a time, by its own statement.
"""

import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal
from urllib.parse import quote
from uuid import UUID

import sqlalchemy as sa
from PIL import Image, ImageDraw
from sqlalchemy.exc import DBAPIError, TimeoutError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from imagesync_pipelines.connectors.edge.store import StoreDatabase
from imagesync_pipelines.web.gate import is_head, is_known, protect
from imagesync_pipelines.web.service import disposition

Missing = Literal["404", "placeholder", "redirect"]

# What a browser may show; anything else, SVG above all, is handed over as a file.
SHOWN_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/avif"})
FOR_GOOD = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
TRIES = 3
_SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
_PAGE_SAFE = {**_SAFE, "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'"}

LISTED = 100

# What is known of a photo; length in bytes, 0 when its picture is not there.
_KNOWN = """
SELECT id::text, coalesce(content_type, '') AS content_type, coalesce(filename, '') AS filename,
       coalesce(object_key, '') AS object_key, coalesce(nullif(lower(checksum), ''), md5(image_binary), '') AS checksum,
       coalesce(octet_length(image_binary), 0) AS length, coalesce(is_primary, false) AS is_primary,
       coalesce(sort_order, 0) AS sort_order, coalesce(sync_status, 'pending') AS sync_status
  FROM {table} p
"""
# A picture before none, the primary before the others; after a replacement that left two, the one that was synced, then
# the newer one.
_SHOWN_FIRST = """
 ORDER BY image_binary IS NULL, p.is_primary DESC NULLS LAST, sync_status IS DISTINCT FROM 'synced', p.sort_order,
          updated_at DESC NULLS LAST, id
"""
_BY_ID = "WHERE id = :id"
_OF_PRODUCT = f"WHERE product_id = :id {_SHOWN_FIRST}"
# Photos whose pictures came last.
_NEWEST = f"WHERE image_binary IS NOT NULL ORDER BY last_sync_at DESC NULLS LAST, id LIMIT {LISTED}"
# The checksum keeps a picture that was replaced between the two statements from going out under the old ETag.
_BYTES = """
SELECT substring(image_binary FROM :first + 1 FOR :length) FROM {table}
 WHERE id = :id AND coalesce(nullif(lower(checksum), ''), md5(image_binary)) = :checksum
"""
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@dataclass(frozen=True)
class PhotoServer:
    """What answers the routes; base_url is where the head office's bucket is public, for `redirect`."""

    database: StoreDatabase
    missing: Missing
    base_url: str
    placeholder: bytes

    def find(self, which: str, **values: UUID) -> Sequence[sa.Row[Any]]:
        """What is known of some photos; `which` is the end of the statement."""
        statement = sa.text(_KNOWN.format(table=self.database.table) + which)
        with self.database.engine.connect() as connection:
            return connection.execute(statement, values).all()

    def read(self, picture: sa.Row[Any], first: int, length: int) -> bytes | None:
        """Bytes of a picture; None when it is no longer the one that is known."""
        statement = sa.text(_BYTES.format(table=self.database.table))
        values = {"id": UUID(picture.id), "checksum": picture.checksum, "first": first, "length": length}
        with self.database.engine.connect() as connection:
            found = connection.scalar(statement, values)
        return None if found is None else bytes(found)

    def picture(self, which: str, request: Request) -> Response:
        """The first picture of these, whole or in part, or what is answered when it is not there."""
        wanted = _uuid(request)
        for _ in range(TRIES):
            found = self.find(f"{which} LIMIT 1", id=wanted) if wanted else []
            picture = found[0] if found else None
            if picture is None or not picture.length:
                return _missing(self, picture)
            answer = _answer_with(request, self, picture)
            if answer is not None:
                return answer
        return _busy(request, RuntimeError("the picture changed while it was read"))

    def of_product(self, request: Request) -> Response:
        """The photos of a product, without their bytes."""
        product_id = _uuid(request)
        photos = [
            {
                "id": picture.id,
                "url": f"/photos/{picture.id}?v={picture.checksum[:8]}" if picture.length else None,
                "content_type": picture.content_type,
                "size": picture.length,
                "is_primary": picture.is_primary,
                "sort_order": picture.sort_order,
                "sync_status": picture.sync_status,
            }
            for picture in (self.find(_OF_PRODUCT, id=product_id) if product_id else [])
        ]
        return JSONResponse({"photos": photos}, headers={"Cache-Control": ASK_AGAIN, **_SAFE})

    def page(self, request: Request) -> Response:
        """The newest photos, for people."""
        shown = "\n".join(
            f'<a href="/photos/{picture.id}"><img loading="lazy" alt="{html.escape(picture.filename)}" '
            f'src="/photos/{picture.id}?v={picture.checksum[:8]}"></a>'
            for picture in self.find(_NEWEST)
        )
        style = "body{font:16px sans-serif;margin:2rem}img{height:160px;margin:4px;border-radius:4px}"
        text = shown or "No photo has been synchronised yet."
        page = f"<!doctype html><title>Photos of this store</title><style>{style}</style><h1>Newest photos</h1>{text}"
        return HTMLResponse(page, headers={"Cache-Control": ASK_AGAIN, **_PAGE_SAFE})

    def health(self, request: Request) -> Response:
        """Whether the store's database answers."""
        self.find(_BY_ID, id=UUID(int=0))
        return PlainTextResponse("ok", headers={"Cache-Control": ASK_AGAIN})


def build_app(database: StoreDatabase, *, missing: Missing = "404", base_url: str = "") -> Starlette:
    """The application that serves a store's photos.

    missing: what is answered when a picture is not there. Raises ValueError for `redirect` without a base_url.
    """
    if missing == "redirect" and not base_url:
        raise ValueError("to redirect, the photo server needs the URL of the head office's bucket")
    server = PhotoServer(database, missing, base_url.rstrip("/"), _draw_placeholder())
    routes = [
        Route("/", server.page),
        Route("/photos/{id}", partial(server.picture, _BY_ID)),
        Route("/products/{id}/photo", partial(server.picture, _OF_PRODUCT)),
        Route("/products/{id}/photos", server.of_product),
        Route("/health", server.health),
    ]
    app = Starlette(routes=routes, exception_handlers={DBAPIError: _busy, TimeoutError: _busy})
    protect(app)
    return app


def _answer_with(request: Request, server: PhotoServer, picture: sa.Row[Any]) -> Response | None:
    """The answer for a picture that is there; None when it was replaced meanwhile."""
    headers = _headers(request, picture)
    if is_known(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    asked = _asked_range(request.headers, headers["ETag"], picture.length)
    part, status = (range(picture.length), 200) if asked is None else (asked, 206)
    if not part:
        return PlainTextResponse("Range not satisfiable", 416, {**_SAFE, "Content-Range": f"bytes */{picture.length}"})
    if asked:
        headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{picture.length}"
    headers["Content-Length"] = str(len(part))
    if is_head(request):
        return Response(status_code=status, headers=headers)
    body = server.read(picture, part.start, len(part))
    return None if body is None else Response(body, status, headers)


def _headers(request: Request, picture: sa.Row[Any]) -> dict[str, str]:
    """The headers of a picture; only a URL that names its content may be kept for good."""
    kind = picture.content_type.split(";")[0].strip().lower()
    is_shown = kind in SHOWN_TYPES
    named = request.query_params.get("v", "").lower() == picture.checksum[:8]
    return {
        "Content-Type": kind if is_shown else "application/octet-stream",
        "Content-Disposition": disposition("inline" if is_shown else "attachment", picture.filename),
        "ETag": f'"{picture.checksum}"',
        "Cache-Control": FOR_GOOD if named else ASK_AGAIN,
        "Accept-Ranges": "bytes",
        **_SAFE,
    }


def _missing(server: PhotoServer, picture: sa.Row[Any] | None) -> Response:
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


def _asked_range(headers: Mapping[str, str], etag: str, size: int) -> range | None:
    """The bytes asked for, of `size` bytes (RFC 9110, 14); None for the whole, empty behind the end.

    A range of another picture than the one with this ETag counts as no range. Several ranges at once are answered with
    the whole picture, which the RFC allows.
    """
    found = _RANGE.fullmatch(headers.get("range", "").strip())
    if found is None or headers.get("if-range", etag) != etag or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        return range(max(0, size - int(last)), size)
    if last and int(last) < int(first):
        return None
    return range(int(first), min(int(last) + 1, size) if last else size)


def _uuid(request: Request) -> UUID | None:
    try:
        return UUID(request.path_params["id"])
    except ValueError:
        return None


def _draw_placeholder() -> bytes:
    """A grey picture that says that there is none."""
    image = Image.new("RGB", (400, 300), "#e5e7eb")
    ImageDraw.Draw(image).text((200, 150), "No image", fill="#6b7280", anchor="mm", font_size=32)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
