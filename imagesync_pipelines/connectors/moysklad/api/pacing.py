"""Keeping to a principal's limits: whose turn it is, and what a 429 asks for (contract section 4).

What belongs here: waiting for a turn, and giving it back with what the answer's headers say. What does not: the
counting, which all processes share (storage/rate_budget.py), the numbers (limits.py), when to stop for good
(breaker.py).
"""

import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import sqlalchemy as sa

from imagesync_pipelines.accounts.moysklad import MoyskladAccount
from imagesync_pipelines.connectors.moysklad.api.limits import (
    PARALLEL,
    UNITS,
    WINDOW_SECONDS,
    units_left,
    weight_of,
)
from imagesync_pipelines.connectors.moysklad.errors import AccountStoppedError
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.storage.rate_budget import Lease, Window, WindowLeft, block, give_back, left, take
from imagesync_pipelines.upstream.retries import Timing

# After a pause the workers do not all come back in the same moment.
_JITTER_SECONDS = 0.02
# When a place in flight is given up whose process was killed. Few calls take longer; one that does may cause a 1073.
_LEASE_SECONDS = 60.0
# An answer that took longer says too little about now: meanwhile the server has forgotten earlier calls.
_TELLING_SECONDS = 1.0
_CROWDED_FIRST, _CROWDED_MAX = 0.2, 5.0


@dataclass
class Turn:
    """One call while it may be made: the units it takes; `heard` gets the headers of its answer."""

    units: int
    heard: Mapping[str, str] = field(default_factory=dict)


class Pace:
    """The turns of one account; shared by all threads, and through the database by all processes.

    Time is the time of day, because several hosts share it; tests move it by sleeping.
    """

    def __init__(self, account: MoyskladAccount, settings: MoyskladSettings, engine: sa.Engine, timing: Timing) -> None:
        self._account = account
        self._principal = f"moysklad {account.name}"
        self._engine = engine
        self._timing = timing
        self._longest = settings.max_pause_seconds
        self._window = Window(max(1, int(UNITS * settings.pace_share)), WINDOW_SECONDS)
        # Inside one process a thread waits for the next free place without asking the database again and again.
        self._places = threading.BoundedSemaphore(PARALLEL)
        # One thread asks at a time: when it has to wait, so would the others.
        self._asking = threading.Lock()

    def weight(self) -> int:
        """How many units one call takes now."""
        return min(weight_of(self._account.token_kind, self._timing.wall()), self._window.calls)

    def left(self) -> WindowLeft:
        """What is left of the window now, in units."""
        return left(self._engine, self._principal, [self._window], self._timing.wall())[0]

    @contextmanager
    def turn(self) -> Iterator[Turn]:
        """Wait for a turn and hold it for the length of a `with` block; the call is counted.

        Raises AccountStoppedError when it is longer off than a run waits.
        """
        with self._places:
            with self._asking:
                lease, weight = self._wait()
            sent_at, turn = self._timing.wall(), Turn(weight)
            try:
                yield turn
            finally:
                now = self._timing.wall()
                said = units_left(turn.heard, weight) if now - sent_at <= _TELLING_SECONDS else None
                window = None if said is None else self._window
                give_back(self._engine, self._principal, lease, now, window=window, units_left=said or 0)

    def refused(self, asked: float | None, times: int) -> None:
        """Wait after a refusal for the limit, `times` in a row: `asked` seconds, which hold for everybody.

        None: too many calls were in flight, so this one alone waits a while. Raises AccountStoppedError when it is
        longer than a run waits.
        """
        if asked is not None:
            now = self._timing.wall()
            block(self._engine, self._principal, now + asked, now)
            self._refuse_long(asked)
            return
        ceiling = min(_CROWDED_MAX, _CROWDED_FIRST * 2.0 ** min(times, 10))
        self._timing.sleep(ceiling / 2 + self._timing.random() * ceiling / 2)

    def _wait(self) -> tuple[Lease, int]:
        while True:
            now, weight = self._timing.wall(), self.weight()
            lease = Lease(uuid.uuid4().hex, PARALLEL, now + _LEASE_SECONDS)
            pause = take(self._engine, self._principal, [self._window], now, units=weight, lease=lease)
            if not pause:
                return lease, weight
            self._refuse_long(pause)
            self._timing.sleep(pause + self._timing.random() * _JITTER_SECONDS)

    def _refuse_long(self, pause: float) -> None:
        if pause > self._longest:
            raise AccountStoppedError(
                f"account {self._account.name} is asked to pause for {pause / 60:.0f} min; what is done stays done, "
                "and the next run goes on",
                retry_after=pause,
                sent=False,
            )
