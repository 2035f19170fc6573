"""The quick way of a download: a whole photo for who may have it, with one statement, one read of the object store and
no thread; or, for a store that reads the bucket itself, where the photo is there.

Whatever else is asked, every refusal and every fault of the object store are left to the application (reading.py).
"""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import obstore
import psycopg
from sqlalchemy.dialects import postgresql
from starlette.types import ASGIApp, Receive, Scope, Send

from imagesync_pipelines.storage.object_reader import is_plain, open_objects
from imagesync_pipelines.storage.objects import S3Place
from imagesync_pipelines.storage.reader import Reader
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.answers import SAFE, RequestRefusedError, database_gone
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.reading import READABLE, photo_headers
from imagesync_pipelines.web.head_office.tokens import Owner, owner_of
from imagesync_pipelines.web.pieces import Outgoing

# Of the object store, at once and for its next bytes.
READS, READ_SECONDS = 32, timedelta(seconds=60)

_PATH = re.compile(r"/api/v1/sync/product-photos/([0-9a-fA-F-]{36})/download/")
_QUERY = re.compile(rb"store_id=([0-9a-fA-F-]{36})(&redirect=false)?")
_ODD = frozenset({b"range", b"if-range", b"if-match", b"if-none-match"})

logger = logging.getLogger("imagesync.head_office")


class Photo(NamedTuple):
    """What is known of a photo; from_bucket: of its store."""

    object_key: str
    filename: str
    content_type: str
    checksum: str
    version: int
    from_bucket: bool


_COLUMNS = [(t.store if name == "from_bucket" else t.photo).c[name] for name in Photo._fields]
_COMPILED: Any = READABLE.with_only_columns(*_COLUMNS).compile(dialect=postgresql.dialect(paramstyle="numeric_dollar"))  # type: ignore[no-untyped-call]
_STATEMENT, _ORDER = str(_COMPILED), tuple(_COMPILED.positiontup)


class DownloadLane:
    """Answers the downloads that it can; passes everything else on."""

    def __init__(self, app: ASGIApp, office: HeadOffice, place: S3Place, reader: Reader) -> None:
        self._app, self._office, self._reader = app, office, reader
        self._outgoing, self._reads = Outgoing(), asyncio.Semaphore(READS)
        # The application tries again, and says what is wrong.
        self._objects = open_objects(place, tries=1, seconds=60, read_timeout=READ_SECONDS)
        outside = office.settings.bucket_endpoint or place.endpoint_url
        self._signing = open_objects(replace(place, endpoint_url=outside), tries=1, seconds=60)
        self._good_for = timedelta(seconds=office.settings.redirect_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        asked = self._plain(scope)
        if asked is None:
            await self._app(scope, receive, send)
            return
        owner, store_id, photo_id, may_redirect = asked
        values = {"caller": owner.id, "generation": owner.generation, "store": store_id, "photo": photo_id}
        try:
            rows = await self._reader.rows(_STATEMENT, *(values[name] for name in _ORDER))
        except (psycopg.Error, OSError) as error:
            answer = database_gone(None, error)
            answer.headers.update(SAFE)
            await answer(scope, receive, send)
            return
        photo = Photo(*rows[0]) if rows else None
        if photo is None or not is_plain(photo.object_key):
            await self._app(scope, receive, send)
        elif may_redirect and photo.from_bucket:
            url = obstore.sign(self._signing, "GET", photo.object_key, self._good_for)
            headers = {**photo_headers(photo), "Cache-Control": "no-store", "Location": url, "Content-Length": "0"}
            del headers["Accept-Ranges"]
            await send(_start(307, headers))
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._send(photo, scope, receive, send)

    def _plain(self, scope: Scope) -> tuple[Owner, UUID, UUID, bool] | None:
        """Who asks, for which store and photo, and whether it may be sent elsewhere; None for what is not plain."""
        if scope["type"] != "http" or scope["method"] != "GET":
            return None
        path, query = _PATH.fullmatch(scope["path"]), _QUERY.fullmatch(scope["query_string"])
        if path is None or query is None:
            return None
        said = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(said) != 1 or any(name in _ODD for name, _ in scope["headers"]):
            return None
        try:
            owner = owner_of(self._office, said[0].decode("latin-1"))
            return owner, UUID(query[1].decode()), UUID(path[1]), query[2] is None
        except (RequestRefusedError, ValueError):
            return None

    async def _send(self, photo: Photo, scope: Scope, receive: Receive, send: Send) -> None:
        """Send a photo out of the object store: at once what is small, else as it is taken."""
        try:
            async with self._reads:
                found = await obstore.get_async(self._objects, photo.object_key)
                size, most = found.meta["size"], self._outgoing.piece
                pieces = aiter(found.stream(min_chunk_size=most)) if size > most else None
                first = bytes(await anext(pieces) if pieces else await found.bytes_async())
        except Exception as error:  # noqa: BLE001 - the application asks again, with a client that tells errors apart
            logger.debug("%s is asked for again: %s", photo.object_key, type(error).__name__)
            await self._app(scope, receive, send)
            return

        async def following(_: int) -> bytes:
            return await _next(pieces, photo.object_key)

        await send(_start(200, {**photo_headers(photo), "Content-Length": str(size)}))
        await self._outgoing.send(size, first, following, receive, send)


async def _next(pieces: AsyncIterator[Any] | None, key: str) -> bytes:
    """The next piece of an object; none when there is none, whatever the reason."""
    try:
        return bytes(await anext(pieces)) if pieces else b""
    except Exception as error:  # noqa: BLE001 - the answer breaks off, as the object did
        logger.error("the object %s broke off: %s", key, type(error).__name__)
        return b""


def _start(status: int, headers: dict[str, str]) -> dict[str, Any]:
    raw = [(name.lower().encode(), value.encode("latin-1", "replace")) for name, value in {**SAFE, **headers}.items()]
    return {"type": "http.response.start", "status": status, "headers": raw}
