"""The ledger of a stand-in: which calls reached it, and what they were answered."""

import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

NO_STATUS = 0


@dataclass(frozen=True)
class Call:
    """One call as the server saw it; `status` is 0 when no status line was sent (reset connection, timeout)."""

    at: datetime
    endpoint: str
    part: str
    method: str
    path: str
    query: str
    host: str
    accept_encoding: str
    with_credentials: bool
    status: int
    fault: str
    seconds: float


class CallLedger:
    """Counts calls per endpoint and status, and keeps the last `keep` of them. Safe between threads."""

    def __init__(self, keep: int = 10_000) -> None:
        self._calls: deque[Call] = deque(maxlen=keep)
        self._counts: Counter[tuple[str, int]] = Counter()
        self._in_flight: Counter[str] = Counter()
        self._peak: Counter[str] = Counter()
        self._lock = threading.Lock()

    def add(self, call: Call) -> None:
        """Remember one finished call."""
        with self._lock:
            self._calls.append(call)
            self._counts[call.endpoint, call.status] += 1

    @contextmanager
    def in_flight(self, endpoint: str) -> Iterator[None]:
        """Count a call as under way, for `peak`."""
        with self._lock:
            self._in_flight[endpoint] += 1
            self._peak[endpoint] = max(self._peak[endpoint], self._in_flight[endpoint])
        try:
            yield
        finally:
            with self._lock:
                self._in_flight[endpoint] -= 1

    def count(self, endpoint: str | None = None, status: int | None = None) -> int:
        """How many calls were made since the start or the last `clear`, of one endpoint and one status if given."""
        with self._lock:
            return sum(
                number
                for (where, answered), number in self._counts.items()
                if endpoint in (None, where) and status in (None, answered)
            )

    def under_way(self, endpoint: str) -> int:
        """How many calls of one endpoint have not ended yet."""
        with self._lock:
            return self._in_flight[endpoint]

    def peak(self, endpoint: str) -> int:
        """The largest number of calls of one endpoint that were under way at the same moment."""
        with self._lock:
            return self._peak[endpoint]

    def calls(self, endpoint: str | None = None) -> tuple[Call, ...]:
        """The calls still remembered, oldest first."""
        with self._lock:
            return tuple(call for call in self._calls if endpoint in (None, call.endpoint))

    def as_json(self) -> dict[str, dict[str, int]]:
        """Counts per endpoint and status, as `{"media": {"200": 12}}`."""
        with self._lock:
            table: dict[str, dict[str, int]] = {}
            for (endpoint, status), number in sorted(self._counts.items()):
                table.setdefault(endpoint, {})[str(status)] = number
            return table

    def clear(self) -> None:
        """Forget all finished calls and the peaks."""
        with self._lock:
            self._calls.clear()
            self._counts.clear()
            self._peak = Counter(self._in_flight)
