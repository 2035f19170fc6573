"""The photo server of a store: pictures out of its database, to whoever shows them.

A picture that is asked for as browsers ask for it takes one statement and no thread, and passes the gate by (`_Lane`);
whatever else is asked, ranges above all, is answered by the routes. What is known of a picture is read apart from its
bytes wherever these are not sent.
"""

import html
import io
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple
from urllib.parse import quote
from uuid import UUID

import psycopg
from PIL import Image, ImageDraw
from psycopg.types.numeric import Int4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from imagesync_pipelines.connectors.edge.store import StoreDatabase, open_store
from imagesync_pipelines.languages import _, current
from imagesync_pipelines.settings import LanguageSettings, load_settings
from imagesync_pipelines.storage.reader import Reader
from imagesync_pipelines.web.gate import is_head, is_known, protect
from imagesync_pipelines.web.languages import Spoken
from imagesync_pipelines.web.pieces import Outgoing
from imagesync_pipelines.web.service import disposition

Missing = Literal["404", "placeholder", "redirect"]
RawHeaders = list[tuple[bytes, bytes]]

# What a browser may show; anything else, SVG above all, is handed over as a file.
SHOWN_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp", "image/avif"})
FOR_GOOD = "public, max-age=31536000, immutable"
ASK_AGAIN = "no-cache"
TRIES = 3
_SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
_OF_ALL = [(b"accept-ranges", b"bytes"), *((name.lower().encode(), value.encode()) for name, value in _SAFE.items())]
_PAGE_SAFE = {**_SAFE, "Content-Security-Policy": "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'"}
_PAGE = """<!doctype html><html lang="{language}"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<style>:root{{color-scheme:light dark}}body{{font:16px sans-serif;margin:2rem}}
img{{height:160px;max-width:100%;margin:4px;border-radius:4px;object-fit:contain}}</style>
<main><h1>{heading}</h1>{shown}</main></html>"""

LISTED = 100

_TAG = "coalesce(nullif(lower(checksum), ''), md5(image_binary), '')"
# A picture before none, the primary before the others; after a replacement that left two, the one that was synced, then
# the newer one.
_SHOWN_FIRST = """
 ORDER BY image_binary IS NULL, p.is_primary DESC NULLS LAST, sync_status IS DISTINCT FROM 'synced', p.sort_order,
          updated_at DESC NULLS LAST, id
"""
BY_ID = "$1::uuid"
# Chosen before anything of a picture is read.
OF_PRODUCT = f"(SELECT id FROM {{table}} p WHERE product_id = $1::uuid {_SHOWN_FIRST} LIMIT 1)"  # noqa: S608 - names are constants of this module
# The first bytes of the picture, unless the reader has it: nothing of it is touched then.
_PICTURE = f"""
SELECT id, coalesce(content_type, ''), coalesce(filename, ''), coalesce(object_key, ''), {_TAG},
       coalesce(octet_length(image_binary), 0),
       CASE WHEN {{most}} = 0 OR {_TAG} = $2::text THEN NULL
            WHEN octet_length(image_binary) <= {{most}} THEN image_binary
            ELSE substring(image_binary FROM 1 FOR {{most}}) END
  FROM {{table}} WHERE id = """  # noqa: S608 - names are constants of this module
# The checksum keeps a picture that was replaced in between from going out under the old ETag.
_BYTES = f"""
SELECT substring(image_binary FROM $3::int4 + 1 FOR $4::int4) FROM {{table}} WHERE id = $1::uuid AND {_TAG} = $2::text
"""  # noqa: S608 - names are constants of this module
_LISTED = f"""
SELECT id::text, coalesce(content_type, ''), coalesce(filename, ''), {_TAG}, coalesce(octet_length(image_binary), 0),
       coalesce(is_primary, false), coalesce(sort_order, 0), coalesce(sync_status, 'pending')
  FROM {{table}} p
"""  # noqa: S608 - names are constants of this module
# Photos whose pictures came last.
_NEWEST = f"WHERE image_binary IS NOT NULL ORDER BY last_sync_at DESC NULLS LAST, id LIMIT {LISTED}"
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")

# What the lane reads by itself; whatever is written otherwise is left to the gate and the routes.
_PATH = re.compile(r"/(photos)/([^/]+)|/products/([^/]+)/photo")
_VERSION = re.compile(rb"(?:v=([0-9A-Za-z]{0,64}))?")
_ONE_TAG = re.compile(rb'(?:W/)?"([^"]*)"')
_ODD = frozenset({b"range", b"if-range", b"if-match"})


class Picture(NamedTuple):
    """What is known of a picture, and the first bytes of it where they were asked for; length 0: it is not there."""

    id: UUID
    content_type: str
    filename: str
    object_key: str
    tag: str
    length: int
    body: bytes | None


class Listed(NamedTuple):
    """What is known of a photo."""

    id: str
    content_type: str
    filename: str
    tag: str
    length: int
    is_primary: bool
    sort_order: int
    sync_status: str


@dataclass(frozen=True)
class PhotoServer:
    """What answers the routes; base_url is where the head office's bucket is public, for `redirect`."""

    reader: Reader
    table: str
    missing: Missing
    base_url: str
    placeholder: bytes
    outgoing: Outgoing = field(default_factory=Outgoing)

    async def find(self, which: str, wanted: UUID, *, most: int = 0, known: str = "") -> Picture | None:
        """What is known of a picture, with so many of its first bytes unless its tag is known."""
        rows = await self.reader.rows(_statement(_PICTURE, which, self.table, most), wanted, known)
        return Picture(*rows[0]) if rows else None

    async def read(self, picture: Picture, first: int, length: int) -> bytes:
        """Bytes of a picture; none when it is no longer the one that is known."""
        part = (Int4(first), Int4(length))
        rows = await self.reader.rows(_statement(_BYTES, "", self.table), picture.id, picture.tag, *part)
        return rows[0][0] or b"" if rows else b""

    async def send(self, picture: Picture, part: range, first: bytes, receive: Receive, send: Send) -> None:
        """Send the bytes of a part, whose first ones are there, after the headers."""

        async def following(sent: int) -> bytes:
            left = part[sent:]
            try:
                return await self.read(picture, left.start, min(len(left), self.outgoing.piece))
            except (psycopg.Error, OSError):
                return b""  # the headers are out: the answer breaks off

        await self.outgoing.send(len(part), first, following, receive, send)

    async def picture(self, which: str, request: Request) -> ASGIApp:
        """The picture, whole or in part, or what is answered when it is not there."""
        wanted = _uuid(request.path_params["id"])
        for _nth in range(TRIES):
            found = await self.find(which, wanted) if wanted else None
            if wanted is None or found is None or not found.length:
                return _missing(self, found)
            raw = _headers(found, request.query_params.get("v", ""))
            headers = {name.decode(): value.decode("latin-1") for name, value in raw}
            if is_known(request, headers["etag"]):
                return Response(status_code=304, headers=headers)
            asked = _asked_range(request.headers, headers["etag"], found.length)
            part, status = (range(found.length), 200) if asked is None else (asked, 206)
            if not part:
                refusal = {**_SAFE, "Content-Range": f"bytes */{found.length}"}
                return PlainTextResponse("Range not satisfiable", 416, refusal)
            if asked:
                headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{found.length}"
            headers["content-length"] = str(len(part))
            if is_head(request):
                return Response(status_code=status, headers=headers)
            first = await self.read(found, part.start, min(len(part), self.outgoing.piece))
            if first:
                return _Part(status, headers, partial(self.send, found, part, first))
        return await _busy(request, RuntimeError("the picture changed while it was read"))

    async def listed(self, which: str, *values: UUID) -> list[Listed]:
        """What is known of some photos; `which` is the end of the statement."""
        rows = await self.reader.rows(_statement(_LISTED, which, self.table), *values)
        return [Listed(*row) for row in rows]

    async def of_product(self, request: Request) -> Response:
        """The photos of a product, without their bytes."""
        product_id = _uuid(request.path_params["id"])
        which = f"WHERE product_id = $1::uuid {_SHOWN_FIRST}"
        photos = [
            {
                "id": photo.id,
                "url": f"/photos/{photo.id}?v={photo.tag[:8]}" if photo.length else None,
                "content_type": photo.content_type,
                "size": photo.length,
                "is_primary": photo.is_primary,
                "sort_order": photo.sort_order,
                "sync_status": photo.sync_status,
            }
            for photo in (await self.listed(which, product_id) if product_id else [])
        ]
        return JSONResponse({"photos": photos}, headers={"Cache-Control": ASK_AGAIN, **_SAFE})

    async def page(self, request: Request) -> Response:
        """The newest photos, for people."""
        shown = "\n".join(
            f'<a href="/photos/{photo.id}"><img loading="lazy" alt="{html.escape(photo.filename)}" '
            f'src="/photos/{photo.id}?v={photo.tag[:8]}"></a>'
            for photo in await self.listed(_NEWEST)
        )
        text = _PAGE.format(
            language=current(),
            title=_("Photos of this store"),
            heading=_("Newest photos"),
            shown=shown or _("No photo has been synchronised yet."),
        )
        return HTMLResponse(text, headers={"Cache-Control": ASK_AGAIN, **_PAGE_SAFE})

    async def health(self, request: Request) -> Response:
        """Whether the store's database answers."""
        await self.find(BY_ID, UUID(int=0))
        return PlainTextResponse("ok", headers={"Cache-Control": ASK_AGAIN})


class _Part:
    """An answer whose body `send` sends."""

    def __init__(self, status: int, headers: Mapping[str, str], send: Any) -> None:
        self._status, self._headers, self._send = status, headers, send

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in self._headers.items()]
        await send(_start(self._status, raw))
        await self._send(receive, send)


class _Lane:
    """Answers a GET of a whole picture; passes everything else on."""

    def __init__(self, app: ASGIApp, server: PhotoServer) -> None:
        self._app, self._server = app, server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        asked = _plain(scope)
        if asked is None:
            await self._app(scope, receive, send)
            return
        server, (which, wanted, version, known) = self._server, asked
        try:
            found = await server.find(which, wanted, most=server.outgoing.piece, known=known)
        except (psycopg.Error, OSError) as error:
            await (await _busy(Request(scope), error))(scope, receive, send)
            return
        if found is None or not found.length:
            await _missing(server, found)(scope, receive, send)
            return
        headers = _headers(found, version)
        if found.body is None:
            await send(_start(304, headers))
            await send({"type": "http.response.body", "body": b""})
            return
        await send(_start(200, [*headers, (b"content-length", b"%d" % found.length)]))
        await server.send(found, range(found.length), found.body, receive, send)


def open_app(url: str, *, missing: Missing, base_url: str) -> Starlette:
    """The application over the store's database at a URL, for a process of its own."""
    return build_app(
        open_store(url), missing=missing, base_url=base_url, language=load_settings(LanguageSettings).language
    )


def build_app(
    database: StoreDatabase, *, missing: Missing = "404", base_url: str = "", language: str = ""
) -> Starlette:
    """The application that serves a store's photos.

    missing: what is answered when a picture is not there. language: of its page, for who asks for none. Raises
    ValueError for `redirect` without a base_url.
    """
    if missing == "redirect" and not base_url:
        raise ValueError("to redirect, the photo server needs the URL of the head office's bucket")
    reader = Reader(database.engine.url)
    server = PhotoServer(reader, database.table, missing, base_url.rstrip("/"), _draw_placeholder())

    @asynccontextmanager
    async def closing(_app: Starlette) -> AsyncIterator[None]:
        yield
        await reader.close()

    routes = [
        Route("/", server.page),
        Route("/photos/{id}", partial(server.picture, BY_ID)),
        Route("/products/{id}/photo", partial(server.picture, OF_PRODUCT)),
        Route("/products/{id}/photos", server.of_product),
        Route("/health", server.health),
    ]
    faults = dict.fromkeys((psycopg.Error, TimeoutError, OSError), _busy)
    app = Starlette(routes=routes, exception_handlers=faults, lifespan=closing)
    protect(app)
    app.add_middleware(Spoken, setting=language)
    app.add_middleware(_Lane, server=server)
    return app


def _plain(scope: Scope) -> tuple[str, UUID, str, str] | None:
    """Which picture is asked for, in which version, and the tag that the reader has; None for what is not plain."""
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    path, version = _PATH.fullmatch(scope["path"]), _VERSION.fullmatch(scope["query_string"])
    if path is None or version is None:
        return None
    known = b""
    for name, value in scope["headers"]:
        if name == b"if-none-match":
            tag = _ONE_TAG.fullmatch(value)
            if tag is None or known:
                return None
            known = tag[1]
        elif name in _ODD:
            return None
    wanted = _uuid(path[2] or path[3])
    which = BY_ID if path[1] else OF_PRODUCT
    return None if wanted is None else (which, wanted, (version[1] or b"").decode(), known.decode("latin-1"))


@lru_cache
def _statement(text: str, which: str, table: str, most: int = 0) -> str:
    """A statement, the same object each time: its hash is not worked out again."""
    return (text + which).format(table=table, most=most)


def _start(status: int, headers: RawHeaders) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def _headers(picture: Picture, version: str) -> RawHeaders:
    """The headers of a picture; only a URL that names its content, in its version, may be kept for good."""
    caching = FOR_GOOD if version.lower() == picture.tag[:8] else ASK_AGAIN
    return [
        *_shown_as(picture.content_type, picture.filename),
        (b"etag", b'"%b"' % picture.tag.encode("latin-1", "replace")),
        (b"cache-control", caching.encode()),
        *_OF_ALL,
    ]


@lru_cache(4096)
def _shown_as(content_type: str, filename: str) -> RawHeaders:
    """Content-Type and Content-Disposition."""
    kind = content_type.split(";")[0].strip().lower()
    is_shown = kind in SHOWN_TYPES
    how = disposition("inline" if is_shown else "attachment", filename)
    kind = kind if is_shown else "application/octet-stream"
    return [(b"content-type", kind.encode()), (b"content-disposition", how.encode())]


def _missing(server: PhotoServer, picture: Picture | None) -> Response:
    """What is answered when a picture is not there."""
    headers = {"Cache-Control": ASK_AGAIN, **_SAFE}
    if server.missing == "redirect" and picture is not None and picture.object_key:
        url = f"{server.base_url}/{quote(picture.object_key)}?v={picture.tag[:8]}"
        return RedirectResponse(url, 307, headers)
    if server.missing == "placeholder":
        return Response(server.placeholder, 200, headers, media_type="image/png")
    return PlainTextResponse("Image not found", 404, headers)


async def _busy(request: Request, error: Exception) -> Response:
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


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _draw_placeholder() -> bytes:
    """A grey picture that says that there is none."""
    image = Image.new("RGB", (400, 300), "#e5e7eb")
    ImageDraw.Draw(image).text((200, 150), "No image", fill="#6b7280", anchor="mm", font_size=32)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
