"""A token that a system gives for credentials and that ends: one holder for all threads of a run."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from pydantic import SecretStr

from imagesync_pipelines.languages import N_
from imagesync_pipelines.upstream.errors import BadAnswerError, CredentialsError, UpstreamError
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import ApiRequest, SessionPolicy, UpstreamSession

T = TypeVar("T")
_REFUSED = N_("HTTP {status}: {system} refused {credentials}; {advice}")
_TOKEN_REFUSED = N_("HTTP {status}: {system} takes {credentials} but refuses the token it gave for them; {advice}")


class GivenToken(NamedTuple):
    """What the answer to a login says: the token, a refresh token where there is one, seconds that it lives."""

    access: str
    refresh: str = ""
    lifetime: float | None = None


@dataclass(frozen=True)
class Token:
    """A token in use; renew_at: a moment of our own clock, None when nobody says how long it lives."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    renew_at: float | None
    claims: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class TokenPolicy:
    """How one system gives tokens.

    path and body are the login's; refresh_path takes `{"refresh": …}`, '' where only the login gives tokens. read: the
    token in an answer's JSON, None when there is none. system, credentials and advice make the sentence for people
    when the login is refused, with one of the statuses in `refusals`. lifetime: seconds, where the answer and the token
    do not say. renew_before: a token is renewed so many seconds before its end, or after four fifths of a short life.
    header and prefix carry it. token_refusals: what a call is answered whose token is not valid (any longer).
    proven_by_use: a token that never worked is not asked for again, the next one would fare no better.
    """

    system: str
    credentials: str
    advice: str
    path: str
    body: Mapping[str, str] = field(repr=False)
    read: Callable[[object], GivenToken | None]
    refresh_path: str = ""
    refusals: frozenset[int] = frozenset({400, 401, 403})
    lifetime: float | None = None
    renew_before: float = 60.0
    header: str = "Authorization"
    prefix: str = "Bearer "
    token_refusals: frozenset[int] = frozenset({401})
    proven_by_use: bool = False


class TokenHolder:
    """Gives the current token; one thread renews it while the others wait, so no login host's own limit is near.

    session: that tokens are asked for with, which counts calls and bytes; close it at the end.
    Credentials that are refused stay refused: the error is raised again without a call.
    """

    def __init__(self, session: SessionPolicy, policy: TokenPolicy, timing: Timing) -> None:
        self.session = UpstreamSession(session, timing=timing)
        self._policy = policy
        self._clock = timing.clock
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._worked = False
        self._refusal: CredentialsError | None = None

    def headers(self) -> Mapping[str, SecretStr]:
        """The header that carries the token."""
        return {self._policy.header: SecretStr(f"{self._policy.prefix}{self.current().access}")}

    def current(self) -> Token:
        """A token that is not about to end.

        Raises CredentialsError when the credentials are refused, and what the session raises.
        """
        with self._lock:
            token = self._token
            if token is None:
                token = self._token = self._log_in()
            elif token.renew_at is not None and self._clock() >= token.renew_at:
                token = self._token = self._renew(token)
            return token

    def using(self, attempt: Callable[[], tuple[Token | None, T]]) -> T:
        """Make an attempt, which says the token it had, and once more when its outcome says that this is not valid.

        Raises what the attempt does, and CredentialsError when tokens prove themselves by use and none ever worked.
        """
        token, outcome = attempt()
        if self._is_refusal(outcome):
            self._give_up(token)
            outcome = attempt()[1]
        # Any other answer shows that the system took the token; should it be refused later, a new one makes sense.
        if not self._is_refusal(outcome) and (not isinstance(outcome, UpstreamError) or outcome.status is not None):
            self._worked = True
        return outcome

    def _is_refusal(self, outcome: object) -> bool:
        refused = self._policy.token_refusals
        return isinstance(outcome, CredentialsError) and outcome.sent and outcome.status in refused

    def _give_up(self, token: Token | None) -> None:
        """Drop a token; one that another thread got since stays."""
        with self._lock:
            if self._token is None or token is None or self._token.access != token.access:
                return
            self._token = None
            if self._policy.proven_by_use and not self._worked:
                raise self._refused_for_good(_TOKEN_REFUSED, None)

    def _log_in(self) -> Token:
        if self._refusal is not None:
            raise self._refusal
        self._worked = False
        try:
            return self._ask(self._policy.path, self._policy.body)
        except UpstreamError as error:
            if error.status not in self._policy.refusals:
                raise
            # The answer is not shown: it may repeat what was sent.
            raise self._refused_for_good(_REFUSED, error) from None

    def _renew(self, token: Token) -> Token:
        """Use the refresh token where there is one; when that is refused or its answer is lost, log in.

        It is sent once: to a system that counts, a refresh token used twice is a stolen one.
        """
        if not self._policy.refresh_path:
            return self._log_in()
        try:
            return self._ask(self._policy.refresh_path, {"refresh": token.refresh}, token.refresh)
        except UpstreamError as error:
            if error.status not in self._policy.refusals and not error.ambiguous:
                raise
            return self._log_in()

    def _ask(self, path: str, body: Mapping[str, str], refresh_before: str = "") -> Token:
        """Ask for a token; a system without rotation gives no new refresh token, so the old one stays."""
        policy, asked_at = self._policy, self._clock()
        once = path == policy.refresh_path
        request = ApiRequest("POST", path, json=body, idempotent=not once, expect_json=True)
        given = policy.read(self.session.call(request).data)
        if given is None:
            raise BadAnswerError(f"the answer to the login at {policy.system} holds no access token", status=200)
        claims = _claims(given.access)
        lifetime = given.lifetime or _lifetime(claims) or policy.lifetime
        early = None if lifetime is None else lifetime - min(policy.renew_before, lifetime / 5)
        return Token(given.access, given.refresh or refresh_before, None if early is None else asked_at + early, claims)

    def _refused_for_good(self, what: str, error: UpstreamError | None) -> CredentialsError:
        policy, status = self._policy, 401 if error is None else error.status
        self._refusal = CredentialsError(
            what.format(status=status, system=policy.system, credentials=policy.credentials, advice=policy.advice),
            host=error.host if error else "",
            path=error.path if error else "",
            status=status,
        )
        return self._refusal


def text_in(data: object, name: str) -> str:
    """A text in an object of JSON; '' for anything else."""
    value = data.get(name) if isinstance(data, dict) else None
    return value if isinstance(value, str) else ""


def _claims(access: str) -> Mapping[str, Any]:
    """What a token says of itself where it is a JWT; its signature is for the system to check."""
    # It brings cryptography, which is slow to load, and only systems with such tokens need it.
    import jwt

    try:
        claims: Mapping[str, Any] = jwt.decode(access, options={"verify_signature": False, "verify_exp": False})
    except jwt.InvalidTokenError:
        return {}
    return claims


def _lifetime(claims: Mapping[str, Any]) -> float | None:
    """Seconds a token lives by its own two times: the system's clock need not agree with ours."""
    try:
        lifetime = float(claims["exp"]) - float(claims["iat"])
    except (KeyError, TypeError, ValueError):
        return None
    return lifetime if lifetime > 0 else None
