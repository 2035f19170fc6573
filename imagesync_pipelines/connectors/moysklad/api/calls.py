"""One call to the API: in its turn, with the headers it needs, repeated where that is safe (contract sections 2 to 4).

What belongs here: headers, which calls are repeated, what a lost answer is, connections. What does not: paths and
bodies (account.py, bodies.py), what a refusal means (refusals.py), waiting (pacing.py), when to stop (breaker.py).
"""

import base64
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.accounts.moysklad import MoyskladAccount
from imagesync_pipelines.connectors.moysklad.api.breaker import CircuitBreaker
from imagesync_pipelines.connectors.moysklad.api.limits import asked_pause
from imagesync_pipelines.connectors.moysklad.api.pacing import Pace
from imagesync_pipelines.connectors.moysklad.api.refusals import NOT_CARRIED_OUT, code_of, refusal
from imagesync_pipelines.connectors.moysklad.errors import (
    AccountRefusedError,
    AccountStoppedError,
    NotAllowedError,
    StorageFullError,
)
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.storage.rate_budget import WindowLeft
from imagesync_pipelines.upstream.answers import Answer, Place, load_json, parse_json, place_of
from imagesync_pipelines.upstream.errors import (
    BadAnswerError,
    CredentialsError,
    RateLimitedError,
    UnavailableError,
    UpstreamError,
)
from imagesync_pipelines.upstream.retries import RetryPolicy, Timing, pause_after
from imagesync_pipelines.upstream.session import Param, SessionPolicy, UpstreamSession

_JSON = {"Accept": "application/json;charset=utf-8"}
_ANYTHING = {"Accept": "*/*"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REFUSALS = frozenset(range(400, 600))
_BACKOFF_FIRST, _BACKOFF_MAX = 0.5, 30.0
# The server gives up after 300 s; uploading 20 MB takes its time as well.
_DEADLINE_MARGIN = 60.0
# A connection that was idle for longer, or carried more, may answer with an error (contract section 3).
_MOST_IDLE_SECONDS = 30.0
_MOST_REQUESTS = 100


@dataclass(frozen=True)
class Reply:
    """A good answer, or a bulk answer under 400. data: the JSON, None when there is none."""

    status: int
    place: Place
    data: object = field(repr=False)

    def error(self, kind: type[UpstreamError], what: str) -> UpstreamError:
        """Make an error of this answer."""
        return self.place.error(kind, what, status=self.status)


@dataclass(frozen=True)
class _Call:
    """One call as it goes out, the same in every attempt. accept: statuses of redirects that are its answer."""

    method: str
    path: str
    params: Mapping[str, Param] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    accept: frozenset[int] = frozenset()

    @property
    def is_question(self) -> bool:
        """Whether JSON must come back: neither a write, whose answer may be lost, nor a redirect."""
        return self.body is None and not self.accept


class Calls:
    """Calls of one account; shared by all threads of a run."""

    def __init__(self, account: MoyskladAccount, settings: MoyskladSettings, engine: sa.Engine, timing: Timing) -> None:
        self._timing = timing
        deadline = settings.timeout + _DEADLINE_MARGIN
        self._retry = RetryPolicy(settings.tries, _BACKOFF_FIRST, _BACKOFF_MAX, deadline)
        self._pace = Pace(account, settings, engine, timing)
        self._breaker = CircuitBreaker(account.name, timing.wall)
        self._webhooks = settings.webhook_prefix
        # One attempt at a time: every request is paced here.
        policy = SessionPolicy(
            base_url=account.url,
            auth=lambda: _credentials(account),
            read_timeout=settings.timeout,
            total_deadline=deadline,
            tries=1,
            verify_tls=settings.verify_tls,
        )
        self._session = UpstreamSession(policy, timing=timing)
        self._lock = threading.Lock()
        self._full: StorageFullError | None = None
        self._units = 0
        self._requests = 0
        self._last = timing.clock()

    def close(self) -> None:
        """Close the connections of all threads."""
        self._session.close()

    @property
    def calls(self) -> int:
        """Requests made to the API, repetitions and refused ones included."""
        return self._session.calls

    @property
    def units(self) -> int:
        """Units that those requests took."""
        return self._units

    @property
    def received(self) -> int:
        """Bytes of bodies received."""
        return self._session.bytes

    def weight(self) -> int:
        """Units that one call takes now."""
        return self._pace.weight()

    def left(self) -> WindowLeft:
        """What is left of the account's window now."""
        return self._pace.left()

    def read(self, path: str, params: Mapping[str, Param], headers: Mapping[str, str]) -> Reply:
        """GET; repeated after what is transient. Raises what a refusal means."""
        return _reply(self._repeated(_Call("GET", path, params, {**_JSON, **headers})))

    def location(self, path: str) -> str:
        """Where a GET is redirected to; that place is not visited."""
        answer = self._repeated(_Call("GET", path, headers=_ANYTHING, accept=_REDIRECTS))
        headers = {name.lower(): value for name, value in answer.headers.items()}
        if answer.status not in _REDIRECTS or not headers.get("location"):
            raise place_of(answer.url).error(
                BadAnswerError, f"HTTP {answer.status} without the redirect that was expected"
            )
        return headers["location"]

    def write(self, method: str, path: str, params: Mapping[str, Param], body: bytes) -> Reply:
        """Send JSON that changes something; repeated only while it surely was not carried out.

        Raises what a refusal means, and AnswerLostError when nobody knows whether it was carried out.
        """
        if self._full is not None:
            raise StorageFullError(self._full.what, host=self._full.host, path=self._full.path, sent=False)
        headers = dict(_JSON)
        if self._webhooks:
            headers["X-Lognex-WebHook-DisableByPrefix"] = self._webhooks
        try:
            answer = self._repeated(_Call(method, path, params, headers, body))
        except StorageFullError as error:
            self._full = error
            raise
        reply = _reply(answer)
        if reply.data is None:
            raise AnswerLostError(f"{path}: HTTP {reply.status} without the JSON that tells what was written")
        return reply

    def _repeated(self, call: _Call) -> Answer:
        failures = refused = 0
        while True:
            outcome = self._attempt(call)
            if isinstance(outcome, Answer):
                return outcome
            if isinstance(outcome, RateLimitedError):
                # It was not carried out; how often that happens is for the breaker to judge.
                self._breaker.refused()
                refused += 1
                self._pace.refused(outcome.retry_after, refused)
                continue
            failures += 1
            outcome.attempts = failures
            if outcome.ambiguous:
                raise AnswerLostError(str(outcome)) from None
            if not outcome.retryable or failures >= self._retry.tries:
                raise outcome
            self._timing.sleep(pause_after(failures, outcome.retry_after, self._retry, self._timing))

    def _attempt(self, call: _Call) -> Answer | UpstreamError:
        """Make one request: its answer, a bulk answer under 400 among them, or the error that it means."""
        self._breaker.check()
        try:
            answer = self._request(call)
        except CredentialsError as error:
            raise self._stop(AccountRefusedError(error.what, host=error.host, path=error.path)) from None
        except UpstreamError as error:
            return error
        data = _json(answer)
        if answer.status < 400:
            return _illegible(answer) if call.is_question and data is None else answer
        if isinstance(data, list) and answer.status < 500:
            return answer
        refused = refusal(place_of(answer.url), answer.status, data, write=call.body is not None)
        if isinstance(refused, AccountRefusedError | NotAllowedError):
            raise self._stop(refused)
        if isinstance(refused, RateLimitedError):
            refused.retry_after = asked_pause(answer.headers)
            return refused
        code = code_of(data)
        self._breaker.failed(f"{call.method} {call.path} {dict(call.params)}: HTTP {answer.status}, error {code}")
        unknown = isinstance(refused, UnavailableError) and code not in NOT_CARRIED_OUT
        refused.ambiguous = call.body is not None and unknown
        return refused

    def _request(self, call: _Call) -> Answer:
        with self._pace.turn() as turn:
            self._renew_connections()
            with self._lock:
                self._units += turn.units
            answer = self._session.request(
                call.method,
                call.path,
                call.params,
                body=call.body,
                headers=call.headers,
                idempotent=call.body is None,
                accept=_REFUSALS | call.accept,
            )
            turn.heard = answer.headers
            return answer

    def _renew_connections(self) -> None:
        """Open new connections where the old ones were idle for long, or carried many requests."""
        with self._lock:
            now = self._timing.clock()
            old = now - self._last > _MOST_IDLE_SECONDS or self._requests >= _MOST_REQUESTS
            self._requests = 1 if old else self._requests + 1
            self._last = now
        if old:
            self._session.close()

    def _stop(self, error: AccountStoppedError) -> AccountStoppedError:
        self._breaker.stop(error)
        return error


def _credentials(account: MoyskladAccount) -> Mapping[str, SecretStr]:
    """The header that says who we are; a new token is never asked for: that would revoke the one others use."""
    if account.token is not None:
        return {"Authorization": SecretStr(f"Bearer {account.token.get_secret_value()}")}
    password = account.password.get_secret_value() if account.password is not None else ""
    pair = base64.b64encode(f"{account.login}:{password}".encode()).decode("ascii")
    return {"Authorization": SecretStr(f"Basic {pair}")}


def _json(answer: Answer) -> object:
    """The JSON of an answer; None for an empty body, HTML of a proxy, or JSON that was cut."""
    try:
        return load_json(answer.body) if answer.body.strip() else None
    except ValueError:
        return None


def _illegible(answer: Answer) -> UpstreamError:
    """Why the answer to a question is no JSON; one that was cut is asked for again."""
    place = place_of(answer.url)
    error = parse_json(place, answer.status, answer.headers.get("Content-Type", ""), answer.body)
    return error if isinstance(error, UpstreamError) else place.error(BadAnswerError, "null came", status=answer.status)


def _reply(answer: Answer) -> Reply:
    return Reply(answer.status, place_of(answer.url), _json(answer))
