"""What every service here needs: bodies of a bounded size, texts that a database can hold, serving until a signal."""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import MAXYEAR, MINYEAR, datetime
from functools import partial
from typing import Annotated, Any, cast
from urllib.parse import quote

import psycopg
import uvicorn
from pydantic import AfterValidator, AwareDatetime, Field
from sqlalchemy.exc import DBAPIError, TimeoutError
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.supervisors import Multiprocess

from imagesync_pipelines import languages, logs
from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.storage.faults import told
from imagesync_pipelines.telemetry import spans
from imagesync_pipelines.web.timeouts import Timeouts, timed

# Other processes find it by this name.
Protocol = timed(AutoHTTPProtocol, Timeouts())
Protocol.__module__, Protocol.__qualname__ = __name__, "Protocol"
LARGEST_BODY = 8 * 1024 * 1024
STOP_SECONDS = 5
# A process that could not begin is replaced by another one after this.
AGAIN_SECONDS = 5
# One that says nothing for so long hangs and is replaced; it says nothing while it imports what it serves.
SILENT_SECONDS = 60

logger = logging.getLogger("imagesync.web")


def _clean(text: str) -> str:
    """Text that a database can hold: no NUL, no half of a surrogate pair (JSON can carry both)."""
    if "\0" in text:
        raise ValueError("text without NUL characters is expected")
    text.encode()
    return text


def in_every_zone(moment: datetime) -> datetime:
    """A moment that every time zone can tell. Raises ValueError for one of the first year there is or the last."""
    if not MINYEAR < moment.year < MAXYEAR:
        raise ValueError(f"a year from {MINYEAR + 1} to {MAXYEAR - 1} is expected")
    return moment


_NOT_AT_AN_END = {"pattern": f"^(?!{MINYEAR:04}|{MAXYEAR:04})"}
Moment = Annotated[AwareDatetime, AfterValidator(in_every_zone), Field(json_schema_extra=_NOT_AT_AN_END)]

# The document says it too, so that a caller can know.
Text = Annotated[str, AfterValidator(_clean), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})]


def disposition(kind: str, filename: str) -> str:
    """A Content-Disposition (RFC 6266), `inline` or `attachment`: a plain name for old clients, then the true one."""
    plain = "".join(one if one.isascii() and one.isprintable() and one not in '"\\' else "_" for one in filename)
    return f"{kind}; filename=\"{plain or 'photo'}\"; filename*=UTF-8''{quote(filename or 'photo', safe='')}"


def answer_faults(app: Starlette, busy: Callable[[Request, Exception], Response | Awaitable[Response]]) -> None:
    """Let `busy`, a 503, be the answer where the database or a disk is at fault; what else goes wrong goes on."""

    async def judged(request: Request, error: Exception) -> Response:
        if told(error) is None:
            raise error
        answer = busy(request, error)
        return answer if isinstance(answer, Response) else await answer

    for kind in (DBAPIError, TimeoutError, psycopg.Error, OSError):
        app.add_exception_handler(kind, judged)


def at_fault(error: Exception) -> str:
    """What a caller is told of a fault of ours that passes; who runs the service reads more of it in the log."""
    return f"{'A disk' if isinstance(error, OSError) else 'The database'} does not answer; try again"


class BodyLimit:
    """Lets an endpoint read so much of a body and no more; then the request is answered with 413."""

    def __init__(self, app: ASGIApp, largest: int = LARGEST_BODY) -> None:
        self._app = app
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._largest:
                said = languages.told(f"The body is larger than {self._largest} bytes; send it in parts")
                raise HTTPException(413, said)
            return message

        await self._app(scope, counted, send)


class AddedHeaders:
    """Adds headers to every answer that does not have stricter ones of its own; a body may be a stream.

    headers: gives them for a request by its scope, whose `state` is there. Refusals have them too.
    """

    def __init__(self, app: ASGIApp, headers: Callable[[Scope], Mapping[str, str]]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        scope.setdefault("state", {})

        async def send_with_them(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers(scope).items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_them if scope["type"] == "http" else send)


def behind_proxies(app: ASGIApp, trusted: Sequence[str]) -> ASGIApp:
    """The app, told who asks by these proxies (addresses and networks); by nobody when there are none."""
    return cast("ASGIApp", ProxyHeadersMiddleware(cast("Any", app), list(trusted))) if trusted else app


def serve(
    app: ASGIApp, host: str, port: int, *, trusted_proxies: Sequence[str] = (), stop_seconds: int = STOP_SECONDS
) -> None:
    """Answer requests until SIGINT or SIGTERM; answers under way are finished first, for so many seconds.

    To be called from the main thread. Transport encryption is the proxy's; of the visitor's address and scheme only the
    trusted proxies are believed (X-Forwarded-For, X-Forwarded-Proto). No line is logged per call: an address may hold a
    secret.
    """
    config = _config(behind_proxies(app, trusted_proxies), host, port, stop_seconds)
    with _signals_kept():
        uvicorn.Server(config).run()


def serve_in_processes(
    make: Callable[[], ASGIApp],
    host: str,
    port: int,
    processes: int,
    *,
    trusted_proxies: Sequence[str] = (),
    stop_seconds: int = STOP_SECONDS,
) -> None:
    """As `serve`, by so many processes on one port: one that ends is replaced, and all end with this one.

    make: gives the application of a process; a function of a module, or a `partial` of one. What the application keeps
    in memory is each process's own. Raises OSError where the port cannot be had.
    """
    app = partial(_in_process, make, tuple(trusted_proxies))
    several = {"factory": True, "workers": processes, "timeout_worker_healthcheck": SILENT_SECONDS}
    config = _config(app, host, port, stop_seconds, **several)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, because asyncio sets TCP_NODELAY only then.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener, _signals_kept():
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(config.backlog)
        Multiprocess(config, [listener]).run()


def _in_process(make: Callable[[], ASGIApp], trusted_proxies: Sequence[str]) -> ASGIApp:
    """The application of one process, which ends when the first process does, however that came.

    Where it cannot be made, as without the database, another process tries again after a while.
    """
    first = multiprocessing.parent_process()

    def follow() -> None:
        if first is not None:
            first.join()
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()
    logs.begin()
    spans.begin()
    try:
        return behind_proxies(make(), trusted_proxies)
    except ImagesyncError as error:
        logger.error("a process that serves cannot begin: %s", error)
        time.sleep(AGAIN_SECONDS)
        sys.exit(1)


def _config(app: Any, host: str, port: int, stop_seconds: int, **more: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        host=host,
        port=port,
        # Its lines go the way of ours.
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=stop_seconds,
        **more,
    )


@contextmanager
def _signals_kept() -> Iterator[None]:
    # uvicorn stops at a signal and then sends it again: by default that would end this process at once, and leave the
    # embedded servers running.
    before = {kind: signal.signal(kind, lambda *_: None) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
