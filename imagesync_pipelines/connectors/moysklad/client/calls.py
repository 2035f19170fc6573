"""What МойСклад allows an account, and what its answers mean as such (docs/contracts/moysklad.md).

The numbers hold per user or solution; X-Lognex times are milliseconds. МойСклад takes the access away, until its
support gives it back, for more than 200 answers 429 or 200 equal failing requests in a minute: we stop far below that.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime

from pydantic import SecretStr

from imagesync_pipelines.connectors.moysklad.accounts import MoyskladAccount, TokenKind
from imagesync_pipelines.connectors.moysklad.client.answers import MOSCOW, NOT_CARRIED_OUT, code_of, refusal
from imagesync_pipelines.connectors.moysklad.errors import (
    AccountForbiddenError,
    AccountRefusedError,
    AccountStoppedError,
    StorageFullError,
)
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.upstream.answers import Answer, load_json, parse_json
from imagesync_pipelines.upstream.errors import (
    BadAnswerError,
    CredentialsError,
    RateLimitedError,
    UnavailableError,
    UpstreamError,
)
from imagesync_pipelines.upstream.rate_limiter import RateLimit, goes_on_later
from imagesync_pipelines.upstream.retries import Timing, number_in, retry_after_seconds
from imagesync_pipelines.upstream.session import ApiRequest, BasicAuth, HeaderAuth, Param, SessionPolicy
from imagesync_pipelines.upstream.transport import Dialect, Transport

UNITS = 45
WINDOW_SECONDS = 3
PARALLEL = 5
# After a pause the workers do not all come back in the same moment.
_JITTER_SECONDS = 0.02

# From which day (Moscow time) a call weighs how much; before the first of them it weighs 1.
_WEIGHTS: Mapping[TokenKind, tuple[tuple[date, int], ...]] = {
    TokenKind.SOLUTION: (),
    TokenKind.DRAFT_SOLUTION: ((date(2026, 4, 13), 4),),
    TokenKind.USER: ((date(2026, 5, 12), 2), (date(2026, 9, 1), 3), (date(2026, 12, 1), 4)),
}
MOST_REFUSALS = 20
MOST_EQUAL_FAILURES = 40
_SECONDS = 60.0
_JSON = {"Accept": "application/json;charset=utf-8"}
_PAUSE_HEADER = "X-Lognex-Retry-After"
_ANYTHING = {"Accept": "*/*"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# The server gives up after 300 s; uploading 20 MB takes its time as well.
_DEADLINE_MARGIN = 60.0
# A connection that was idle for longer, or carried more, may answer with an error.
_MOST_IDLE_SECONDS = 30.0
_MOST_REQUESTS = 100


def rate_limit(account: MoyskladAccount, settings: MoyskladSettings) -> RateLimit:
    """The limit of one account, our share of it; AccountStoppedError when a run would have to wait for too long."""
    windows = (Window(max(1, int(UNITS * settings.pace_share)), WINDOW_SECONDS),)
    return RateLimit(
        principal=f"moysklad {account.name}",
        windows=lambda: windows,
        longest_pause=settings.max_pause_seconds,
        too_long=goes_on_later(AccountStoppedError, f"account {account.name} is asked to pause"),
        weight=lambda now: weight_of(account.token_kind, now),
        parallel=PARALLEL,
        units_left=units_left,
        jitter=_JITTER_SECONDS,
    )


def weight_of(kind: TokenKind, now: float) -> int:
    """How many units one call takes at a moment (seconds since 1970)."""
    today = datetime.fromtimestamp(now, UTC).astimezone(MOSCOW).date()
    return max((weight for since, weight in _WEIGHTS[kind] if today >= since), default=1)


def units_left(headers: Mapping[str, str], weight: int) -> int | None:
    """How many units the server says are left in its window; None when it does not say.

    Where the limit it names is our number of calls and not of units, what is left is taken for calls as well.
    """
    named = {name.lower(): value for name, value in headers.items()}
    left, limit = (number_in(named.get(f"x-ratelimit-{name}")) for name in ("remaining", "limit"))
    if left is None:
        return None
    in_calls = weight > 1 and limit == UNITS // weight
    return int(left) * (weight if in_calls else 1)


class CircuitBreaker:
    """The refusals of one account in this process. Once it has stopped, every further call is refused here."""

    def __init__(self, account: str, wall: Callable[[], float]) -> None:
        self._account = account
        self._wall = wall
        self._lock = threading.Lock()
        self._refusals: deque[float] = deque()
        self._failures: defaultdict[str, deque[float]] = defaultdict(deque)
        self._stopped: AccountStoppedError | None = None

    def check(self) -> None:
        """Raise what stopped the account, if anything did."""
        if self._stopped is not None:
            raise type(self._stopped)(self._stopped.what, status=self._stopped.status, sent=False)

    def stop(self, error: AccountStoppedError) -> None:
        """Let nothing more be asked of this account; the first reason stays."""
        with self._lock:
            self._stopped = self._stopped or error

    def refused(self) -> None:
        """Count an answer 429. Raises AccountStoppedError when there were too many within a minute."""
        with self._lock:
            many = self._count(self._refusals) >= MOST_REFUSALS
        if many:
            self._give_up(
                f"{MOST_REFUSALS} calls were refused (429) within a minute; does somebody else use its token?"
            )

    def failed(self, request: str) -> None:
        """Count a failure of a request, told apart by method, address and error. Raises AccountStoppedError."""
        with self._lock:
            many = self._count(self._failures[request]) >= MOST_EQUAL_FAILURES
        if many:
            self._give_up(f"the same request failed {MOST_EQUAL_FAILURES} times within a minute ({request})")

    def _count(self, times: "deque[float]") -> int:
        now = self._wall()
        times.append(now)
        while times and now - times[0] > _SECONDS:
            times.popleft()
        return len(times)

    def _give_up(self, why: str) -> None:
        error = AccountStoppedError(
            f"account {self._account} was stopped before МойСклад bans it: {why} What is done stays done; "
            "find the cause before the next run"
        )
        self.stop(error)
        raise error


class MoyskladDialect(Dialect):
    """Answers of one account: its refusals by their codes; a list under 4xx is an answer about each element."""

    answers = frozenset(range(400, 600))

    def __init__(self, account: MoyskladAccount, timing: Timing) -> None:
        self._wall = timing.wall
        self._breaker = CircuitBreaker(account.name, timing.wall)

    def before(self) -> None:
        """Raise what stopped the account, if anything did."""
        self._breaker.check()

    def judge(self, request: ApiRequest, answer: Answer) -> Answer | UpstreamError:
        """The answer with its JSON, None where there is none, or the error that it means."""
        writes, data = request.body is not None, _json(answer)
        if answer.status < 400:
            # Neither a write, whose answer may be lost, nor a redirect must bring JSON.
            must_be_json = not writes and not request.accept & _REDIRECTS
            return _illegible(answer) if must_be_json and data is None else replace(answer, data=data)
        if isinstance(data, list) and answer.status < 500:
            return replace(answer, data=data)
        refused = refusal(answer.place, answer.status, data, write=writes)
        if isinstance(refused, AccountRefusedError | AccountForbiddenError):
            self._breaker.stop(refused)
            return refused
        if isinstance(refused, RateLimitedError):
            self._breaker.refused()
            # Without it too many calls were in flight.
            refused.retry_after = retry_after_seconds(answer.headers, _PAUSE_HEADER, "milliseconds", self._wall())
            return refused
        code = code_of(data)
        self._breaker.failed(
            f"{request.method} {request.path} {dict(request.params)}: HTTP {answer.status}, error {code}"
        )
        unknown = isinstance(refused, UnavailableError) and code not in NOT_CARRIED_OUT
        refused.ambiguous = writes and unknown
        return refused

    def failed(self, request: ApiRequest, error: UpstreamError) -> UpstreamError:
        """Credentials that cannot even be sent stop the account."""
        if not isinstance(error, CredentialsError):
            return error
        refused = AccountRefusedError(error.what, host=error.host, path=error.path)
        self._breaker.stop(refused)
        return refused


class MoyskladCalls:
    """The three kinds of calls of one account; shared by all threads of a run.

    webhook_prefix: whose webhooks a write must not set off, '' for none.
    """

    def __init__(self, transport: Transport, webhook_prefix: str) -> None:
        self._transport = transport
        self._webhooks = webhook_prefix
        self._full: StorageFullError | None = None

    def read(self, path: str, params: Mapping[str, Param], headers: Mapping[str, str]) -> Answer:
        """GET; repeated after what is transient. Raises what a refusal means."""
        return self._transport.call(ApiRequest("GET", path, params, headers={**_JSON, **headers}))

    def location(self, path: str) -> str:
        """Where a GET is redirected to; that place is not visited."""
        answer = self._transport.call(ApiRequest("GET", path, headers=_ANYTHING, accept=_REDIRECTS))
        headers = {name.lower(): value for name, value in answer.headers.items()}
        if answer.status not in _REDIRECTS or not headers.get("location"):
            raise answer.error(BadAnswerError, f"HTTP {answer.status} without the redirect that was expected")
        return headers["location"]

    def write(self, method: str, path: str, params: Mapping[str, Param], body: bytes) -> Answer:
        """Send JSON that changes something; repeated only while it surely was not carried out.

        Raises what a refusal means, and AnswerLostError when nobody knows whether it was carried out.
        """
        if self._full is not None:
            raise StorageFullError(self._full.what, host=self._full.host, path=self._full.path, sent=False)
        headers = dict(_JSON)
        if self._webhooks:
            headers["X-Lognex-WebHook-DisableByPrefix"] = self._webhooks
        try:
            answer = self._transport.call(ApiRequest(method, path, params, body=body, headers=headers))
        except StorageFullError as error:
            self._full = error
            raise
        if answer.data is None:
            raise AnswerLostError(f"{path}: HTTP {answer.status} without the JSON that tells what was written")
        return answer


def session_policy(account: MoyskladAccount, settings: MoyskladSettings) -> SessionPolicy:
    """How an account is called."""
    return SessionPolicy(
        base_url=account.url,
        auth=_credentials(account),
        read_timeout=settings.timeout,
        total_deadline=settings.timeout + _DEADLINE_MARGIN,
        tries=settings.tries,
        verify_tls=settings.verify_tls,
        most_idle=_MOST_IDLE_SECONDS,
        most_requests=_MOST_REQUESTS,
    )


def _credentials(account: MoyskladAccount) -> BasicAuth | HeaderAuth:
    """Who we are; a new token is never asked for: that would revoke the one others use."""
    token = account.token
    if token is not None:
        return lambda: {"Authorization": SecretStr(f"Bearer {token.get_secret_value()}")}
    return BasicAuth(str(account.login), account.password or SecretStr(""))


def _json(answer: Answer) -> object:
    """The JSON of an answer; None for an empty body, HTML of a proxy, or JSON that was cut."""
    try:
        return load_json(answer.body) if answer.body.strip() else None
    except ValueError:
        return None


def _illegible(answer: Answer) -> UpstreamError:
    """Why the answer to a question is no JSON; one that was cut is asked for again."""
    error = parse_json(answer.place, answer.status, answer.headers.get("Content-Type", ""), answer.body)
    return error if isinstance(error, UpstreamError) else answer.error(BadAnswerError, "null came")
