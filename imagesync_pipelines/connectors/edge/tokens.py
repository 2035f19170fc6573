"""The bearer token of one account at a head office, shared by all threads of a run (contract section 1).

What belongs here: getting a token, renewing it before it ends, renewing it once when it was refused. What does not:
the calls that carry it (api.py, bodies.py).
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import jwt
from pydantic import SecretStr

from imagesync_pipelines.accounts.file import HeadOfficeAccount
from imagesync_pipelines.upstream.errors import BadAnswerError, CredentialsError, UpstreamError
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import UpstreamSession

TOKEN_PATH = "api/v1/token/"  # noqa: S105 - a path
REFRESH_PATH = "api/v1/token/refresh/"
# A token is renewed this long before its end, or at four fifths of a short life.
RENEW_SECONDS = 120.0
RENEW_SHARE = 0.2
# The refusals of a login or a refresh: wrong password, disabled account, a refresh token that is not valid.
_REFUSALS = frozenset({400, 401, 403})


@dataclass(frozen=True)
class _Token:
    """An access token with its refresh token; `renew_at` is a moment of our own clock, None: the token names no end."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    renew_at: float | None


class Tokens:
    """Gives the current access token; one thread renews it while the others wait.

    An account that is refused stays refused: the error is raised again without a call.
    """

    def __init__(self, session: UpstreamSession, head_office: HeadOfficeAccount, timing: Timing) -> None:
        self._session = session
        self._account = head_office
        self._clock = timing.clock
        self._lock = threading.Lock()
        self._token: _Token | None = None
        self._worked = False
        self._refusal: CredentialsError | None = None

    def headers(self) -> Mapping[str, SecretStr]:
        """The header that carries the token."""
        return {"Authorization": SecretStr(f"Bearer {self.current()}")}

    def current(self) -> str:
        """A token that is not about to end; logs in or renews when there is none.

        Raises CredentialsError when the account is refused, and what the session raises.
        """
        with self._lock:
            token = self._token
            if token is None:
                token = self._token = self._log_in()
            elif token.renew_at is not None and self._clock() >= token.renew_at:
                token = self._token = self._renew(token)
            return token.access

    def accepted(self) -> None:
        """Note that the head office took the current token: should it be refused later, a new one makes sense."""
        self._worked = True

    def refused(self, access: str) -> None:
        """Give up a token that a call was refused with (401); a token that another thread renewed since stays.

        Raises CredentialsError when no call with the token ever succeeded: another one would fare no better.
        """
        with self._lock:
            if self._token is None or self._token.access != access:
                return
            if not self._worked:
                self._refuse("takes the password but refuses the token it gave for it")
            self._token = None

    def _log_in(self) -> _Token:
        if self._refusal is not None:
            raise self._refusal
        self._worked = False
        password = self._account.password.get_secret_value()
        asked_at = self._clock()
        try:
            data = self._ask(TOKEN_PATH, {"username": self._account.username, "password": password})
        except UpstreamError as error:
            if error.status in _REFUSALS:
                self._refuse("refused user name and password", error.status)
            raise
        return _token(data, asked_at)

    def _renew(self, token: _Token) -> _Token:
        """Use the refresh token; when that is refused, the password."""
        asked_at = self._clock()
        try:
            return _token(self._ask(REFRESH_PATH, {"refresh": token.refresh}), asked_at, token.refresh)
        except UpstreamError as error:
            if error.status not in _REFUSALS:
                raise
            return self._log_in()

    def _ask(self, path: str, body: Mapping[str, str]) -> object:
        return self._session.request("POST", path, json=body, idempotent=True, expect_json=True).data

    def _refuse(self, what: str, status: int | None = 401) -> None:
        self._refusal = CredentialsError(
            f"the head office {what} (user {self._account.username}); check the account there and in the accounts file",
            status=status,
        )
        raise self._refusal


def _token(data: object, asked_at: float, refresh_before: str = "") -> _Token:
    """The answer of either path; a HO without rotation gives no new refresh token, so the old one stays."""
    access = data.get("access") if isinstance(data, dict) else None
    refresh = data.get("refresh") if isinstance(data, dict) else None
    if not isinstance(access, str) or not access:
        raise BadAnswerError("the head office's answer to the login holds no access token", status=200)
    lifetime = _lifetime(access)
    renew_at = None if lifetime is None else asked_at + lifetime - min(RENEW_SECONDS, lifetime * RENEW_SHARE)
    return _Token(access, refresh if isinstance(refresh, str) and refresh else refresh_before, renew_at)


def _lifetime(access: str) -> float | None:
    """Seconds the token lives, by its own two times: HO's clock need not agree with ours. None: it does not say."""
    try:
        claims = jwt.decode(access, options={"verify_signature": False, "verify_exp": False})
        lifetime = float(claims["exp"]) - float(claims["iat"])
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
        return None
    return lifetime if lifetime > 0 else None
