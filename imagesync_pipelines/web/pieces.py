"""Bodies that are sent no faster than they are taken: what waits for slow readers stays little, however many."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.types import Receive, Send

# Of one answer in memory, and when much is under way already; and how much that is, in one process.
LARGE, SMALL, MUCH = 1024 * 1024, 64 * 1024, 64 * 1024 * 1024
_BODY = "http.response.body"


class Outgoing:
    """The bytes of answers that one process has in memory because their readers have not taken them yet."""

    def __init__(self) -> None:
        self.waiting = 0

    @property
    def piece(self) -> int:
        """How many bytes of a body may be read at once now."""
        return LARGE if self.waiting < MUCH else SMALL

    async def send(
        self, size: int, first: bytes, following: Callable[[int], Awaitable[bytes]], receive: Receive, send: Send
    ) -> None:
        """Send a body of `size` bytes which begins with `first`, after its headers.

        following: gives the bytes from one on. The next ones are asked for when those before are taken, and when the
        reader is still there. Where there are none the answer breaks off, and the connection with it.
        """
        if len(first) == size <= SMALL:
            await send({"type": _BODY, "body": first})
            return
        gone = None if len(first) == size else asyncio.ensure_future(_disconnected(receive))
        try:
            sent, body = 0, first
            while body and not (gone is not None and gone.done()):
                sent += len(body)
                await self._send_piece(body, sent < size, send)
                body = await following(sent) if sent < size else b""
        finally:
            if gone is not None:
                gone.cancel()

    async def _send_piece(self, body: bytes, more: bool, send: Send) -> None:
        self.waiting += len(body)
        try:
            await send({"type": _BODY, "body": body, "more_body": True})
            # Comes back when the reader has taken what was sent before.
            await send({"type": _BODY, "body": b"", "more_body": more})
        finally:
            self.waiting -= len(body)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
