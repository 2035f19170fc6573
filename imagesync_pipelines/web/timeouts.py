"""How long a connection may take to send a request, and to take the answer: for everything that is served here.

uvicorn limits only how long a connection stays idle between two requests. Whoever sends half a request, a body byte by
byte, or reads nothing of an answer, would keep its place for ever.
"""

import asyncio
from typing import Any, NamedTuple

LEAST_RATE = 1024


class Timeouts(NamedTuple):
    """In seconds: until the headers of a request are there; in which LEAST_RATE bytes a second of a body have to come,
    and have to be taken of an answer.
    """

    head: float = 15.0
    body: float = 30.0
    answer: float = 60.0


def timed(protocol: type[asyncio.Protocol], timeouts: Timeouts) -> type[asyncio.Protocol]:
    """One of uvicorn's HTTP protocols, of which a connection that is too slow is cut off."""
    return type(f"Timed{protocol.__name__}", (_Timed, protocol), {"timeouts": timeouts})


class _Span:
    """A time of waiting for the other side, and what it had done when that began."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.mark: Any = None

    def is_over(self, waits: bool, mark: Any, now: float, seconds: float) -> bool:
        """Whether it has waited for so long; it begins when there is something to wait for."""
        if not waits:
            self.began = None
        elif self.began is None:
            self.began, self.mark = now, mark
        return self.began is not None and now - self.began >= seconds


class _Timed:
    """Looks at its connection now and then: what it waits for, and since when."""

    timeouts: Timeouts
    # Of uvicorn's protocol.
    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    flow: Any
    cycle: Any
    timeout_keep_alive_task: Any

    def connection_made(self, transport: asyncio.Transport) -> None:
        """A connection is there; its first request is waited for."""
        super().connection_made(transport)  # type: ignore[misc]
        self.begin()
        self._look()

    def begin(self) -> None:
        """Nothing came and nothing was taken yet."""
        self._head, self._body, self._answer = _Span(), _Span(), _Span()
        self.received = self._resumed = 0

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._next.cancel()
        super().connection_lost(error)  # type: ignore[misc]

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self.received += len(data)
        super().data_received(data)  # type: ignore[misc]

    def resume_writing(self) -> None:
        """The reader took what was written."""
        self._resumed += 1
        super().resume_writing()  # type: ignore[misc]

    def _look(self) -> None:
        if self.is_too_slow(self.loop.time()):
            self.transport.abort()
        self._next = self.loop.call_later(min(self.timeouts) / 4, self._look)

    def is_too_slow(self, now: float) -> bool:
        """Whether the other side has kept us waiting for too long; to be asked again and again."""
        limits, cycle = self.timeouts, self.cycle
        is_between = cycle is None or cycle.response_complete
        # An idle connection is uvicorn's; each request has a time of its own.
        waits = is_between and self.timeout_keep_alive_task is None
        if self._head.is_over(waits and self._head.mark is cycle, cycle, now, limits.head):
            return True
        self._head.mark = cycle
        # Nothing is missing of the other side while the application has not asked for more.
        waits = not is_between and cycle.more_body and not (self.flow.read_paused or cycle.waiting_for_100_continue)
        if self._body.is_over(waits, self.received, now, limits.body):
            if self.received - self._body.mark < LEAST_RATE * limits.body:
                return True
            self._body.began = None
        left = self.transport.get_write_buffer_size()
        if self._answer.is_over(left > 0, (left, self._resumed), now, limits.answer):
            before, resumed = self._answer.mark
            if resumed == self._resumed and before - left < LEAST_RATE * limits.answer:
                return True
            self._answer.began = None
        return False
