"""What a principal at Plytix or Amazon may call, and what a 429 asks for (docs/contracts/plytix.md, section 3).

What belongs here: how long the server wants us to pause, and when a run stops. What does not: waiting
(upstream/rate_limiter.py), and where an account's numbers come from (tokens.py).
"""

from collections.abc import Callable, Sequence
from math import isfinite

from imagesync_pipelines.connectors.plytix.errors import HourSpentError
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.upstream.answers import Answer, load_json
from imagesync_pipelines.upstream.rate_limiter import RateLimit
from imagesync_pipelines.upstream.retries import retry_after_seconds


def rate_limit(principal: str, windows: Callable[[], Sequence[Window]], longest_pause: float) -> RateLimit:
    """The limit of one principal; HourSpentError when a run would have to wait for longer than `longest_pause`."""

    def too_long(pause: float, host: str) -> HourSpentError:
        return HourSpentError(
            f"the calls of {principal} are used up for {pause / 60:.0f} min; what is done stays done, and the next run "
            "goes on",
            host=host,
            retry_after=pause,
            sent=False,
        )

    return RateLimit(principal, windows, longest_pause, too_long)


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
