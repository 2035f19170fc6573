"""Endpoints that take what others send for a connector: its webhooks, and requests of the system that we replace.

Callers wait for 1.5 seconds at most: a call is answered after one insert.
"""

import hmac
import logging
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, SecretStr
from sqlalchemy.exc import DBAPIError, TimeoutError

from imagesync_pipelines.errors import BadBodyError
from imagesync_pipelines.web.service import BodyLimit

LARGEST_BODY = 2 * 1024 * 1024


class Receiver(Protocol):
    """What a connector does with what was sent to it. Called from several threads."""

    @property
    def secret(self) -> SecretStr:
        """What callers have to know."""

    def take_events(self, body: bytes, request_id: str) -> str:
        """Take a call of a webhook; what became of it in a line for the log. Raises BadBodyError.

        request_id: what the caller repeats when it sends the call again, '' when it has none.
        """

    def take_payloads(self, body: bytes) -> tuple[int, list[str]]:
        """Take requests; how many were queued, and why each of the others was set aside. Raises BadBodyError."""

    def check(self) -> None:
        """Raise when nothing can be taken."""


@dataclass(frozen=True)
class Endpoints:
    """The endpoints of one connector, which is part of their paths."""

    connector: str
    receiver: Receiver

    @property
    def logger(self) -> logging.Logger:
        """Where the connector's lines go."""
        return logging.getLogger(f"imagesync.{self.connector}")


class Taken(BaseModel):
    """What became of the payloads of a call: how many were queued, and why each of the others was set aside."""

    queued: int
    set_aside: list[str]


def build_app(endpoints: Endpoints) -> FastAPI:
    """The endpoints; no documentation is served, it would tell strangers that they are here."""
    app = FastAPI(title=f"Requests for the connector {endpoints.connector}", openapi_url=None)
    app.state.endpoints = endpoints
    app.add_middleware(BodyLimit, largest=LARGEST_BODY)
    app.add_exception_handler(DBAPIError, _busy)
    app.add_exception_handler(TimeoutError, _busy)
    name = endpoints.connector
    app.add_api_route(f"/webhooks/{name}/{{secret}}", _take_events, methods=["POST"], status_code=204)
    app.add_api_route(f"/queue/{name}", _take_payloads, methods=["POST"], status_code=202)
    app.add_api_route("/health", _health, methods=["GET"])
    return app


# Not plain functions: those run in another thread, and these never wait for long.
async def _endpoints_of(request: Request) -> Endpoints:
    endpoints: Endpoints = request.app.state.endpoints
    return endpoints


async def _body_of(request: Request) -> bytes:
    return await request.body()


_Endpoints = Annotated[Endpoints, Depends(_endpoints_of)]
_Body = Annotated[bytes, Depends(_body_of)]
_Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


def _take_events(
    endpoints: _Endpoints,
    secret: str,
    body: _Body,
    request_id: Annotated[str, Query(alias="requestId", max_length=100)] = "",
) -> Response:
    """A call of a webhook. A wrong secret is answered like a path that is not there."""
    if not _is_right(endpoints, secret):
        raise HTTPException(404)
    try:
        told = endpoints.receiver.take_events(body, request_id)
    except BadBodyError as error:
        raise HTTPException(400, str(error)) from None
    endpoints.logger.info("webhook: %s", told)
    return Response(status_code=204)


def _take_payloads(endpoints: _Endpoints, bearer: _Bearer, body: _Body) -> Taken:
    """Payloads of the system that we replace: one, an array of them, or one per line."""
    if bearer is None or not _is_right(endpoints, bearer.credentials):
        raise HTTPException(401, "Send the secret as a bearer token.", {"WWW-Authenticate": "Bearer"})
    try:
        queued, set_aside = endpoints.receiver.take_payloads(body)
    except BadBodyError as error:
        raise HTTPException(400, str(error)) from None
    return Taken(queued=queued, set_aside=set_aside)


def _health(endpoints: _Endpoints) -> PlainTextResponse:
    """Whether requests can be taken."""
    endpoints.receiver.check()
    return PlainTextResponse("ok")


def _is_right(endpoints: Endpoints, secret: str) -> bool:
    """Compared in constant time: the time of an answer tells nothing about the secret."""
    return hmac.compare_digest(secret.encode(), endpoints.receiver.secret.get_secret_value().encode())


def _busy(request: Request, error: Exception) -> Response:
    """The database does not answer now; nothing of its error is shown, and the caller tries again."""
    request.app.state.endpoints.logger.error("the queue cannot be written: %s", type(error).__name__)
    return PlainTextResponse("Requests cannot be taken at the moment", 503, {"Retry-After": "5"})
