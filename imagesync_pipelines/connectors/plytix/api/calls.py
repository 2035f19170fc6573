"""What an answer of the PIM means as such, and the account's share of the limits (docs/contracts/plytix.md 2 to 4).

What belongs here: which answers are about the call, a 429, a deprecation, illegible JSON. What does not: paths and
bodies (pim.py), the token (tokens.py), the order of permit, token and repetitions (upstream/transport.py).
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from imagesync_pipelines.accounts.file import PlytixAccount
from imagesync_pipelines.connectors.plytix.api.limits import asked_pause, rate_limit
from imagesync_pipelines.connectors.plytix.api.tokens import DEFAULT_LIMITS, limits_in, pim_tokens
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.storage.rate_budget import Window, WindowLeft
from imagesync_pipelines.upstream.answers import Answer, parse_json
from imagesync_pipelines.upstream.errors import RateLimitedError, UpstreamError
from imagesync_pipelines.upstream.rate_limiter import RateLimiter
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import ApiRequest, SessionPolicy
from imagesync_pipelines.upstream.transport import Dialect, Transport

logger = logging.getLogger("imagesync.plytix")


class PimDialect(Dialect):
    """Answers of the PIM: a 4xx is for the caller to judge, but 401, which is about the token, and 429."""

    answers = frozenset(range(400, 500)) - {401}

    def __init__(self, limits: Callable[[], tuple[Window, ...]], timing: Timing) -> None:
        self._limits = limits
        self._wall = timing.wall
        self._announced: set[str] = set()
        self._lock = threading.Lock()

    def judge(self, request: ApiRequest, answer: Answer) -> Answer | UpstreamError:
        """The answer with its JSON, None where a refusal has none; a good one that cannot be read is an error.

        For a write it is a lost answer.
        """
        self._note_deprecation(answer)
        if answer.status == 429:
            error = answer.error(RateLimitedError, "HTTP 429")
            longest = max(window.seconds for window in self._limits())
            error.retry_after = asked_pause(answer, self._wall(), longest)
            return error
        data = parse_json(answer.place, answer.status, "", answer.body)
        if not isinstance(data, UpstreamError):
            return replace(answer, data=data)
        if not answer.good:
            return answer
        data.ambiguous = not request.repeatable
        return data

    def _note_deprecation(self, answer: Answer) -> None:
        """Log what Plytix announces to take away, once per run."""
        words = next((text for name, text in answer.headers.items() if name.lower() == "x-plytix-deprecation"), "")
        with self._lock:
            fresh = bool(words) and words not in self._announced
            self._announced.add(words)
        if fresh:
            logger.warning("Plytix announces a deprecation (%s): %.200s", answer.place.path, words)


class PimCalls:
    """Calls of one account; shared by all threads of a run."""

    def __init__(self, account: PlytixAccount, settings: PlytixSettings, engine: sa.Engine, timing: Timing) -> None:
        self._account = account
        self._share = settings.pace_share
        self._tokens = pim_tokens(account, settings, timing)
        limit = rate_limit(f"plytix {account.alias}", self.limits, settings.max_pause_seconds)
        self._limiter = RateLimiter(limit, engine, timing)
        policy = SessionPolicy(
            base_url=account.url,
            read_timeout=settings.timeout,
            total_deadline=settings.call_deadline,
            tries=settings.tries,
            verify_tls=settings.verify_tls,
        )
        dialect = PimDialect(self.limits, timing)
        self._transport = Transport(policy, dialect, timing, limiter=self._limiter, tokens=self._tokens)

    def close(self) -> None:
        """Close the connections of all threads."""
        self._transport.close()

    @property
    def calls(self) -> int:
        """Requests made to the PIM."""
        return self._transport.calls

    @property
    def token_calls(self) -> int:
        """Requests made to the host that gives tokens."""
        return self._tokens.calls

    @property
    def bytes(self) -> int:
        """Bytes of bodies received from both."""
        return self._transport.bytes + self._tokens.bytes

    def limits(self) -> tuple[Window, ...]:
        """Our share of the account's limits: those of the accounts file, else of the token, else the usual ones."""
        limits = self._account.limits or tuple(limits_in(self._tokens.current().claims)) or DEFAULT_LIMITS
        return tuple(Window(max(1, int(calls * self._share)), seconds) for calls, seconds in limits)

    def left(self) -> tuple[WindowLeft, ...]:
        """What is left of them."""
        return self._limiter.left()

    @property
    def free_at(self) -> datetime | None:
        """When the account's limits let the next call through, once that is longer off than a run waits, else None."""
        return self._limiter.free_at

    def read(self, method: str, path: str, json: object = None) -> Answer:
        """Make a call that changes nothing; it is repeated after what is transient."""
        return self._transport.call(ApiRequest(method, path, json=json, idempotent=True))

    def write(self, method: str, path: str, json: object) -> Answer:
        """Make a call that changes something; it is repeated only while it surely was not carried out.

        Raises AnswerLostError when it may have been.
        """
        return self._transport.call(ApiRequest(method, path, json=json, idempotent=False))
