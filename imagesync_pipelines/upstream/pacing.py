"""A pause between calls, shared by threads."""

import threading
import time
from collections.abc import Callable


class Pacer:
    """Lets callers through one by one, at least `min_interval` seconds apart; safe to share between threads."""

    def __init__(
        self,
        min_interval: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._interval = min_interval
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._next = clock()

    def wait(self) -> None:
        """Return when it is the caller's turn; nobody sleeps while holding the lock."""
        with self._lock:
            now = self._clock()
            turn = max(now, self._next)
            self._next = turn + self._interval
        if turn > now:
            self._sleep(turn - now)
