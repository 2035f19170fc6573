"""The token of one Plytix account, shared by all threads of a run, and the limits it names (contract plytix.md 2, 3).

What belongs here: getting a token, renewing it before it ends, renewing it once when it was refused. What does not:
the calls that carry it (calls.py). There is no refresh: a new token is asked for with key and password.
"""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from pydantic import SecretStr

from imagesync_pipelines.accounts.file import PlytixAccount
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.upstream.errors import BadAnswerError, CredentialsError, UpstreamError
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import SessionPolicy, UpstreamSession

TOKEN_PATH = "auth/api/get-token"  # noqa: S105 - a path
# What Plytix's tokens live when they do not say; measured from their own times, which need not agree with our clock.
LIFETIME_SECONDS = 900.0
RENEW_SECONDS = 60.0
RENEW_SHARE = 0.2
# For a token without limits: the lowest that were seen (contract section 3).
DEFAULT_LIMITS = ((20, 10), (5000, 3600))
_REFUSALS = frozenset({400, 401, 403, 404, 422})


@dataclass(frozen=True)
class _Token:
    access: str = field(repr=False)
    renew_at: float
    limits: tuple[tuple[int, int], ...]


class Tokens:
    """Gives the current token; one thread renews it while the others wait, so the auth host's own limit is never near.

    An account that is refused stays refused: the error is raised again without a call.
    """

    def __init__(self, account: PlytixAccount, settings: PlytixSettings, timing: Timing) -> None:
        policy = SessionPolicy(
            base_url=account.auth_url,
            read_timeout=settings.timeout,
            total_deadline=settings.call_deadline,
            tries=settings.tries,
            verify_tls=settings.verify_tls,
        )
        self._session = UpstreamSession(policy, timing=timing)
        self._account = account
        self._clock = timing.clock
        self._lock = threading.Lock()
        self._token: _Token | None = None
        self._refusal: CredentialsError | None = None

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    @property
    def calls(self) -> int:
        """Requests made for tokens."""
        return self._session.calls

    @property
    def bytes(self) -> int:
        """Bytes of answers received."""
        return self._session.bytes

    def headers(self) -> Mapping[str, SecretStr]:
        """The header that carries the token."""
        return {"Authorization": SecretStr(f"Bearer {self.current()}")}

    def current(self) -> str:
        """A token that is not about to end. Raises CredentialsError when the account is refused."""
        return self._current().access

    def limits(self) -> tuple[tuple[int, int], ...]:
        """Pairs of calls and seconds: those of the accounts file, else those of the token, else the usual ones."""
        return self._account.limits or self._current().limits or DEFAULT_LIMITS

    def refused(self, access: str) -> None:
        """Give up a token that a call was refused with (401); one that another thread got since stays."""
        with self._lock:
            if self._token is not None and self._token.access == access:
                self._token = None

    def _current(self) -> _Token:
        with self._lock:
            if self._token is None or self._clock() >= self._token.renew_at:
                self._token = self._ask()
            return self._token

    def _ask(self) -> _Token:
        if self._refusal is not None:
            raise self._refusal
        asked_at = self._clock()
        body = {
            "api_key": self._account.api_key.get_secret_value(),
            "api_password": self._account.api_password.get_secret_value(),
        }
        try:
            answer = self._session.request("POST", TOKEN_PATH, json=body, idempotent=True, expect_json=True)
        except UpstreamError as error:
            if error.status not in _REFUSALS:
                raise
            # The answer is not shown: it may repeat what was sent.
            self._refusal = CredentialsError(
                f"Plytix refused key and password of account {self._account.alias} (HTTP {error.status}); check them "
                "and auth_url in the accounts file (the keys of a development account work on its own hosts only)",
                host=error.host,
                path=error.path,
                status=error.status,
            )
            raise self._refusal from None
        return _token(answer.data, asked_at)


def _token(data: object, asked_at: float) -> _Token:
    rows = data.get("data") if isinstance(data, dict) else None
    row = rows[0] if isinstance(rows, list) and rows else None
    access = row.get("access_token") if isinstance(row, dict) else None
    if not isinstance(access, str) or not access:
        raise BadAnswerError("the answer to the login at Plytix holds no access token", status=200)
    claims = _claims(access)
    lifetime = _lifetime(claims)
    return _Token(access, asked_at + lifetime - min(RENEW_SECONDS, lifetime * RENEW_SHARE), tuple(_limits(claims)))


def _claims(access: str) -> Mapping[str, Any]:
    try:
        claims: Mapping[str, Any] = jwt.decode(access, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        return {}
    return claims


def _lifetime(claims: Mapping[str, Any]) -> float:
    try:
        lifetime = float(claims["exp"]) - float(claims["iat"])
    except (KeyError, TypeError, ValueError):
        return LIFETIME_SECONDS
    return lifetime if lifetime > 0 else LIFETIME_SECONDS


def _limits(claims: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """The windows of the account, from `user_claims.account.rate_limit`; what is no window is passed over."""
    place: Any = claims
    for name in ("user_claims", "account", "rate_limit"):
        place = place.get(name) if isinstance(place, dict) else None
    for item in place if isinstance(place, list) else []:
        calls, seconds = (item.get("limit"), item.get("window_size")) if isinstance(item, dict) else (None, None)
        if all(isinstance(number, int) and not isinstance(number, bool) and number > 0 for number in (calls, seconds)):
            yield calls, seconds  # type: ignore[misc]
