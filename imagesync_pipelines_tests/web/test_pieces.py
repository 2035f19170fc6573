"""Bodies go out as they are taken: slow readers cost little memory, and who left is read nothing more for."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from imagesync_pipelines.web.pieces import LARGE, MUCH, SMALL, Outgoing
from imagesync_pipelines_tests import loops

SIZE = 5 * LARGE


class Visitor:
    """A reader who takes the body in `takes` messages and then nothing more."""

    def __init__(self, takes: int = 1000) -> None:
        self.got, self.takes, self.left = bytearray(), takes, asyncio.Event()
        self.is_whole = False

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        """As a server sends: a message waits until those before it are taken."""
        if not self.takes:
            await self.left.wait()
            return
        self.takes -= bool(message["body"])
        self.got += message["body"]
        self.is_whole = not message.get("more_body", False)


def test_a_thousand_readers_who_take_nothing_hold_little() -> None:
    async def held() -> tuple[int, int]:
        outgoing, asked = Outgoing(), 0

        async def following(sent: int) -> bytes:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0)
            return bytes(outgoing.piece)

        visitors = [Visitor(takes=1) for _ in range(1000)]
        tasks = []
        for one in visitors:
            first = bytes(outgoing.piece)
            tasks.append(asyncio.create_task(outgoing.send(SIZE, first, following, one.receive, one.send)))
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        most = outgoing.waiting
        assert asked == 0
        for one in visitors:
            one.left.set()
        await asyncio.gather(*tasks)
        assert outgoing.waiting == 0
        return most, asked

    most, asked = loops.run(held())
    assert MUCH <= most <= MUCH + LARGE + 1000 * SMALL
    # Those who left are read nothing more for, but what was on its way.
    assert asked <= 1000


@pytest.mark.parametrize("size", [1, SMALL, SMALL + 1, LARGE, SIZE, SIZE + 1])
def test_who_takes_everything_gets_everything(size: int) -> None:
    body = bytes(range(251)) * (size // 251 + 1)

    async def sent() -> Visitor:
        outgoing, visitor = Outgoing(), Visitor()

        async def following(first: int) -> bytes:
            return body[first : min(size, first + outgoing.piece)]

        await outgoing.send(size, body[: min(size, LARGE)], following, visitor.receive, visitor.send)
        assert outgoing.waiting == 0
        return visitor

    visitor = loops.run(sent())
    assert (bytes(visitor.got), visitor.is_whole) == (body[:size], True)


def test_a_body_whose_rest_is_gone_is_never_whole() -> None:
    async def sent() -> Visitor:
        visitor = Visitor()

        async def following(_: int) -> bytes:
            return b""

        await Outgoing().send(SIZE, bytes(LARGE), following, visitor.receive, visitor.send)
        return visitor

    visitor = loops.run(sent())
    assert (len(visitor.got), visitor.is_whole) == (LARGE, False)
