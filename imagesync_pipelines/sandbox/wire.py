"""Between a stand-in and its caller: every call is counted here and meets its fault here."""

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagesync_pipelines.sandbox.answers import PlaceOf, flipped
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import FaultKind, FaultPlan, LostAnswers, WireFault
from imagesync_pipelines.sandbox.ledger import NO_STATUS, Call, CallLedger

DRIP_PIECES = 20
_BELOW_HTTP = (FaultKind.TIMEOUT, FaultKind.RESET, FaultKind.TRUNCATED, FaultKind.LENGTH, FaultKind.NO_LENGTH)

RawHeaders = list[tuple[bytes, bytes]]


def observed(app: ASGIApp, place_of: PlaceOf, faults: FaultPlan, ledger: CallLedger, clock: SandboxClock) -> ASGIApp:
    """Wrap an app: its calls are in the ledger and meet the fault plan.

    `place_of` gives the endpoint and the part (page, file name) of a call, or None for what is not to be seen.
    """

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        place = place_of(scope) if scope["type"] == "http" else None
        if place is None:
            await app(scope, receive, send)
            return
        endpoint, part = place
        fault = faults.take(endpoint, part)
        started = time.perf_counter()
        status = NO_STATUS
        noted = False

        def note(answered: int) -> None:
            """Write the call down, once, and before the caller can have the whole answer: a test may look at once."""
            nonlocal noted
            if noted:
                return
            noted = True
            headers = Headers(scope=scope)
            ledger.add(
                Call(
                    at=clock.now(),
                    endpoint=endpoint,
                    part=part,
                    method=scope["method"],
                    path=scope["path"],
                    query=scope["query_string"].decode("latin-1"),
                    host=headers.get("host", ""),
                    accept_encoding=headers.get("accept-encoding", ""),
                    with_credentials="authorization" in headers,
                    status=answered,
                    fault="" if fault is None else fault.kind.value,
                    seconds=time.perf_counter() - started,
                )
            )

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body", False):
                note(status)
            await send(message)

        with ledger.in_flight(endpoint):
            try:
                if fault is None:
                    await app(scope, receive, noting)
                elif fault.kind in _BELOW_HTTP:
                    await _break(fault, app, scope, receive, _transport(send), note)
                else:
                    await _disturb(fault, app, scope, receive, noting)
            finally:
                note(status)

    return watched


def losing(app: ASGIApp, place_of: PlaceOf, lost: LostAnswers) -> ASGIApp:
    """Wrap a watched app: the ledger has what was done, the client may not hear of it."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        place = place_of(scope) if scope["type"] == "http" else None
        if place is None or not lost.names(*place):
            await app(scope, receive, send)
            return
        kept = _Kept(_transport(send))
        await app(scope, receive, kept.send)
        done = bool(kept.messages) and 200 <= kept.messages[0].get("status", 0) < 300
        how = lost.take(*place) if done else None
        if how is None:
            for message in kept.messages:
                await send(message)
        elif how.kind is FaultKind.ANSWER:
            await _disturb(how, app, scope, receive, send)
        else:
            kept.transport.close()
            await _gone(receive)

    return wrapped


class _Kept:
    """Takes an answer in place of the connection; faults below HTTP find the real one here."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)


async def _disturb(fault: WireFault, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one call with its fault, in proper HTTP."""
    if fault.kind is FaultKind.ANSWER:
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fault.headers]
        await _send(send, fault.status, headers, fault.body)
        return
    if fault.kind is FaultKind.LATENCY:
        await asyncio.sleep(fault.seconds)
    status, headers, body = await _answer_of(app, scope, receive)
    if fault.kind is FaultKind.DRIP:
        await _send(send, status, headers, body, DRIP_PIECES, fault.seconds)
        return
    if fault.kind is FaultKind.ALTERED:
        body = flipped(body)
    await _send(send, status, headers, body)


async def _break(
    fault: WireFault,
    app: ASGIApp,
    scope: Scope,
    receive: Receive,
    transport: asyncio.Transport,
    note: Callable[[int], None],
) -> None:
    """Answer one call as no honest server does, below HTTP, and wait until the connection is gone."""
    if fault.kind is FaultKind.TIMEOUT:
        note(NO_STATUS)
    elif fault.kind is FaultKind.RESET:
        note(NO_STATUS)
        # A linger of 0 s makes the kernel send RST: the caller sees a reset, not an orderly end.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        status, headers, body = await _answer_of(app, scope, receive)
        note(status)
        _write_raw(transport, fault, status, headers, body)
    await _gone(receive)


async def _gone(receive: Receive) -> None:
    """Wait until the connection is gone: uvicorn would add an answer of its own behind what was written."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer_of(app: ASGIApp, scope: Scope, receive: Receive) -> tuple[int, RawHeaders, bytes]:
    status = HTTPStatus.INTERNAL_SERVER_ERROR.value
    headers: RawHeaders = []
    body = bytearray()

    async def keep(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message["headers"])
        else:
            body.extend(message.get("body", b""))

    await app(scope, receive, keep)
    return status, headers, bytes(body)


async def _send(send: Send, status: int, headers: RawHeaders, body: bytes, pieces: int = 1, seconds: float = 0) -> None:
    """Send an answer, in so many pieces spread over so many seconds."""
    await send({"type": "http.response.start", "status": status, "headers": _with_length(headers, len(body))})
    size = max(1, -(-len(body) // pieces))
    parts = [body[start : start + size] for start in range(0, len(body), size)] or [b""]
    for nth, piece in enumerate(parts, start=1):
        await asyncio.sleep(seconds / len(parts))
        await send({"type": "http.response.body", "body": piece, "more_body": nth < len(parts)})


def _with_length(headers: RawHeaders, length: int) -> RawHeaders:
    others = [(name, value) for name, value in headers if name != b"content-length"]
    return [*others, (b"content-length", str(length).encode())]


def _write_raw(transport: asyncio.Transport, fault: WireFault, status: int, headers: RawHeaders, body: bytes) -> None:
    """Write an answer that no honest server sends, and close the connection behind it."""
    if fault.kind is FaultKind.NO_LENGTH:
        sent = [(name, value) for name, value in headers if name != b"content-length"] + [(b"connection", b"close")]
    else:
        sent = _with_length(headers, max(0, len(body) + fault.length))
    head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n".encode()
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in sent)
    transport.write(head + lines + b"\r\n" + (body[: len(body) // 2] if fault.kind is FaultKind.TRUNCATED else body))
    transport.close()


def _transport(send: Send) -> asyncio.Transport:
    """The connection under an ASGI `send`: ASGI has no word for a broken answer, so uvicorn's own cycle is asked."""
    transport: asyncio.Transport = send.__self__.transport  # type: ignore[attr-defined]
    return transport
