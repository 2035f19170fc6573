"""Exports over HTTP: written whole to a file at the pace of the database, and given from there at the reader's.

So a slow reader holds a file and nothing else. An export of everything is written once for what the tables say, and
given to everybody who asks meanwhile. Visitors without a key have places of their own; nobody alone has them all.
"""

import hashlib
import logging
import os
import tempfile
import time
import weakref
from collections import Counter
from collections.abc import AsyncIterable, Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from threading import BoundedSemaphore, Lock
from typing import Annotated, Any, NamedTuple

import sqlalchemy as sa
from anyio import fail_after
from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from imagesync_pipelines.languages import _, ngettext
from imagesync_pipelines.products.exports import Format, export, kind_of
from imagesync_pipelines.web.catalogue.access import ApiKey, KeyScope
from imagesync_pipelines.web.catalogue.api.calls import NOT_MODIFIED, documented, needs
from imagesync_pipelines.web.catalogue.listing import conditions_of
from imagesync_pipelines.web.catalogue.pages.products import AskedFor
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.gate import is_head, is_known
from imagesync_pipelines.web.logins import address_of

router = APIRouter(include_in_schema=False)
log = logging.getLogger("imagesync.catalogue")

# Of each kind of visitor, with a key and without: so many exports are written at once or waited for, each with a
# connection; the others come again.
WRITTEN_AT_ONCE = 4
# So many are made while they are read: each asks for picture after picture, which pages wait for too.
COMING_AT_ONCE = 2
# So many are read at once by one visitor in one process, and by all without a key in all processes together.
OF_ONE_VISITOR, OF_STRANGERS = 4, 64
# Every export with filters is a file of its own: all that are read at the moment, in all processes, take so much of the
# disk at most, and one more of each process.
MOST_FILTERED_BYTES = 2 * 1024**3
# A reader that takes nothing for so long has gone away, whatever its connection says. One that takes less than SLOWEST
# bytes a second on the whole would hold a file for hours.
WRITE_SECONDS = 20.0
GRACE_SECONDS, SLOWEST = 60.0, 16 * 1024
CHUNK_BYTES = 64 * 1024
# A transaction that ended late may have the moment of an earlier one.
KEPT_SECONDS = 60.0
RETRY = {"Retry-After": "30"}

_STATE = sa.text("""
SELECT (SELECT max(id) FROM imagesync.product_image), (SELECT max(last_synced) FROM imagesync.product_image),
       (SELECT max(removed_at) FROM imagesync.image_removal), (SELECT max(id) FROM imagesync.product),
       (SELECT max(updated_at) FROM imagesync.product), (SELECT max(changed_at) FROM imagesync.shown_image)
""")


class Visitor(NamedTuple):
    """Who asks: a key, or an address without one."""

    name: str
    has_key: bool


class ExportFile:
    """An export as it was at one moment, on the local disk without a name: it goes with its last reader."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        digest = hashlib.sha256()
        with tempfile.TemporaryFile() as file:
            for part in parts:
                digest.update(part)
                file.write(part)
            file.flush()
            self.size = file.tell()
            self._descriptor = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self.etag = f'"{digest.hexdigest()[:32]}"'

    def chunks(self) -> Iterator[bytes]:
        """The bytes, for any number of readers at once."""
        for at in range(0, self.size, CHUNK_BYTES):
            yield os.pread(self._descriptor, CHUNK_BYTES, at)


class Given(StreamingResponse):
    """A file for one reader; one that takes nothing any more is cut off, and so is one that takes more seconds in all.

    leave: called at its end, whichever it is.
    """

    def __init__(
        self,
        parts: Iterable[bytes] | AsyncIterable[bytes],
        headers: Mapping[str, str],
        media_type: str,
        leave: Callable[[], None],
        seconds: float,
    ) -> None:
        super().__init__(parts, headers=headers, media_type=media_type)
        self._leave, self._seconds = leave, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""

        async def bounded(message: Message) -> None:
            with fail_after(WRITE_SECONDS):
                await send(message)

        try:
            with fail_after(self._seconds):
                await super().__call__(scope, receive, bounded)
        except (TimeoutError, ClientDisconnect):
            log.info("a reader of an export went away, or took it too slowly")
        finally:
            self._leave()


class Places:
    """Who reads how many exports."""

    def __init__(self, of_strangers: int) -> None:
        self._of_strangers = of_strangers
        self._lock = Lock()
        self._reading: Counter[Visitor] = Counter()

    def take(self, visitor: Visitor) -> None:
        """Count a reader. Raises HTTPException when there are as many as may be."""
        with self._lock:
            if self._reading[visitor] >= OF_ONE_VISITOR:
                said = ngettext(
                    "You are reading {n} exports already; try again when one has ended.",
                    "You are reading {n} exports already; try again when one has ended.",
                    OF_ONE_VISITOR,
                ).format(n=OF_ONE_VISITOR)
                raise HTTPException(429, said, RETRY)
            strangers = sum(number for one, number in self._reading.items() if not one.has_key)
            if not visitor.has_key and strangers >= self._of_strangers:
                said = ngettext(
                    "{n} exports are being read already; try again later.",
                    "{n} exports are being read already; try again later.",
                    self._of_strangers,
                ).format(n=self._of_strangers)
                raise HTTPException(503, said, RETRY)
            self._reading[visitor] += 1

    def leave(self, visitor: Visitor) -> None:
        """Count one less."""
        with self._lock:
            self._reading[visitor] -= 1
            # Visitors who left are not kept.
            self._reading += Counter()


class Kept(NamedTuple):
    """The newest export of everything: what the tables said, and until when that is believed."""

    state: tuple[object, ...]
    until: float
    file: ExportFile


class Exports:
    """The exports that this process gives at the moment."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        processes = opened.settings.processes
        self._places = Places(max(1, OF_STRANGERS // processes))
        self._most_filtered = MOST_FILTERED_BYTES // processes
        self._writers = {has_key: BoundedSemaphore(WRITTEN_AT_ONCE) for has_key in (True, False)}
        self._coming = BoundedSemaphore(COMING_AT_ONCE)
        self._of_format = {one: Lock() for one in Format}
        self._kept: dict[Format, Kept] = {}
        self._filtered: weakref.WeakSet[ExportFile] = weakref.WeakSet()
        self._filtered_lock = Lock()

    def answer(
        self, request: Request, visitor: Visitor, wanted: Format, conditions: Collection[sa.ColumnElement[bool]] = ()
    ) -> Response:
        """The export as a file to keep; 429 and 503 while as many as may be are under way.

        It is whole before the answer begins, so that a database that does not answer is an error and no broken file.
        """
        kind, found = kind_of(wanted), partial(self._newest, wanted)
        if conditions:
            found = partial(self._of_filters, partial(self._written, wanted, conditions))
        return self._given(request, visitor, found, kind.file_name, kind.media_type)

    def other(
        self, request: Request, visitor: Visitor, parts: Iterable[bytes], file_name: str, media_type: str
    ) -> Response:
        """Another file of somebody's own filters, given as those of products are."""
        found = partial(self._of_filters, partial(ExportFile, parts))
        return self._given(request, visitor, found, file_name, media_type)

    def as_it_comes(
        self, visitor: Visitor, parts: AsyncIterable[bytes], file_name: str, media_type: str, seconds: float
    ) -> Response:
        """A file that nobody waits for until it is whole; it keeps a place as the others do; few are made at once."""
        self._places.take(visitor)
        if not self._coming.acquire(blocking=False):
            self._places.leave(visitor)
            said = ngettext(
                "{n} archives are being made already; try again soon.",
                "{n} archives are being made already; try again soon.",
                COMING_AT_ONCE,
            ).format(n=COMING_AT_ONCE)
            raise HTTPException(503, said, RETRY)

        def leave() -> None:
            self._coming.release()
            self._places.leave(visitor)

        headers = {"Cache-Control": "no-store", "Content-Disposition": f'attachment; filename="{file_name}"'}
        return Given(parts, headers, media_type, leave, seconds)

    def _given(
        self, request: Request, visitor: Visitor, found: Callable[[], ExportFile], file_name: str, media_type: str
    ) -> Response:
        self._places.take(visitor)
        leave = partial(self._places.leave, visitor)
        try:
            file = self._file(visitor, found)
            headers = {"Cache-Control": "private, no-cache", "ETag": file.etag}
            if is_known(request, file.etag):
                leave()
                return Response(status_code=304, headers=headers)
            headers["Content-Disposition"] = f'attachment; filename="{file_name}"'
            headers["Content-Length"] = str(file.size)
            if is_head(request):
                leave()
                return Response(headers=headers, media_type=media_type)
        except BaseException:
            leave()
            raise
        return Given(file.chunks(), headers, media_type, leave, GRACE_SECONDS + file.size / SLOWEST)

    def _file(self, visitor: Visitor, found: Callable[[], ExportFile]) -> ExportFile:
        writers = self._writers[visitor.has_key]
        if not writers.acquire(blocking=False):
            said = ngettext(
                "{n} exports are being written already; try again soon.",
                "{n} exports are being written already; try again soon.",
                WRITTEN_AT_ONCE,
            ).format(n=WRITTEN_AT_ONCE)
            raise HTTPException(503, said, RETRY)
        try:
            return found()
        except OSError as error:
            log.error("an export cannot be written to the temporary folder: %s", error)
            said = _("The export cannot be written at the moment; try again later.")
            raise HTTPException(503, said, RETRY) from None
        finally:
            writers.release()

    def _of_filters(self, write: Callable[[], ExportFile]) -> ExportFile:
        with self._filtered_lock:
            if sum(file.size for file in self._filtered) > self._most_filtered:
                said = _("Large exports with filters are being read; try again later.")
                raise HTTPException(503, said, RETRY)
        file = write()
        with self._filtered_lock:
            self._filtered.add(file)
        return file

    def _newest(self, wanted: Format) -> ExportFile:
        """The export of everything; whoever comes while it is written waits for it."""
        with self._of_format[wanted]:
            with self._opened.engine.connect() as connection:
                state = tuple(connection.execute(_STATE).one())
            kept = self._kept.get(wanted)
            if kept is None or kept.state != state or time.monotonic() > kept.until:
                kept = Kept(state, time.monotonic() + KEPT_SECONDS, self._written(wanted, ()))
                self._kept[wanted] = kept
            return kept.file

    def _written(self, wanted: Format, conditions: Collection[sa.ColumnElement[bool]]) -> ExportFile:
        first = self._opened.showing.image_db_own_images_first
        return ExportFile(export(self._opened.engine, wanted, conditions, own_images_first=first))


@router.get("/exports/{wanted}", name="export")
def export_of_list(request: Request, opened: Here, asked: AskedFor, wanted: Format) -> Response:
    """The images of the products that the list shows with these filters, all pages of it."""
    exports: Exports = request.app.state.exports
    conditions = conditions_of(asked.filters, opened.showing) if asked.is_filtered else ()
    return exports.answer(request, Visitor(address_of(request), has_key=False), wanted, conditions)


api_router = APIRouter(tags=["exports"])

Exporter = Annotated[ApiKey, Depends(needs(KeyScope.EXPORT))]
"""A route's parameter of this type lets in keys that may export."""

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_KINDS = {kind_of(one).media_type.partition(";")[0]: _BINARY for one in Format}
_FILES: dict[int | str, dict[str, Any]] = {200: {"description": "The file", "content": _KINDS}, **NOT_MODIFIED}


@api_router.get("/exports/{wanted}", response_class=Response, responses={**_FILES, **documented()})
def export_everything(request: Request, key: Exporter, wanted: Format) -> Response:
    """A row for every image that is shown for a product, in the order of SKU and position.

    The file is of one moment, not older than a minute. With its ETag as `If-None-Match` nothing new is 304.
    """
    exports: Exports = request.app.state.exports
    return exports.answer(request, Visitor(f"key {key.id}", has_key=True), wanted)
