"""What МойСклад allows a principal, and stopping far below what it bans one for (docs/contracts/moysklad.md).

The numbers hold per user or solution; X-Lognex times are milliseconds. МойСклад takes the access away, until its
support gives it back, for more than 200 answers 429 or 200 equal failing requests in a minute.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta, timezone

from imagesync_pipelines.connectors.moysklad.accounts import MoyskladAccount, TokenKind
from imagesync_pipelines.connectors.moysklad.errors import AccountStoppedError
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.upstream.rate_limiter import RateLimit, goes_on_later
from imagesync_pipelines.upstream.retries import number_in

UNITS = 45
WINDOW_SECONDS = 3
PARALLEL = 5
# After a pause the workers do not all come back in the same moment.
_JITTER_SECONDS = 0.02
MOSCOW = timezone(timedelta(hours=3), "MSK")

# From which day (Moscow time) a call weighs how much; before the first of them it weighs 1.
_WEIGHTS: Mapping[TokenKind, tuple[tuple[date, int], ...]] = {
    TokenKind.SOLUTION: (),
    TokenKind.DRAFT_SOLUTION: ((date(2026, 4, 13), 4),),
    TokenKind.USER: ((date(2026, 5, 12), 2), (date(2026, 9, 1), 3), (date(2026, 12, 1), 4)),
}


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


MOST_REFUSALS = 20
MOST_EQUAL_FAILURES = 40
_SECONDS = 60.0


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
