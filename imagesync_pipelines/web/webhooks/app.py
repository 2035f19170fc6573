"""Endpoints that take what others send for a connector: its webhooks, and requests of the system that we replace.

Callers wait for 1.5 seconds at most: a call is answered after one insert.
"""

import hmac
import logging
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.exc import DBAPIError, TimeoutError

from imagesync_pipelines.connectors.moysklad.incoming import QueueReceiver
from imagesync_pipelines.errors import BadBodyError
from imagesync_pipelines.web.gate import protect

LARGEST_BODY = 2 * 1024 * 1024


async def _body_of(request: Request) -> bytes:
    return await request.body()


_Body = Annotated[bytes, Depends(_body_of)]
_Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]
_RequestId = Annotated[str, Query(alias="requestId", max_length=100)]


def build_app(connector: str, receiver: QueueReceiver) -> FastAPI:
    """The endpoints of a connector, which is part of their paths. The receiver is called from several threads.

    No documentation is served, it would tell strangers that they are here.
    """
    app = FastAPI(title=f"Requests for the connector {connector}", openapi_url=None)
    protect(app, LARGEST_BODY)
    logger = logging.getLogger(f"imagesync.{connector}")

    def is_right(secret: str) -> bool:
        """Compared in constant time: the time of an answer tells nothing about the secret."""
        return hmac.compare_digest(secret.encode(), receiver.secret.get_secret_value().encode())

    @app.post(f"/webhooks/{connector}/{{secret}}", status_code=204)
    def take_events(secret: str, body: _Body, request_id: _RequestId = "") -> Response:
        """A call of a webhook. A wrong secret is answered like a path that is not there."""
        if not is_right(secret):
            raise HTTPException(404)
        logger.info("webhook: %s", receiver.take_events(body, request_id))
        return Response(status_code=204)

    @app.post(f"/queue/{connector}", status_code=202)
    def take_payloads(bearer: _Bearer, body: _Body) -> dict[str, int | list[str]]:
        """Payloads of the system that we replace: one, an array of them, or one per line.

        The answer: how many were queued, and why each of the others was set aside.
        """
        if bearer is None or not is_right(bearer.credentials):
            raise HTTPException(401, "Send the secret as a bearer token.", {"WWW-Authenticate": "Bearer"})
        queued, set_aside = receiver.take_payloads(body)
        return {"queued": queued, "set_aside": set_aside}

    @app.get("/health")
    def health() -> PlainTextResponse:
        """Whether requests can be taken."""
        receiver.check()
        return PlainTextResponse("ok")

    @app.exception_handler(BadBodyError)
    def refused(_: Request, error: BadBodyError) -> Response:
        return JSONResponse({"detail": str(error)}, 400)

    @app.exception_handler(DBAPIError)
    @app.exception_handler(TimeoutError)
    def busy(_: Request, error: Exception) -> Response:
        """The database does not answer now; nothing of its error is shown, and the caller tries again."""
        logger.error("the queue cannot be written: %s", type(error).__name__)
        return PlainTextResponse("Requests cannot be taken at the moment", 503, {"Retry-After": "5"})

    return app
