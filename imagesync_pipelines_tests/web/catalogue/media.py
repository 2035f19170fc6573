"""A media host for the tests: pictures by path over real HTTP, what was asked for, and being away or slow.

It answers 304 to who has an ETag of what is there, if it gives ETags at all.
"""

import asyncio
import hashlib
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from PIL import Image
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from imagesync_pipelines.sandbox.server import bind, running


def picture(size: tuple[int, int] = (1500, 1000), kind: str = "JPEG", colour: str = "red") -> bytes:
    """A picture of one colour."""
    target = io.BytesIO()
    Image.new("RGB", size, colour).save(target, kind)
    return target.getvalue()


@dataclass
class Media:
    """The host: bodies by path, every path that was asked for; while `held` is cleared it answers nothing.

    unchanged: the paths that were answered with 304.
    """

    address: str
    bodies: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    etags: bool = False
    unchanged: list[str] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str, body: bytes | None = None) -> str:
        """The address of a path, with what is there."""
        if body is not None:
            self.bodies[path] = body
        return f"{self.address}/{path}"


@contextmanager
def media_host() -> Iterator[Media]:
    """A host on a free port of loopback."""
    listener = bind()
    media = Media(f"http://127.0.0.1:{listener.getsockname()[1]}")
    media.held.set()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        path = Request(scope).url.path.lstrip("/")
        media.asked.append(path)
        while not media.held.is_set():
            await asyncio.sleep(0.01)
        body = media.bodies.get(path)
        etag = f'"{hashlib.sha1(body or b"").hexdigest()}"'
        headers = {"ETag": etag} if media.etags else {}
        answer = Response(status_code=404) if body is None else Response(body, 200, headers, "image/jpeg")
        if media.etags and body is not None and Request(scope).headers.get("if-none-match") == etag:
            media.unchanged.append(path)
            answer = Response(status_code=304, headers=headers)
        await answer(scope, receive, send)

    with running((app, listener)):
        yield media
        media.held.set()
