"""Exports over HTTP: a stream that begins before the answer does, and few of them at once."""

from collections.abc import Collection, Generator, Mapping
from itertools import chain
from threading import BoundedSemaphore
from typing import Annotated, Any

import sqlalchemy as sa
from anyio import CancelScope, fail_after, to_thread
from fastapi import APIRouter, Depends, HTTPException, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from imagesync_pipelines.products.exports import Format, export, kind_of
from imagesync_pipelines.web.catalogue.access import ApiKey, KeyScope
from imagesync_pipelines.web.catalogue.api.calls import documented, needs
from imagesync_pipelines.web.catalogue.pages.products import AskedFor
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.catalogue.queries import conditions_of
from imagesync_pipelines.web.catalogue.state import Opened

router = APIRouter(include_in_schema=False)

# Each holds a connection and a snapshot of the database for as long as its reader takes.
MOST_AT_ONCE = 2
# A reader that takes nothing for so long has gone away, whatever its connection says.
READER_SECONDS = 60.0
RETRY = {"Retry-After": "30"}


class Streamed(StreamingResponse):
    """An answer of which the rest is a stream, closed as soon as its reader has all of it or went away.

    Left to the collector of garbage, a reader that went away would keep its place and its connection for a while.
    """

    def __init__(
        self, first: bytes, rest: Generator[bytes, None, None], headers: Mapping[str, str], media_type: str
    ) -> None:
        super().__init__(chain([first], rest), headers=headers, media_type=media_type)
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and close the stream whatever happened; a reader that takes nothing any more is cut off."""

        async def bounded(message: Message) -> None:
            with fail_after(READER_SECONDS):
                await send(message)

        try:
            await super().__call__(scope, receive, bounded)
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._rest.close)


class Exports:
    """The exports that this process gives at the moment."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._free = BoundedSemaphore(MOST_AT_ONCE)

    def answer(self, wanted: Format, conditions: Collection[sa.ColumnElement[bool]] = ()) -> Response:
        """The export as a file to keep; refused with 503 while as many as may be are under way.

        Its beginning is read here, so that a database that does not answer is an error and no broken file.
        """
        if not self._free.acquire(blocking=False):
            raise HTTPException(503, f"{MOST_AT_ONCE} exports are being read already; try again in a moment.", RETRY)
        stream = self._stream(wanted, conditions)
        first, kind = next(stream, b""), kind_of(wanted)
        disposition = f'attachment; filename="{kind.file_name}"'
        headers = {"Content-Disposition": disposition, "Cache-Control": "private, no-store"}
        return Streamed(first, stream, headers, kind.media_type)

    def _stream(self, wanted: Format, conditions: Collection[sa.ColumnElement[bool]]) -> Generator[bytes, None, None]:
        """The bytes; the place is free again when all were read or the reader went away."""
        try:
            first = self._opened.showing.image_db_own_images_first
            yield from export(self._opened.engine, wanted, conditions, own_images_first=first)
        finally:
            self._free.release()


@router.get("/exports/{wanted}", name="export")
def export_of_list(request: Request, opened: Here, asked: AskedFor, wanted: Format) -> Response:
    """The images of the products that the list shows with these filters, all pages of it."""
    exports: Exports = request.app.state.exports
    return exports.answer(wanted, conditions_of(asked.filters, opened.showing))


api_router = APIRouter(tags=["exports"])

Exporter = Annotated[ApiKey, Depends(needs(KeyScope.EXPORT))]
"""A route's parameter of this type lets in keys that may export."""

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_KINDS = {kind_of(one).media_type.partition(";")[0]: _BINARY for one in Format}
_FILES: dict[int | str, dict[str, Any]] = {200: {"description": "The file, as a stream", "content": _KINDS}}


@api_router.get("/exports/{wanted}", response_class=Response, responses={**_FILES, **documented()})
def export_everything(request: Request, _: Exporter, wanted: Format) -> Response:
    """A row for every image that is shown for a product, in the order of SKU and position.

    The file is of one moment and is streamed: read it as it comes. An answer that breaks off is no whole file.
    """
    exports: Exports = request.app.state.exports
    return exports.answer(wanted)
