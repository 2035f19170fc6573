"""The token bucket that paces one operation of the catalogue (contract section 1).

What belongs here: letting a call through or not. What does not: the 429 itself (catalogue.py).
"""

import threading
from dataclasses import dataclass, field
from datetime import datetime

from imagesync_pipelines.sandbox.clock import SandboxClock


@dataclass
class Bucket:
    """Full at the start; refills with the sandbox's clock. Safe between threads."""

    clock: SandboxClock
    _left: float | None = None
    _seen_at: datetime | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, rate: float, burst: int) -> bool:
        """Let one call through, if there is one left; `rate` calls a second come back, up to `burst`."""
        with self._lock:
            now = self.clock.now()
            # A clock that was moved back takes nothing away.
            passed = 0.0 if self._seen_at is None else max(0.0, (now - self._seen_at).total_seconds())
            left = float(burst) if self._left is None else min(float(burst), self._left + passed * rate)
            self._seen_at = now
            allowed = left >= 1
            self._left = left - 1 if allowed else left
            return allowed
