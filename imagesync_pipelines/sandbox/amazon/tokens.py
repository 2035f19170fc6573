"""Login with Amazon: the host that turns a refresh token into an access token of one hour (contract section 1).

What belongs here: issuing access tokens and judging them. What does not: the catalogue that they open (catalogue.py).
"""

import json
import secrets
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.wire import Place

TOKEN = "token"  # noqa: S105 - the endpoint's name in the ledger
PATH = "/auth/o2/token"
LIFE = timedelta(hours=1)


class Standing(StrEnum):
    """What an access token is worth now."""

    GOOD = "good"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Application:
    """The one application that is registered, and the seller's consent to it."""

    client_id: str
    client_secret: str = field(repr=False)
    refresh_token: str = field(repr=False)


@dataclass
class AccessTokens:
    """The access tokens that were issued. Safe between threads."""

    clock: SandboxClock
    _ends: dict[str, datetime] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def issue(self) -> str:
        """A new token, good for an hour of the sandbox's clock; older ones stay good."""
        token = f"Atza|{secrets.token_urlsafe(48)}"
        with self._lock:
            self._ends[token] = self.clock.now() + LIFE
        return token

    def standing(self, token: str) -> Standing:
        """Whether the token opens the catalogue now."""
        with self._lock:
            ends = self._ends.get(token)
        if ends is None:
            return Standing.UNKNOWN
        return Standing.GOOD if self.clock.now() < ends else Standing.EXPIRED

    def revoke(self) -> None:
        """No token issued so far opens anything from now on: a 403 in the middle of a run."""
        with self._lock:
            self._ends.clear()


def token_app(application: Application, tokens: AccessTokens) -> Starlette:
    """The app of the token host."""

    async def token(request: Request) -> Response:
        form = _fields(await request.body(), request.headers.get("content-type", ""))
        problem = _problem(form, application)
        if problem is not None:
            return problem
        return JSONResponse(
            {
                "access_token": tokens.issue(),
                "refresh_token": application.refresh_token,
                "token_type": "bearer",
                "expires_in": int(LIFE.total_seconds()),
            }
        )

    return Starlette(routes=[Route(PATH, token, methods=["POST"])])


def token_place(scope: Scope) -> Place:
    """For the ledger and the faults."""
    return TOKEN, ""


def _fields(body: bytes, content_type: str) -> dict[str, str]:
    """What was sent: a form, as the documents say, or JSON, as Amazon's own clients send it."""
    if not content_type.startswith("application/json"):
        return {name: values[-1] for name, values in parse_qs(body.decode("latin-1")).items()}
    try:
        sent = json.loads(body)
    except ValueError:
        return {}
    return {name: value for name, value in sent.items() if isinstance(value, str)} if isinstance(sent, dict) else {}


def _problem(form: dict[str, str], application: Application) -> Response | None:
    """The OAuth error for a request that gets no token."""
    if (form.get("client_id"), form.get("client_secret")) != (application.client_id, application.client_secret):
        return _error(401, "invalid_client", "Client authentication failed")
    if form.get("grant_type") != "refresh_token":
        return _error(400, "unsupported_grant_type", "The authorization grant type is not supported")
    if form.get("refresh_token") != application.refresh_token:
        return _error(400, "invalid_grant", "The request has an invalid grant parameter : refresh_token")
    return None


def _error(status: int, name: str, description: str) -> Response:
    return JSONResponse({"error": name, "error_description": description}, status)
