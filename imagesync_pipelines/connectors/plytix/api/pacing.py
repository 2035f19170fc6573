"""Keeping to an account's rate limits: whose turn it is, and what a 429 asks for (contract plytix.md, section 3).

What belongs here: waiting, and reading how long the server wants us to. What does not: the counting, which all
processes share (storage/rate_budget.py), and where the limits come from (tokens.py).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite

import sqlalchemy as sa

from imagesync_pipelines.connectors.plytix.errors import HourSpentError
from imagesync_pipelines.storage.rate_budget import Window, WindowLeft, block, left, take
from imagesync_pipelines.upstream.answers import Answer, load_json, place_of
from imagesync_pipelines.upstream.retries import Timing, retry_after_seconds

# After a pause the workers do not all come back in the same moment.
JITTER_SECONDS = 0.25


class Pace:
    """The turns of one principal; shared by all threads, and through the database by all processes.

    Time is the time of day, because several hosts share it; tests move it by sleeping.
    """

    def __init__(self, principal: str, engine: sa.Engine, longest_pause: float, timing: Timing) -> None:
        self._principal = principal
        self._engine = engine
        self._longest = longest_pause
        self._timing = timing
        # Set once a pause was longer than a run waits: when the next call may be made.
        self.free_at: datetime | None = None

    def wait(self, windows: Sequence[Window]) -> None:
        """Return when a call may be made; it is counted.

        Raises HourSpentError when that is longer off than a run waits.
        """
        while pause := take(self._engine, self._principal, windows, self._timing.wall()):
            self._refuse_long(pause)
            self._timing.sleep(pause + self._timing.random() * JITTER_SECONDS)

    def refused(self, answer: Answer, windows: Sequence[Window]) -> None:
        """Let everybody pause as long as an answer 429 asks for; the caller waits for its turn again.

        Raises HourSpentError when that is longer than a run waits.
        """
        now = self._timing.wall()
        pause = asked_pause(answer, now, max(window.seconds for window in windows))
        block(self._engine, self._principal, now + pause, now)
        self._refuse_long(pause, place_of(answer.url).host)

    def left(self, windows: Sequence[Window]) -> tuple[WindowLeft, ...]:
        """What is left of the windows now."""
        return left(self._engine, self._principal, windows, self._timing.wall())

    def _refuse_long(self, pause: float, host: str = "") -> None:
        if pause > self._longest:
            self.free_at = datetime.fromtimestamp(self._timing.wall() + pause, UTC)
            raise HourSpentError(
                f"the calls of {self._principal} are used up for {pause / 60:.0f} min; what is done stays done, "
                "and the next run goes on",
                host=host,
                retry_after=pause,
                sent=False,
            )


def asked_pause(answer: Answer, now: float, longest_window: float) -> float:
    """Seconds that an answer 429 asks for: the longer of Retry-After (seconds, decimals) and `ttl` (milliseconds).

    Where neither is given, the length of the window that it names, else of the longest one: a shorter pause would only
    meet the next 429.
    """
    headers = {name.title(): value for name, value in answer.headers.items()}
    try:
        body = load_json(answer.body)
    except ValueError:
        body = None
    fields = body if isinstance(body, dict) else {}
    ttl = _number(fields.get("ttl"))
    asked = [retry_after_seconds(headers, "Retry-After", "seconds", now), None if ttl is None else ttl / 1000]
    given = [pause for pause in asked if pause is not None]
    if given:
        return max(given)
    return _number(fields.get("window_size")) or longest_window


def _number(value: object) -> float | None:
    """A number that is one and not negative, also when sent as a text."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except ValueError:
        return None
    return number if number is not None and isfinite(number) and number >= 0 else None
