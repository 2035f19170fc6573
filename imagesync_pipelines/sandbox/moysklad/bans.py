"""Who loses access to the API until support gives it back (contract section 4).

What belongs here: counting failures, 429s and PUTs of a minute per principal. What does not: refusing (app.py).
"""

import threading
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from imagesync_pipelines.sandbox.clock import SandboxClock

MINUTE = 60.0
MOST_EQUAL_FAILURES, MOST_429, MOST_PUTS = 200, 200, 100
TOO_MANY_REQUESTS = 429


@dataclass(frozen=True)
class Ban:
    """A principal of an account that was locked out."""

    account: str
    principal: str
    why: str
    at: datetime


class Bans:
    """The counters of all principals, and who is banned. Safe between threads."""

    def __init__(self, clock: SandboxClock) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str, str], deque[float]] = {}
        self._bans: dict[tuple[str, str], Ban] = {}
        self._lock = threading.Lock()

    def is_banned(self, account: str, principal: str) -> bool:
        """Whether this principal is locked out."""
        return (account, principal) in self._bans

    def all(self) -> tuple[Ban, ...]:
        """The bans of now, oldest first."""
        with self._lock:
            return tuple(self._bans.values())

    def lift(self, account: str) -> None:
        """Support gives an account's principals their access back."""
        with self._lock:
            self._bans = {key: ban for key, ban in self._bans.items() if ban.account != account}
            self._seen = {key: times for key, times in self._seen.items() if key[0] != account}

    def note(self, account: str, principal: str, status: int, request: str, changed: str) -> None:
        """Count one answered call; `request` tells equal ones apart, `changed` is the entity of a PUT or nothing."""
        with self._lock:
            if changed:
                self._count(account, principal, f"PUT {changed}", MOST_PUTS, "PUTs of one entity")
            if status == TOO_MANY_REQUESTS:
                self._count(account, principal, "429", MOST_429, "429s")
            elif status >= 400:
                self._count(account, principal, f"{status} {request}", MOST_EQUAL_FAILURES, "identical failures")

    def _count(self, account: str, principal: str, what: str, most: int, named: str) -> None:
        now = self._clock.now().timestamp()
        times = self._seen.setdefault((account, principal, what), deque())
        times.append(now)
        while times[0] < now - MINUTE:
            times.popleft()
        if len(times) > most and (account, principal) not in self._bans:
            why = f"more than {most} {named} in a minute"
            self._bans[account, principal] = Ban(account, principal, why, self._clock.now())
