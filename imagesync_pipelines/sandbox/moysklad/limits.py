"""The rate limits of МойСклад and who is locked out for not keeping them (docs/contracts/moysklad.md)."""

import math
import threading
from collections import deque
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from enum import StrEnum

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.moysklad.model import MoyskladSwitches

UNITS, SECONDS = 45, 3.0
AT_ONCE, ACCOUNT_AT_ONCE = 5, 20
MOSCOW = timezone(timedelta(hours=3))


class PrincipalKind(StrEnum):
    """What a principal is; Basic authentication is that of a user."""

    SOLUTION = "solution"
    DRAFT_SOLUTION = "draft_solution"
    USER = "user"


_USER_WEIGHTS = ((date(2026, 12, 1), 4), (date(2026, 9, 1), 3), (date(2026, 5, 12), 2))
_DRAFTS_WEIGH_MORE = date(2026, 4, 13)


def weight(kind: PrincipalKind, at: datetime) -> int:
    """Units of one call by the principal's kind and the day in Moscow."""
    day = at.astimezone(MOSCOW).date()
    if kind is PrincipalKind.DRAFT_SOLUTION:
        return 4 if day >= _DRAFTS_WEIGH_MORE else 1
    if kind is PrincipalKind.USER:
        return next((units for since, units in _USER_WEIGHTS if day >= since), 1)
    return 1


@dataclass
class Units:
    """The units that one principal has used. Safe between threads."""

    clock: SandboxClock
    switches: MoyskladSwitches
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
            if self.switches.window == "fixed" and self._used == 0:
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
        if self.switches.window == "fixed":
            if not self._started <= now < self._started + SECONDS:
                self._used = 0
                self._hits.clear()
        elif self.switches.window == "sliding":
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
        if self.switches.window == "fixed":
            return self._started + SECONDS - now
        if self.switches.window == "sliding":
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
