"""Calls to a system that counts them: with a permit, with a valid token, repeated where that is safe.

A permit keeps to what the system allows a principal: when a call may be made, and what a refusal for the limits asks
for.
"""

import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf

import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.storage.rate_budget import Lease, Window, WindowLeft, block, give_back, left, take
from imagesync_pipelines.upstream.answers import Answer
from imagesync_pipelines.upstream.errors import RateLimitedError, UpstreamError
from imagesync_pipelines.upstream.retries import Timing, call_with_retries
from imagesync_pipelines.upstream.session import ApiRequest, SessionPolicy, UpstreamSession
from imagesync_pipelines.upstream.tokens import Token, TokenHolder

# When a place in flight is given up whose process was killed. Few calls take longer; one that does may be refused.
_LEASE_SECONDS = 60.0
# An answer that took longer says too little about now: meanwhile the server has forgotten earlier calls.
_TELLING_SECONDS = 1.0
_CROWDED_FIRST, _CROWDED_MAX = 0.2, 5.0


@dataclass(frozen=True)
class RateLimit:
    """What a system allows one principal, and how long a run waits for it.

    windows: asked for before every call, since a token may name them. longest_pause: seconds; for a longer one the run
    stops with an error of this `kind`: `why` "for 90 min". weight: units of one call at a moment (seconds since 1970).
    parallel: calls in flight at once, None: any number. units_left: what an answer's headers say is left of the first
    window, in units of calls that weigh so much; None when they do not say. jitter: seconds, after a pause the workers
    do not all come back in the same moment.
    """

    principal: str
    windows: Callable[[], Sequence[Window]]
    longest_pause: float
    kind: type[UpstreamError]
    why: str
    weight: Callable[[float], int] = lambda now: 1
    parallel: int | None = None
    units_left: Callable[[Mapping[str, str], int], int | None] = lambda headers, weight: None
    jitter: float = 0.25


@dataclass
class Permit:
    """One call while it may be made: the units it takes; `heard` gets the headers of its answer."""

    units: int
    heard: Mapping[str, str] = field(default_factory=dict)


class RateLimiter:
    """The permits of one principal; shared by all threads, and through the database by all processes.

    Time is the time of day, because several hosts share it; tests move it by sleeping. units: what all permits took.
    free_at: set once a pause was longer than a run waits, the moment of the next call.
    """

    def __init__(self, limit: RateLimit, engine: sa.Engine, timing: Timing) -> None:
        self._limit = limit
        self._engine = engine
        self._timing = timing
        # Inside one process a thread waits for the next free place without asking the database again and again.
        self._places = nullcontext() if limit.parallel is None else threading.BoundedSemaphore(limit.parallel)
        # One thread asks at a time: when it has to wait, so would the others.
        self._asking = threading.Lock()
        self.units = 0
        self.free_at: datetime | None = None

    def weight(self) -> int:
        """How many units one call takes now."""
        return self._weight(self._limit.windows())

    def windows(self) -> tuple[Window, ...]:
        """The windows that we keep to, our share already taken: what a plan reckons its minutes with. May log in."""
        return tuple(self._limit.windows())

    def left(self) -> tuple[WindowLeft, ...]:
        """What is left of each of them now, in units, over all runs of this installation. May log in."""
        return left(self._engine, self._limit.principal, self._limit.windows(), self._timing.wall())

    @contextmanager
    def permit(self) -> Iterator[Permit]:
        """Wait until a call may be made, and hold the permit for the length of a `with` block; the call is counted.

        Raises the limit's error when that is longer off than a run waits.
        """
        with self._places:
            windows = self._limit.windows()
            with self._asking:
                lease, weight = self._wait(windows)
                self.units += weight
            sent_at, permit = self._timing.wall(), Permit(weight)
            try:
                yield permit
            finally:
                if lease is not None:
                    self._give_back(lease, permit, sent_at, windows[0])

    def refused(self, asked: float | None, times: int, host: str) -> None:
        """Act on a refusal for the limits, `times` in a row: `asked` seconds are a pause that holds for everybody.

        None: too many calls were in flight, so this one alone waits a while. Raises the limit's error when it is longer
        than a run waits.
        """
        if asked is None:
            ceiling = min(_CROWDED_MAX, _CROWDED_FIRST * 2.0 ** min(times, 10))
            self._timing.sleep(ceiling / 2 + self._timing.random() * ceiling / 2)
            return
        now = self._timing.wall()
        block(self._engine, self._limit.principal, now + asked, now)
        self._refuse_long(asked, host)

    def _wait(self, windows: Sequence[Window]) -> tuple[Lease | None, int]:
        limit = self._limit
        while True:
            now, weight = self._timing.wall(), self._weight(windows)
            lease = None if limit.parallel is None else Lease(uuid.uuid4().hex, limit.parallel, now + _LEASE_SECONDS)
            pause = take(self._engine, limit.principal, windows, now, units=weight, lease=lease)
            if not pause:
                return lease, weight
            self._refuse_long(pause, "")
            self._timing.sleep(pause + self._timing.random() * limit.jitter)

    def _weight(self, windows: Sequence[Window]) -> int:
        return min(self._limit.weight(self._timing.wall()), *(window.calls for window in windows))

    def _give_back(self, lease: Lease, permit: Permit, sent_at: float, window: Window) -> None:
        now = self._timing.wall()
        said = self._limit.units_left(permit.heard, permit.units) if now - sent_at <= _TELLING_SECONDS else None
        told = None if said is None else window
        give_back(self._engine, self._limit.principal, lease, now, window=told, units_left=said or 0)

    def _refuse_long(self, pause: float, host: str) -> None:
        if pause > self._limit.longest_pause:
            self.free_at = datetime.fromtimestamp(self._timing.wall() + pause, UTC)
            what = languages.told(
                f"{self._limit.why} for {pause / 60:.0f} min; what is done stays done, and the next run goes on"
            )
            raise self._limit.kind(what, host=host, retry_after=pause, sent=False)


class Pacer:
    """Lets callers through one by one, at least `min_interval` seconds apart; safe to share between threads."""

    def __init__(self, min_interval: float, timing: Timing) -> None:
        self._interval = min_interval
        self._timing = timing
        self._lock = threading.Lock()
        self._next = timing.clock()

    def wait(self) -> None:
        """Return when it is the caller's turn; nobody sleeps while holding the lock."""
        with self._lock:
            now = self._timing.clock()
            turn = max(now, self._next)
            self._next = turn + self._interval
        if turn > now:
            self._timing.sleep(turn - now)


class Dialect:
    """What the answers of one system mean; a connector overrides what is different there. Shared by threads.

    answers: statuses beside 2xx that `judge` gets; every other one is an error of the session, which `failed` gets.
    most_refusals: how often in a row one call may be refused for the limits before that is an error, None: any number.
    """

    answers: frozenset[int] = frozenset()
    most_refusals: int | None = None

    def before(self) -> None:
        """Called before every attempt; what it raises ends the call."""

    def judge(self, request: ApiRequest, answer: Answer) -> Answer | UpstreamError:
        """The answer, or the error that it means.

        RateLimitedError: it was not carried out; its `retry_after` are the seconds to pause, None when too many calls
        were in flight. An error with `ambiguous` set is a lost answer.
        """
        return answer

    def failed(self, request: ApiRequest, error: UpstreamError) -> UpstreamError:
        """The error of this system that an error of the session means."""
        return error


class Transport:
    """Calls of one principal of one system; shared by all threads of a run. Close it at the end.

    The policy's deadline covers a whole call with its repetitions; where there is a limiter, an attempt, since waiting
    for a permit is nobody's slowness. A token that is refused is renewed once per attempt.
    """

    def __init__(
        self,
        policy: SessionPolicy,
        dialect: Dialect,
        timing: Timing,
        *,
        limiter: RateLimiter | None = None,
        tokens: TokenHolder | None = None,
    ) -> None:
        self._dialect = dialect
        self._timing = timing
        self._limiter = limiter
        self._tokens = tokens
        session = policy if tokens is None else replace(policy, auth=tokens.headers)
        self._session = UpstreamSession(session, timing=timing)
        self._retry = policy if limiter is None else replace(policy, total_deadline=inf)
        self._seconds = policy.total_deadline

    def close(self) -> None:
        """Close the connections of all threads, those for tokens too."""
        self._session.close()
        if self._tokens is not None:
            self._tokens.session.close()

    @property
    def calls(self) -> int:
        """Requests made to the system, repetitions and refused ones included; those for tokens are counted apart."""
        return self._session.calls

    @property
    def token_calls(self) -> int:
        """Requests made to the host that gives tokens."""
        return 0 if self._tokens is None else self._tokens.session.calls

    @property
    def ahead(self) -> float | None:
        """Seconds that the system's clock was ahead of ours at its last answer; None where it does not say."""
        return self._session.ahead

    @property
    def bytes(self) -> int:
        """Bytes of bodies received so far, those of the host that gives tokens among them."""
        return self._session.bytes + (0 if self._tokens is None else self._tokens.session.bytes)

    def call(self, request: ApiRequest) -> Answer:
        """Make a call; one that is not idempotent is repeated only while it surely was not carried out.

        Raises what the dialect makes of the answer, and AnswerLostError when nobody knows whether it was carried out.
        """
        request = replace(request, accept=request.accept | self._dialect.answers)
        try:
            return call_with_retries(lambda deadline: self._attempt(request, deadline), self._retry, self._timing)
        except UpstreamError as error:
            if error.ambiguous:
                raise AnswerLostError(str(error)) from None
            raise

    def _attempt(self, request: ApiRequest, deadline: float) -> Answer | UpstreamError:
        """One attempt, again after a pause for the limits (it was not carried out) and, once, with a new token."""
        dialect, limiter, tokens, refusals = self._dialect, self._limiter, self._tokens, 0
        while True:
            if tokens is None:
                _, outcome = self._send(request, deadline)
            else:
                outcome = tokens.using(lambda: self._send(request, deadline))
            judged = (
                dialect.judge(request, outcome) if isinstance(outcome, Answer) else dialect.failed(request, outcome)
            )
            if limiter is None or not isinstance(judged, RateLimitedError):
                return judged
            refusals += 1
            if dialect.most_refusals is not None and refusals > dialect.most_refusals:
                raise judged
            limiter.refused(judged.retry_after, refusals, judged.host)

    def _send(self, request: ApiRequest, deadline: float) -> tuple[Token | None, Answer | UpstreamError]:
        """Send it, once there is a permit where one is needed; gives the token, too.

        The token is asked for after that wait, in which it may end: a login that fails is no lost answer.
        """
        self._dialect.before()
        with nullcontext() if self._limiter is None else self._limiter.permit() as permit:
            token = None if self._tokens is None else self._tokens.current()
            until = deadline if self._limiter is None else self._timing.clock() + self._seconds
            outcome = self._session.attempt(request, until)
            if permit is not None and isinstance(outcome, Answer):
                permit.heard = outcome.headers
            return token, outcome
