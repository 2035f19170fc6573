"""Answers that get lost after their work was done: the client cannot know what happened (contract section 3).

What belongs here: choosing the calls and losing their answers. What does not: faults of calls that are not carried out
(sandbox/faults.py).
"""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagesync_pipelines.sandbox.wire import Place

_GATEWAY_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class Lost(StrEnum):
    """How an answer is lost."""

    DROP = "drop"  # the connection is closed without a byte
    BAD_GATEWAY = "bad gateway"  # a 502 of the gateway in its place


@dataclass
class _Waiting:
    endpoint: str
    part: str
    how: Lost
    skip: int
    times: int


class LostAnswers:
    """The answers that will be lost. Safe between threads."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()

    def lose(self, endpoint: str, how: Lost = Lost.DROP, *, part: str = "", skip: int = 0, times: int = 1) -> None:
        """Lose the answer of the next call of an endpoint that succeeds, after `skip` good ones; `part` is an id."""
        with self._lock:
            self._waiting.append(_Waiting(endpoint, part, how, skip, times))

    def take(self, place: Place) -> Lost | None:
        """How the answer of a call that succeeded is lost, if it is."""
        endpoint, part = place
        with self._lock:
            for one in self._waiting:
                if one.endpoint != endpoint or one.part not in ("", part):
                    continue
                if one.skip > 0:
                    one.skip -= 1
                    return None
                one.times -= 1
                self._waiting = [each for each in self._waiting if each.times > 0]
                return one.how
        return None


class _Kept:
    """Takes an answer in place of the connection; faults below HTTP find the real one here."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self.messages.append(message)


def losing(app: ASGIApp, place_of: Callable[[Scope], Place | None], lost: LostAnswers) -> ASGIApp:
    """Wrap a watched app: the ledger has what was done, the client may not hear of it."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        place = place_of(scope) if scope["type"] == "http" else None
        if place is None:
            await app(scope, receive, send)
            return
        kept = _Kept(send.__self__.transport)  # type: ignore[attr-defined]
        await app(scope, receive, kept.send)
        done = bool(kept.messages) and 200 <= kept.messages[0].get("status", 0) < 300
        how = lost.take(place) if done else None
        if how is None:
            for message in kept.messages:
                await send(message)
        elif how is Lost.BAD_GATEWAY:
            headers = [(b"content-type", b"text/html"), (b"content-length", str(len(_GATEWAY_PAGE)).encode())]
            await send({"type": "http.response.start", "status": 502, "headers": headers})
            await send({"type": "http.response.body", "body": _GATEWAY_PAGE})
        else:
            kept.transport.close()
            # uvicorn would answer with a 500 of its own as soon as this returned.
            while (await receive())["type"] != "http.disconnect":
                pass

    return wrapped
