"""A cap on request bodies, whoever sends them."""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY = 8 * 1024 * 1024


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
                raise HTTPException(413, f"The body is larger than {self._largest} bytes; send it in parts")
            return message

        await self._app(scope, counted, send)
