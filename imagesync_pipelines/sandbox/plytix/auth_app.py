"""The auth host of Plytix: a key and a password for a token (contract section 2).

What belongs here: the one endpoint of that host and its own limiter. What does not: tokens (tokens.py).
"""

import secrets

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Scope

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.plytix.answers import Answer, Refused, as_response, error_body, found
from imagesync_pipelines.sandbox.plytix.limits import AUTH_LIMIT, Windows, too_many
from imagesync_pipelines.sandbox.plytix.switches import Switches
from imagesync_pipelines.sandbox.plytix.tokens import Tokens
from imagesync_pipelines.sandbox.wire import Place

TOKEN = "token"  # noqa: S105 - the name of an endpoint
PATH = "/auth/api/get-token"
NOT_UNDERSTOOD = "The browser sent a request that this server could not understand."
_HEADERS = {"ratelimit-limit": str(AUTH_LIMIT), "x-ratelimit-limit-second": str(AUTH_LIMIT)}


def auth_app(api_key: str, api_password: str, tokens: Tokens, clock: SandboxClock, switches: Switches) -> Starlette:
    """The app; it knows one key."""
    windows = Windows(((AUTH_LIMIT, 1),), clock, switches)

    async def get_token(request: Request) -> Response:
        spent = windows.hit()
        if spent is not None:
            answer = too_many(spent, switches.wait_named)
        else:
            try:
                _judge(await request.body(), api_key, api_password)
                # Nothing takes the refresh token; it is there because the real host sends one.
                answer = found([{"access_token": tokens.mint(), "refresh_token": secrets.token_hex(16)}])
            except Refused as refused:
                answer = Answer(refused.status, error_body(refused))
        return as_response(Answer(answer.status, answer.body, {**answer.headers, **_HEADERS}))

    app = Starlette(routes=[Route(PATH, get_token, methods=["POST"])])
    app.router.redirect_slashes = False
    return app


def auth_place(scope: Scope) -> Place:
    """For the ledger and the faults: every call to this host is `token`."""
    return TOKEN, ""


def _judge(body: bytes, api_key: str, api_password: str) -> None:
    """Accept a request for a token or raise its error."""
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(400, NOT_UNDERSTOOD) from error
    if not isinstance(asked, dict) or not all(isinstance(asked.get(name), str) for name in ("api_key", "api_password")):
        raise Refused(400, NOT_UNDERSTOOD)
    if (asked["api_key"], asked["api_password"]) != (api_key, api_password):
        raise Refused(401, "Bad api_key or api_password: Credentials not valid", (("http_status_code", 401),))
