"""The endpoints that take requests for the МойСклад connector: its webhooks, and the queue's two payload forms.

What belongs here: routes, secrets, HTTP (docs/contracts/moysklad.md, section 11). What does not: what bodies say
(moysklad/payloads.py, events.py), the table (moysklad/queue.py), starting runs (a Dagster sensor). МойСклад waits for
1.5 seconds: a call is answered after one insert.
"""

import hmac
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, SecretStr
from sqlalchemy.exc import DBAPIError, TimeoutError

from imagesync_pipelines.connectors.moysklad.errors import EventsError, PayloadsError
from imagesync_pipelines.connectors.moysklad.incoming import AccountNames, read_events, read_payloads
from imagesync_pipelines.connectors.moysklad.queue import NewRequest, Queue, SetAside
from imagesync_pipelines.web.head_office.limits import BodyLimit

LARGEST_BODY = 2 * 1024 * 1024

logger = logging.getLogger("imagesync.moysklad")


@dataclass(frozen=True)
class Desk:
    """What the endpoints work with."""

    queue: Queue
    names: AccountNames
    secret: SecretStr
    clock: Callable[[], datetime]


class Taken(BaseModel):
    """What became of the payloads of a call: how many were queued, and why each of the others was set aside."""

    queued: int
    set_aside: list[str]


def build_app(desk: Desk) -> FastAPI:
    """The endpoints over one queue; no documentation is served, it would tell strangers that they are here."""
    app = FastAPI(title="Requests for the МойСклад connector", openapi_url=None)
    app.state.desk = desk
    app.add_middleware(BodyLimit, largest=LARGEST_BODY)
    app.add_exception_handler(DBAPIError, _busy)
    app.add_exception_handler(TimeoutError, _busy)
    app.add_api_route("/webhooks/moysklad/{secret}", _take_events, methods=["POST"], status_code=204)
    app.add_api_route("/queue/moysklad", _take_payloads, methods=["POST"], status_code=202)
    app.add_api_route("/health", _health, methods=["GET"])
    return app


# Not plain functions: those run in another thread, and these never wait for long.
async def _desk_of(request: Request) -> Desk:
    desk: Desk = request.app.state.desk
    return desk


async def _body_of(request: Request) -> bytes:
    return await request.body()


_Desk = Annotated[Desk, Depends(_desk_of)]
_Body = Annotated[bytes, Depends(_body_of)]
_Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]


def _take_events(
    desk: _Desk, secret: str, body: _Body, request_id: Annotated[str, Query(alias="requestId", max_length=100)] = ""
) -> Response:
    """A call of МойСклад. A wrong secret is answered like a path that is not there."""
    if not _is_right(desk, secret):
        raise HTTPException(404)
    try:
        events = read_events(body, request_id, desk.names)
    except EventsError as error:
        raise HTTPException(400, str(error)) from None
    queued = desk.queue.add(events.requests, desk.clock())
    known = len(events.requests) - queued
    ignored = "; ".join(f"{number} of {why}" for why, number in events.ignored.items()) or "none"
    logger.info("webhook: %d requests queued, %d known already; events ignored: %s", queued, known, ignored)
    return Response(status_code=204)


def _take_payloads(desk: _Desk, bearer: _Bearer, body: _Body) -> Taken:
    """Payloads of the system that we replace: one, an array of them, or one per line."""
    if bearer is None or not _is_right(desk, bearer.credentials):
        raise HTTPException(401, "Send the secret as a bearer token.", {"WWW-Authenticate": "Bearer"})
    try:
        requests = read_payloads(body, desk.names)
    except PayloadsError as error:
        raise HTTPException(400, str(error)) from None
    desk.queue.add(requests, desk.clock())
    queued = sum(isinstance(request, NewRequest) for request in requests)
    return Taken(queued=queued, set_aside=[one.reason for one in requests if isinstance(one, SetAside)])


def _health(desk: _Desk) -> PlainTextResponse:
    """Whether the queue answers."""
    desk.queue.runs()
    return PlainTextResponse("ok")


def _is_right(desk: Desk, secret: str) -> bool:
    """Compared in constant time: the time of an answer tells nothing about the secret."""
    return hmac.compare_digest(secret.encode(), desk.secret.get_secret_value().encode())


def _busy(_: Request, error: Exception) -> Response:
    """The database does not answer now; nothing of its error is shown, and МойСклад tries again."""
    logger.error("the queue cannot be written: %s", type(error).__name__)
    return PlainTextResponse("Requests cannot be taken at the moment", 503, {"Retry-After": "5"})
