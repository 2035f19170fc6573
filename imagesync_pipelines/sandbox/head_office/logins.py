"""How the original answers and whom it lets in (docs/contracts/edge.md): errors, bodies, tokens.

An old refresh token keeps working: the original rotates them and forgets none.
"""

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import jwt
import orjson
from starlette.requests import Request
from starlette.responses import Response

from imagesync_pipelines.sandbox.answers import claims_in


@dataclass
class OfficeRefusalError(Exception):
    """A request that is answered with an error; raised anywhere below a route."""

    status: int
    body: dict[str, Any]


class OfficeCrashError(Exception):
    """What the original does not catch: a page of HTML with status 500."""


def as_json(status: int, body: object, **headers: str) -> Response:
    """A JSON answer; every 401 names the scheme."""
    named = {"WWW-Authenticate": 'Bearer realm="api"'} if status == 401 else {}
    return Response(orjson.dumps(body), status, {**named, **headers}, "application/json")


def v1_error(status: int, message: str, detail: str | None = None) -> OfficeRefusalError:
    """An error in the shape of the V1 routes."""
    return OfficeRefusalError(
        status, {"status": "error", "message": message, **({} if detail is None else {"detail": detail})}
    )


async def body_of(request: Request) -> Any:
    """The body as Django REST framework reads it: JSON or a form; an empty one is an empty object."""
    content = await request.body()
    content_type = request.headers.get("content-type", "")
    media_type = content_type.split(";")[0].strip().lower()
    if not content:
        return {}
    if media_type == "application/x-www-form-urlencoded":
        return dict(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True))
    if media_type != "application/json":
        raise OfficeRefusalError(415, {"detail": f'Unsupported media type "{content_type}" in request.'})
    try:
        return json.loads(content.decode())
    except ValueError as error:
        raise OfficeRefusalError(400, {"detail": f"JSON parse error - {error}"}) from error


ACCESS, REFRESH = "access", "refresh"
SIGNED_WITH = "HS256"
INVALID, WRONG_TYPE = "Token is invalid or expired", "Token has wrong type"


@dataclass(frozen=True)
class OfficeTokens:
    """What is needed to make and to judge tokens.

    `passwords` are those of each user; `is_active` says whether a user may log in (None: there is no such user).
    """

    secret: str
    now: Callable[[], datetime]
    lives: Mapping[str, timedelta]
    passwords: Mapping[str, str]
    is_active: Callable[[str], bool | None]

    def log_in(self, body: Any) -> dict[str, str]:
        """`POST /api/v1/token/`: a pair of tokens, or Refused with 400 or 401."""
        username, password = _fields(body, "username", "password")
        active = self.is_active(username)
        if not active or self.passwords.get(username) != password:
            raise OfficeRefusalError(401, {"detail": "No active account found with the given credentials"})
        return {"refresh": self._make(REFRESH, username), "access": self._make(ACCESS, username)}

    def renew(self, body: Any) -> dict[str, str]:
        """`POST /api/v1/token/refresh/`: both tokens anew; the old refresh token stays good."""
        (token,) = _fields(body, "refresh")
        claims, problem = self._read(token, REFRESH)
        if claims is None:
            raise OfficeRefusalError(401, {"detail": problem, "code": "token_not_valid"})
        username = str(claims["user_id"])
        return {"access": self._make(ACCESS, username), "refresh": self._make(REFRESH, username)}

    def user_of(self, header: str | None) -> str:
        """The user of an Authorization header, or Refused with 401."""
        parts = (header or "").split()
        if not parts or parts[0] != "Bearer":
            raise OfficeRefusalError(401, {"detail": "Authentication credentials were not provided."})
        if len(parts) != 2:
            said = "Authorization header must contain two space-delimited values"
            raise OfficeRefusalError(401, {"detail": said, "code": "bad_authorization_header"})
        claims, problem = self._read(parts[1], ACCESS)
        if claims is None:
            message = {"token_class": "AccessToken", "token_type": ACCESS, "message": problem}
            said = "Given token not valid for any token type"
            raise OfficeRefusalError(401, {"detail": said, "code": "token_not_valid", "messages": [message]})
        username = str(claims["user_id"])
        active = self.is_active(username)
        if active is None:
            raise OfficeRefusalError(401, {"detail": "User not found", "code": "user_not_found"})
        if not active:
            raise OfficeRefusalError(401, {"detail": "User is inactive", "code": "user_inactive"})
        return username

    def _make(self, kind: str, username: str) -> str:
        now = self.now()
        claims = {
            "token_type": kind,
            "exp": int((now + self.lives[kind]).timestamp()),
            "iat": int(now.timestamp()),
            "jti": uuid.uuid4().hex,
            "user_id": username,
        }
        return jwt.encode(claims, self.secret, SIGNED_WITH)

    def _read(self, token: str, kind: str) -> tuple[dict[str, Any] | None, str]:
        """The claims of a good token, or None and what is wrong with it."""
        claims = claims_in(token, self.secret, SIGNED_WITH)
        if claims is None or claims["exp"] <= self.now().timestamp():
            return None, INVALID
        if claims["token_type"] != kind:
            return None, WRONG_TYPE
        return claims, ""


def _fields(body: Any, *names: str) -> list[str]:
    """Fields that must be there, in the framework's words."""
    if not isinstance(body, dict):
        kind = type(body).__name__
        raise OfficeRefusalError(400, {"non_field_errors": [f"Invalid data. Expected a dictionary, but got {kind}."]})
    problems = {
        name: ["This field is required." if name not in body else "This field may not be blank."]
        for name in names
        if body.get(name) in (None, "")
    }
    if problems:
        raise OfficeRefusalError(400, problems)
    return [str(body[name]) for name in names]
