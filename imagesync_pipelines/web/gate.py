"""What every request passes before it reaches any service: what is read once for all of them, and what is refused.

HEAD is a GET of which only the headers are sent. Data that no database can hold is a caller's mistake, wherever it is.
"""

import inspect
import logging
import re
from collections.abc import Iterable
from urllib.parse import quote, unquote_to_bytes

from sqlalchemy.exc import DataError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagesync_pipelines.languages import N_
from imagesync_pipelines.telemetry import spans
from imagesync_pipelines.web.service import LARGEST_BODY, BodyLimit
from imagesync_pipelines.web.tracing import Traced

IS_HEAD = "imagesync.is_head"
UNREADABLE = N_(
    "A value of this request cannot be read: a text with a NUL or half a character, or a number out of range."
)

_LISTS = (b"if-match", b"if-none-match")
_RANGES = (b"range", b"if-range")
_TAG = re.compile(r'(?:W/)?"[^"]*"|\*')
logger = logging.getLogger("imagesync.web")


def protect(app: Starlette, largest: int = LARGEST_BODY) -> None:
    """Put the gate before an application, and bounds around its bodies; its own handler writes what is refused."""

    async def refuse(request: Request, error: Exception) -> Response:
        logger.info("a value was refused: %s", type(error).__name__)
        return await _refusal(app, request, HTTPException(400, UNREADABLE))

    for kind in (DataError, UnicodeError):
        app.add_exception_handler(kind, refuse)
    # The redirect to the path with or without a slash at its end goes to whatever host the caller named.
    app.router.redirect_slashes = False
    if spans.is_on():
        app.add_middleware(Traced)
    app.add_middleware(BodyLimit, largest=largest)
    app.add_middleware(Gate, service=app)


class Gate:
    """Passes on requests that can be read, in the form that all handlers rely on."""

    def __init__(self, app: ASGIApp, service: Starlette) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        query = scope["query_string"]
        passed = {
            **scope,
            "method": "GET" if is_head else scope["method"],
            "headers": _joined(scope["headers"], without=_RANGES if is_head else ()),
            # What is no ASCII is written as browsers write it.
            "query_string": query if query.isascii() else quote(query, safe="!#$%&'()*+,/:;=?@[]~").encode(),
            IS_HEAD: is_head or scope.get(IS_HEAD, False),
        }
        sender = _headers_only(send) if is_head else send
        # No address holds a NUL, so there is nothing at such a path; a query is a mistake of its writer.
        status = 404 if "\0" in scope["path"] else 400 if b"\0" in unquote_to_bytes(query) else 0
        if status:
            request = Request(passed, receive)
            answer = await _refusal(
                self._service, request, HTTPException(status, UNREADABLE if status == 400 else None)
            )
            await answer(passed, receive, sender)
            return
        await self._app(passed, receive, sender)


async def _refusal(service: Starlette, request: Request, error: HTTPException) -> Response:
    """The refusal as this service writes all its refusals."""
    handler = service.exception_handlers.get(HTTPException)
    if handler is None:
        return PlainTextResponse(error.detail, error.status_code)
    if inspect.iscoroutinefunction(handler):
        answer: Response = await handler(request, error)
        return answer
    return await run_in_threadpool(handler, request, error)


def _joined(headers: Iterable[tuple[bytes, bytes]], without: tuple[bytes, ...]) -> list[tuple[bytes, bytes]]:
    """The headers, those that are lists in one line each (RFC 9110, 5.3)."""
    kept, lists = [], dict.fromkeys(_LISTS, b"")
    for name, value in headers:
        if name in lists:
            lists[name] += b", " * bool(lists[name]) + value
        elif name not in without:
            kept.append((name, value))
    return kept + [(name, value) for name, value in lists.items() if value]


def _headers_only(send: Send) -> Send:
    """Sends the beginning of an answer and none of its body."""
    is_ended = False

    async def without_body(message: Message) -> None:
        nonlocal is_ended
        if message["type"] != "http.response.body":
            await send(message)
        elif not is_ended:
            is_ended = True
            await send({"type": "http.response.body", "body": b""})

    return without_body


def is_head(request: Request) -> bool:
    """Whether only the headers of the answer will be sent: a body need not be read for it."""
    return bool(request.scope.get(IS_HEAD))


def is_known(request: Request, etag: str | None) -> bool:
    """Whether the reader has what this tag is of, so that the answer is 304 (RFC 9110, 13.2.2).

    etag: of what is there, None for nothing. Raises HTTPException(412) when the caller set a condition that is not met.
    """
    wanted = request.headers.get("if-match")
    if wanted is not None and (etag is None or not {etag, "*"} & set(_TAG.findall(wanted))):
        raise HTTPException(412, "What is there is not what If-Match names; nothing was done.")
    known = {tag.removeprefix("W/") for tag in _TAG.findall(request.headers.get("if-none-match", ""))}
    if etag is None or not {etag, "*"} & known:
        return False
    if request.method != "GET":
        raise HTTPException(412, "What is there is what If-None-Match names; nothing was done.")
    return True
