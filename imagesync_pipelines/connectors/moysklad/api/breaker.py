"""Stopping by ourselves, far below what МойСклад bans an account for (contract section 4).

What belongs here: counting refusals of the last minute. What does not: waiting (upstream/rate_limiter.py).
МойСклад takes the access away, until its support gives it back, for more than 200 answers 429 or 200 equal failing
requests within a minute.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Callable

from imagesync_pipelines.connectors.moysklad.errors import AccountStoppedError

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
