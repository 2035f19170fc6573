"""A cap on request bodies, before anything reads them.

What belongs here: that cap, as ASGI middleware. What does not: what a body may say (the endpoints).
"""

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagesync_pipelines.web.head_office.answers import Problem

LARGEST_BODY = 8 * 1024 * 1024


class BodyLimit:
    """Answers 413 to a body that says it is too large, and hangs up on one that turns out to be."""

    def __init__(self, app: ASGIApp, largest: int = LARGEST_BODY) -> None:
        self._app = app
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        if any(value.isdigit() and int(value) > self._largest for value in lengths):
            problem = Problem(message=f"The body is larger than {self._largest} bytes; send it in parts")
            await JSONResponse(problem.model_dump(exclude_none=True), 413)(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            # Told to the app as a lost connection: it stops reading and answers nobody.
            return {"type": "http.disconnect"} if read > self._largest else message

        await self._app(scope, counted, send)
