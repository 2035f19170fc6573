"""What МойСклад allows an account, and what its answers mean as such (docs/contracts/moysklad.md).

The numbers hold per user or solution; X-Lognex times are milliseconds. МойСклад takes the access away, until its
support gives it back, for more than 200 answers 429 or 200 equal failing requests in a minute: we stop far below that.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import NoReturn

from pydantic import SecretStr

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.moysklad import errors
from imagesync_pipelines.connectors.moysklad.accounts import MoyskladAccount, TokenKind
from imagesync_pipelines.connectors.moysklad.client.answers import MOSCOW, NOT_CARRIED_OUT, code_of, refusal
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.upstream.answers import Answer, parse_json
from imagesync_pipelines.upstream.errors import (
    BadAnswerError,
    CredentialsError,
    RateLimitedError,
    UnavailableError,
    UpstreamError,
)
from imagesync_pipelines.upstream.retries import Timing, number_in, retry_after_seconds
from imagesync_pipelines.upstream.session import ApiRequest, BasicAuth, SessionPolicy
from imagesync_pipelines.upstream.transport import Dialect, RateLimit

UNITS = 45
WINDOW_SECONDS = 3
PARALLEL = 5

# From which day (Moscow time) a call weighs how much; before the first of them it weighs 1.
_WEIGHTS: Mapping[TokenKind, tuple[tuple[date, int], ...]] = {
    TokenKind.SOLUTION: (),
    TokenKind.DRAFT_SOLUTION: ((date(2026, 4, 13), 4),),
    TokenKind.USER: ((date(2026, 5, 12), 2), (date(2026, 9, 1), 3), (date(2026, 12, 1), 4)),
}
MOST_REFUSALS = 20
MOST_EQUAL_FAILURES = 40
REDIRECTS = frozenset({301, 302, 303, 307, 308})


def rate_limit(account: MoyskladAccount, settings: MoyskladSettings) -> RateLimit:
    """The limit of one account, our share of it; AccountStoppedError when a run would have to wait for too long."""
    windows = (Window(max(1, int(UNITS * settings.pace_share)), WINDOW_SECONDS),)
    return RateLimit(
        principal=f"moysklad {account.name}",
        windows=lambda: windows,
        longest_pause=settings.max_pause_seconds,
        kind=errors.AccountStoppedError,
        why=languages.told(f"account {account.name} is asked to pause"),
        weight=lambda now: weight_of(account.token_kind, now),
        parallel=PARALLEL,
        units_left=units_left,
        # After a pause the workers do not all come back in the same moment.
        jitter=0.02,
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


class MoyskladDialect(Dialect):
    """Answers of one account: its refusals by their codes; a list under 4xx is an answer about each element.

    They are counted: once the account has stopped, every further call is refused here.
    """

    answers = frozenset(range(400, 600))

    def __init__(self, account: MoyskladAccount, timing: Timing) -> None:
        self._account, self._wall = account.name, timing.wall
        self._lock = threading.Lock()
        self._happened: defaultdict[str, deque[float]] = defaultdict(deque)
        self._stopped: errors.AccountStoppedError | None = None

    def before(self) -> None:
        """Raise what stopped the account, if anything did."""
        if self._stopped is not None:
            raise type(self._stopped)(self._stopped.what, status=self._stopped.status, sent=False)

    def judge(self, request: ApiRequest, answer: Answer) -> Answer | UpstreamError:
        """The answer with its JSON, None where there is none, or the error that it means.

        Raises AccountStoppedError when there were too many refusals, or equal failures, within a minute.
        """
        writes = request.body is not None
        parsed = parse_json(answer.place, answer.status, answer.headers.get("Content-Type", ""), answer.body)
        data = None if isinstance(parsed, UpstreamError) else parsed
        if answer.status < 400:
            # Neither a write, whose answer may be lost, nor a redirect must bring JSON.
            if data is None and not writes and not request.accept & REDIRECTS:
                return (
                    parsed
                    if isinstance(parsed, UpstreamError)
                    else answer.error(BadAnswerError, languages.told("null came"))
                )
            return replace(answer, data=data)
        if isinstance(data, list) and answer.status < 500:
            return replace(answer, data=data)
        refused = refusal(answer.place, answer.status, data, write=writes)
        if isinstance(refused, errors.AccountRefusedError | errors.AccountForbiddenError):
            return self._stop(refused)
        if isinstance(refused, RateLimitedError):
            if self._count("429") >= MOST_REFUSALS:
                self._give_up(
                    languages.told(
                        f"{MOST_REFUSALS} calls were refused (429) within a minute; does somebody else use its token?"
                    )
                )
            # Without it too many calls were in flight.
            refused.retry_after = retry_after_seconds(
                answer.headers, self._wall(), header="X-Lognex-Retry-After", per_second=1000
            )
            return refused
        code = code_of(data)
        failure = languages.told(
            f"{request.method} {request.path} {dict(request.params)}: HTTP {answer.status}, error {code}"
        )
        if self._count(failure) >= MOST_EQUAL_FAILURES:
            self._give_up(
                languages.told(f"the same request failed {MOST_EQUAL_FAILURES} times within a minute ({failure})")
            )
        unknown = isinstance(refused, UnavailableError) and code not in NOT_CARRIED_OUT
        refused.ambiguous = writes and unknown
        return refused

    def failed(self, request: ApiRequest, error: UpstreamError) -> UpstreamError:
        """Credentials that cannot even be sent stop the account."""
        if not isinstance(error, CredentialsError):
            return error
        return self._stop(errors.AccountRefusedError(error.what, host=error.host, path=error.path))

    def _stop(self, error: errors.AccountStoppedError) -> errors.AccountStoppedError:
        """Let nothing more be asked of this account; the first reason stays."""
        with self._lock:
            self._stopped = self._stopped or error
        return error

    def _count(self, what: str) -> int:
        """How often this happened within a minute, now included."""
        with self._lock:
            times, now = self._happened[what], self._wall()
            times.append(now)
            while times and now - times[0] > 60:
                times.popleft()
            return len(times)

    def _give_up(self, why: str) -> NoReturn:
        told = languages.told(
            f"account {self._account} was stopped before МойСклад bans it: {why} What is done stays done; "
        )
        raise self._stop(errors.AccountStoppedError(languages.told(f"{told}find the cause before the next run")))


def session_policy(account: MoyskladAccount, settings: MoyskladSettings) -> SessionPolicy:
    """How an account is called. A new token is never asked for: that would revoke the one that others use."""
    token = account.token
    return SessionPolicy(
        base_url=account.url,
        auth=BasicAuth(account.login, account.password or SecretStr(""))
        if token is None
        else lambda: {"Authorization": SecretStr(f"Bearer {token.get_secret_value()}")},
        read_timeout=settings.timeout,
        # The server gives up after 300 s; uploading 20 MB takes its time as well.
        total_deadline=settings.timeout + 60,
        tries=settings.tries,
        verify_tls=settings.verify_tls,
        # A connection that was idle for longer, or carried more, may answer with an error.
        most_idle=30,
        most_requests=100,
    )
