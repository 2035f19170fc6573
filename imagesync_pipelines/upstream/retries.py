"""Trying again: which wait comes before which attempt, and when to give up.

An attempt returns an error after which another one may follow; what it raises ends the call.
"""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import TypeVar

from imagesync_pipelines.languages import N_
from imagesync_pipelines.telemetry import spans
from imagesync_pipelines.upstream.errors import UpstreamError

T = TypeVar("T")
E = TypeVar("E", bound=UpstreamError)


@dataclass(frozen=True)
class Timing:
    """Time and chance, replaced in tests: a clock in seconds, a sleep, a number in [0, 1), the time of day."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random
    wall: Callable[[], float] = time.time


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and how long: attempts, first and longest backoff in seconds, seconds for the call as a whole."""

    tries: int = 4
    backoff_first: float = 0.5
    backoff_max: float = 30.0
    total_deadline: float = 180.0


def retry_after_seconds(
    headers: Mapping[str, str], now: float, *, header: str = "Retry-After", per_second: int = 1
) -> float | None:
    """Read how long the other side asks us to wait; None when it does not say, or says nonsense.

    A date counts from the answer's own Date header when there is one: the two clocks need not agree.
    """
    named = {name.lower(): value for name, value in headers.items()}
    text = named.get(header.lower(), "").strip()
    try:
        number = float(text)
    except ValueError:
        moment = moment_of(text)
        return None if moment is None else max(0.0, moment - (moment_of(named.get("date", "")) or now))
    return number / per_second if isfinite(number) and number >= 0 else None


def moment_of(text: str) -> float | None:
    """The moment of a date as HTTP writes it, in seconds since 1970; None for anything else."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    aware: datetime = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.timestamp()


def number_in(value: object) -> float | None:
    """A number that is one, finite and not negative, also when sent as a text; None for anything else."""
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except ValueError:
        return None
    return number if number is not None and isfinite(number) and number >= 0 else None


def pause_after(attempt: int, asked: float | None, policy: RetryPolicy, timing: Timing) -> float:
    """Give the seconds to wait after this attempt (from 1): full jitter, never less than what was asked for."""
    ceiling = min(policy.backoff_max, policy.backoff_first * 2.0 ** min(attempt - 1, 60))
    return max(asked or 0.0, timing.random() * ceiling)


def bare(error: E) -> E:
    """The error without the library's exception that it came from and its own frames: both hold URL and headers."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def call_with_retries(attempt: Callable[[float], T | UpstreamError], policy: RetryPolicy, timing: Timing) -> T:
    """Make attempts until one succeeds; each gets the clock's value at which the whole call must be over.

    Raises the last error: at once when it may not be repeated, after the last attempt, or as soon as the next wait
    does not fit into the deadline; the error says which.
    """
    deadline = timing.clock() + policy.total_deadline
    number = 0
    while True:
        number += 1
        spans.attempt.set(number)
        outcome = attempt(deadline)
        if not isinstance(outcome, UpstreamError):
            return outcome
        outcome.attempts = number
        if number >= policy.tries or outcome.ambiguous or not outcome.retryable:
            raise outcome
        pause = pause_after(number, outcome.retry_after, policy, timing)
        if timing.clock() + pause >= deadline:
            asked = outcome.retry_after and pause == outcome.retry_after
            said = (
                N_("{what}; it asks to wait {pause:.0f} s, beyond the {deadline:.0f} s this call may take")
                if asked
                else N_("{what}; the next try is in {pause:.0f} s, beyond the {deadline:.0f} s this call may take")
            )
            outcome.what = said.format(what=outcome.what, pause=pause, deadline=policy.total_deadline)
            raise outcome
        timing.sleep(pause)
