"""The rate limits of МойСклад: 45 units per 3 s and 5 calls at once per principal, 20 at once per account (section 4).

What belongs here: counting units and calls under way, and the headers that tell of them. What does not: who the
principals are (principals.py), bans (bans.py).
"""

import math
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from enum import StrEnum

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.moysklad.switches import Switches, Window

UNITS, SECONDS = 45, 3.0
AT_ONCE, ACCOUNT_AT_ONCE = 5, 20
MOSCOW = timezone(timedelta(hours=3))


class Kind(StrEnum):
    """What a principal is; Basic authentication is that of a user."""

    SOLUTION = "solution"
    DRAFT_SOLUTION = "draft_solution"
    USER = "user"


_USER_WEIGHTS = ((date(2026, 12, 1), 4), (date(2026, 9, 1), 3), (date(2026, 5, 12), 2))
_DRAFTS_WEIGH_MORE = date(2026, 4, 13)


def weight(kind: Kind, at: datetime) -> int:
    """Units of one call by the principal's kind and the day in Moscow."""
    day = at.astimezone(MOSCOW).date()
    if kind is Kind.DRAFT_SOLUTION:
        return 4 if day >= _DRAFTS_WEIGH_MORE else 1
    if kind is Kind.USER:
        return next((units for since, units in _USER_WEIGHTS if day >= since), 1)
    return 1


@dataclass
class Units:
    """The units that one principal has used. Safe between threads."""

    clock: SandboxClock
    switches: Switches
    _started: float = 0.0
    _used: float = 0.0
    _hits: deque[tuple[float, int]] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, units: int) -> bool:
        """Use so many units, if so many are left."""
        with self._lock:
            now = self._settled()
            if self._used + units > UNITS:
                return False
            if self.switches.window is Window.FIXED and self._used == 0:
                self._started = now
            self._used += units
            self._hits.append((now, units))
            return True

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The five headers; an exhausted window is told with the milliseconds to its end."""
        with self._lock:
            now = self._settled()
            left = UNITS - self._used
            reset = b"%d" % math.ceil(self._seconds_to_reset(now) * 1000)
        return [
            (b"x-ratelimit-limit", b"%d" % UNITS),
            (b"x-ratelimit-remaining", b"%d" % max(0, math.floor(left))),
            (b"x-lognex-retry-timeinterval", b"%d" % (SECONDS * 1000)),
            (b"x-lognex-reset", reset),
            (b"x-lognex-retry-after", reset),
        ]

    def _settled(self) -> float:
        """Let what is over drop out; gives the time."""
        now = self.clock.now().timestamp()
        if self.switches.window is Window.FIXED:
            if not self._started <= now < self._started + SECONDS:
                self._used = 0
                self._hits.clear()
        elif self.switches.window is Window.SLIDING:
            while self._hits and self._hits[0][0] <= now - SECONDS:
                self._used -= self._hits.popleft()[1]
        else:
            last = self._started or now
            self._used = max(0.0, self._used - max(0.0, now - last) * UNITS / SECONDS)
            self._started = now
            self._hits.clear()
        return now

    def _seconds_to_reset(self, now: float) -> float:
        if self._used <= 0:
            return 0.0
        if self.switches.window is Window.FIXED:
            return self._started + SECONDS - now
        if self.switches.window is Window.SLIDING:
            return self._hits[0][0] + SECONDS - now
        return self._used * SECONDS / UNITS


class UnderWay:
    """Calls that have not been answered yet, of one principal or account. Safe between threads."""

    def __init__(self, most: int) -> None:
        self.peak = 0
        self._most = most
        self._now = 0
        self._lock = threading.Lock()

    def begin(self) -> bool:
        """Count a call in, if it is not one too many."""
        with self._lock:
            if self._now >= self._most:
                return False
            self._now += 1
            self.peak = max(self.peak, self._now)
            return True

    def end(self) -> None:
        """A call that was counted in has been answered."""
        with self._lock:
            self._now -= 1
