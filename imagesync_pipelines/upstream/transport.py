"""Calls to a system that counts them: with a permit, with a valid token, repeated where that is safe."""

from dataclasses import replace
from math import inf

from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.upstream.answers import Answer
from imagesync_pipelines.upstream.errors import RateLimitedError, UpstreamError
from imagesync_pipelines.upstream.rate_limiter import RateLimiter
from imagesync_pipelines.upstream.retries import Timing, call_with_retries
from imagesync_pipelines.upstream.session import ApiRequest, SessionPolicy, UpstreamSession
from imagesync_pipelines.upstream.tokens import TokenHolder


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
        self._session = UpstreamSession(
            policy if tokens is None else replace(policy, auth=tokens.headers), timing=timing
        )
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
                outcome = self._send(request, deadline)
            else:
                outcome = tokens.using(lambda _: self._send(request, deadline))
            judged = (
                dialect.judge(request, outcome) if isinstance(outcome, Answer) else dialect.failed(request, outcome)
            )
            if limiter is None or not isinstance(judged, RateLimitedError):
                return judged
            refusals += 1
            if dialect.most_refusals is not None and refusals > dialect.most_refusals:
                raise judged
            limiter.refused(judged.retry_after, refusals, judged.host)

    def _send(self, request: ApiRequest, deadline: float) -> Answer | UpstreamError:
        """Send it, once there is a permit where one is needed."""
        self._dialect.before()
        if self._limiter is None:
            return self._session.attempt(request, deadline)
        with self._limiter.permit() as permit:
            outcome = self._session.attempt(request, self._timing.clock() + self._seconds)
            if isinstance(outcome, Answer):
                permit.heard = outcome.headers
            return outcome
