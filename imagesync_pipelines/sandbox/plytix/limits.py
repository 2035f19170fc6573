"""The rate limits of an account: fixed windows over all calls, counted whatever is answered (contract section 3).

What belongs here: counting calls and naming the wait. What does not: deciding what is a call (app.py).
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.plytix.answers import Answer
from imagesync_pipelines.sandbox.plytix.switches import Switches, WaitNamed, WindowStart

# (calls, seconds) of every window.
Limits = tuple[tuple[int, int], ...]
AUTH_LIMIT = 8
MESSAGE = "API rate limit exceeded"


@dataclass
class _Window:
    limit: int
    seconds: int
    started: float = 0.0
    used: int = 0


@dataclass(frozen=True)
class Spent:
    """A window without calls left: its limit, its length, and the seconds until it ends."""

    limit: int
    window_size: int
    wait: float


class Windows:
    """The windows of one account. Safe between threads."""

    def __init__(self, limits: Limits, clock: SandboxClock, switches: Switches) -> None:
        self._windows = [_Window(limit, seconds) for limit, seconds in limits]
        self._clock = clock
        self._switches = switches
        self._lock = threading.Lock()

    def hit(self, calls: int = 1) -> Spent | None:
        """Count calls in every window; the spent window that ends last, if any is spent."""
        now = self._clock.now().timestamp()
        with self._lock:
            for window in self._windows:
                self._begin(window, now)
                window.used += calls
            spent = [
                Spent(window.limit, window.seconds, window.started + window.seconds - now)
                for window in self._windows
                if window.used > window.limit
            ]
        return max(spent, key=lambda one: one.wait, default=None)

    def used(self) -> tuple[int, ...]:
        """The calls counted in each window that has not ended."""
        now = self._clock.now().timestamp()
        with self._lock:
            return tuple(0 if self._ended(window, now) else window.used for window in self._windows)

    def _begin(self, window: _Window, now: float) -> None:
        if self._ended(window, now):
            by_clock = self._switches.window_start is WindowStart.CLOCK
            window.started = now - now % window.seconds if by_clock else now
            window.used = 0

    def _ended(self, window: _Window, now: float) -> bool:
        # A clock that was moved back would otherwise stay in a window of the future.
        return not window.started <= now < window.started + window.seconds


def too_many(spent: Spent, named: WaitNamed) -> Answer:
    """The gateway's 429, which is not the usual envelope."""
    body: dict[str, object] = {"message": MESSAGE, "limit": spent.limit, "window_size": spent.window_size}
    headers: dict[str, str] = {}
    milliseconds = math.ceil(spent.wait * 1000)
    if named in (WaitNamed.TTL, WaitNamed.BOTH):
        body["ttl"] = milliseconds
    if named in (WaitNamed.SECONDS, WaitNamed.BOTH):
        headers["Retry-After"] = str(math.ceil(spent.wait))
    if named is WaitNamed.DECIMAL:
        headers["Retry-After"] = f"{milliseconds / 1000:.3f}"
    return Answer(429, body, headers)


def as_limits(limits: Sequence[tuple[int, int]]) -> Limits:
    """Check the windows that somebody asked for; raises ValueError for one that has no calls or no length."""
    if any(limit < 1 or seconds < 1 for limit, seconds in limits):
        raise ValueError("a rate limit has at least one call in at least one second: (calls, seconds)")
    return tuple(limits)
