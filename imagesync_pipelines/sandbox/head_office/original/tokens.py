"""The original's tokens: HS256, an hour and a day, and every 401 of contract section 1.

What belongs here: logging in, refreshing, judging an Authorization header. What does not: routes (app.py).

An old refresh token keeps working: the original rotates them and forgets none.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import jwt

from imagesync_pipelines.sandbox.head_office.original.answers import Refused

ACCESS, REFRESH = "access", "refresh"
SIGNED_WITH = "HS256"
INVALID, WRONG_TYPE = "Token is invalid or expired", "Token has wrong type"


@dataclass(frozen=True)
class Accounts:
    """Who may log in: the password of each user, and whether a user is active (None: there is no such user)."""

    passwords: dict[str, str]
    is_active: Callable[[str], bool | None]


@dataclass(frozen=True)
class Tokens:
    """What is needed to make and to judge tokens."""

    secret: str
    now: Callable[[], datetime]
    access: timedelta
    refresh: timedelta
    accounts: Accounts

    def log_in(self, body: Any) -> dict[str, str]:
        """`POST /api/v1/token/`: a pair of tokens, or Refused with 400 or 401."""
        username, password = _fields(body, "username", "password")
        active = self.accounts.is_active(username)
        if not active or self.accounts.passwords.get(username) != password:
            raise Refused(401, {"detail": "No active account found with the given credentials"})
        return {"refresh": self._make(REFRESH, username), "access": self._make(ACCESS, username)}

    def renew(self, body: Any) -> dict[str, str]:
        """`POST /api/v1/token/refresh/`: both tokens anew; the old refresh token stays good."""
        (token,) = _fields(body, "refresh")
        claims, problem = self._read(token, REFRESH)
        if claims is None:
            raise Refused(401, {"detail": problem, "code": "token_not_valid"})
        username = str(claims["user_id"])
        return {"access": self._make(ACCESS, username), "refresh": self._make(REFRESH, username)}

    def user_of(self, header: str | None) -> str:
        """The user of an Authorization header, or Refused with 401."""
        parts = (header or "").split()
        if not parts or parts[0] != "Bearer":
            raise Refused(401, {"detail": "Authentication credentials were not provided."})
        if len(parts) != 2:
            raise Refused(
                401,
                {
                    "detail": "Authorization header must contain two space-delimited values",
                    "code": "bad_authorization_header",
                },
            )
        claims, problem = self._read(parts[1], ACCESS)
        if claims is None:
            message = {"token_class": "AccessToken", "token_type": ACCESS, "message": problem}
            raise Refused(
                401,
                {
                    "detail": "Given token not valid for any token type",
                    "code": "token_not_valid",
                    "messages": [message],
                },
            )
        username = str(claims["user_id"])
        active = self.accounts.is_active(username)
        if active is None:
            raise Refused(401, {"detail": "User not found", "code": "user_not_found"})
        if not active:
            raise Refused(401, {"detail": "User is inactive", "code": "user_inactive"})
        return username

    def _make(self, kind: str, username: str) -> str:
        now = self.now()
        lives = self.access if kind == ACCESS else self.refresh
        claims = {
            "token_type": kind,
            "exp": int((now + lives).timestamp()),
            "iat": int(now.timestamp()),
            "jti": uuid.uuid4().hex,
            "user_id": username,
        }
        return jwt.encode(claims, self.secret, SIGNED_WITH)

    def _read(self, token: str, kind: str) -> tuple[dict[str, Any] | None, str]:
        """The claims of a good token, or None and what is wrong with it."""
        # The time is the sandbox's, which the library does not know.
        try:
            claims: dict[str, Any] = jwt.decode(
                token, self.secret, [SIGNED_WITH], options={"verify_exp": False, "verify_iat": False}
            )
        except jwt.InvalidTokenError:
            return None, INVALID
        if claims["exp"] <= self.now().timestamp():
            return None, INVALID
        if claims["token_type"] != kind:
            return None, WRONG_TYPE
        return claims, ""


def _fields(body: Any, *names: str) -> list[str]:
    """Fields that must be there, in the framework's words."""
    if not isinstance(body, dict):
        kind = type(body).__name__
        raise Refused(400, {"non_field_errors": [f"Invalid data. Expected a dictionary, but got {kind}."]})
    problems = {
        name: ["This field is required." if name not in body else "This field may not be blank."]
        for name in names
        if body.get(name) in (None, "")
    }
    if problems:
        raise Refused(400, problems)
    return [str(body[name]) for name in names]
