"""One call to the PIM: within the limits, with a valid token, repeated where that is safe (contract plytix.md 2 to 4).

What belongs here: which calls are repeated, what a lost answer is, the envelope. What does not: paths and bodies
(pim.py), tokens (tokens.py), waiting (pacing.py).
"""

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from imagesync_pipelines.accounts.file import PlytixAccount
from imagesync_pipelines.connectors.plytix.api.pacing import Pace
from imagesync_pipelines.connectors.plytix.api.tokens import Tokens
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.storage.rate_budget import Window, WindowLeft
from imagesync_pipelines.sync.targets import AnswerLostError
from imagesync_pipelines.upstream.answers import Answer, Place, parse_json, place_of
from imagesync_pipelines.upstream.errors import BadAnswerError, CredentialsError, UpstreamError
from imagesync_pipelines.upstream.retries import Patience, Timing, pause_after
from imagesync_pipelines.upstream.session import SessionPolicy, UpstreamSession

# Everything that says something about the call itself; 401 is about the token.
_ANSWERS = frozenset(range(400, 500)) - {401}
_BACKOFF_FIRST = 0.5
_BACKOFF_MAX = 30.0

logger = logging.getLogger("imagesync.plytix")


@dataclass(frozen=True)
class Reply:
    """An answer that is about the call: 2xx, or a 4xx that the caller judges. data: the JSON, None when it is none."""

    status: int
    place: Place
    data: object = field(repr=False)

    @property
    def good(self) -> bool:
        """Whether Plytix did what was asked."""
        return 200 <= self.status < 300

    def rows(self) -> list[Mapping[str, Any]]:
        """The rows of the envelope. Raises BadAnswerError when there is none."""
        rows = self.data.get("data") if isinstance(self.data, dict) else None
        if not self.good or not isinstance(rows, list) or any(not isinstance(row, dict) for row in rows):
            raise self.error(BadAnswerError, f"HTTP {self.status} without the list `data` that was expected")
        return rows

    def one(self) -> Mapping[str, Any]:
        """The only row of the envelope. Raises BadAnswerError when there is not exactly one."""
        rows = self.rows()
        if len(rows) != 1:
            raise self.error(BadAnswerError, f"{len(rows)} rows came where one was expected")
        return rows[0]

    def error(self, kind: type[UpstreamError], what: str) -> UpstreamError:
        """Make an error of this answer."""
        return self.place.error(kind, what, status=self.status)


class Calls:
    """Calls of one account; shared by all threads of a run."""

    def __init__(self, account: PlytixAccount, settings: PlytixSettings, engine: sa.Engine, timing: Timing) -> None:
        self._timing = timing
        self._patience = Patience(settings.tries, _BACKOFF_FIRST, _BACKOFF_MAX, settings.call_deadline)
        self._tokens = Tokens(account, settings, timing)
        self._pace = Pace(f"plytix {account.alias}", engine, settings.max_pause_seconds, timing)
        self._share = settings.pace_share
        # One attempt at a time: every request is one hit at Plytix, so each one is paced here.
        policy = SessionPolicy(
            base_url=account.url,
            auth=self._tokens.headers,
            read_timeout=settings.timeout,
            total_deadline=settings.call_deadline,
            tries=1,
            verify_tls=settings.verify_tls,
        )
        self._session = UpstreamSession(policy, timing=timing)
        self._announced: set[str] = set()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections of all threads."""
        self._session.close()
        self._tokens.close()

    @property
    def calls(self) -> int:
        """Requests made to the PIM."""
        return self._session.calls

    @property
    def token_calls(self) -> int:
        """Requests made to the host that gives tokens."""
        return self._tokens.calls

    @property
    def bytes(self) -> int:
        """Bytes of bodies received from both."""
        return self._session.bytes + self._tokens.bytes

    def limits(self) -> tuple[Window, ...]:
        """Our share of the account's limits."""
        return tuple(Window(max(1, int(calls * self._share)), seconds) for calls, seconds in self._tokens.limits())

    def left(self) -> tuple[WindowLeft, ...]:
        """What is left of them."""
        return self._pace.left(self.limits())

    @property
    def free_at(self) -> datetime | None:
        """When the account's limits let the next call through, once that is longer off than a run waits, else None."""
        return self._pace.free_at

    def read(self, method: str, path: str, json: object = None) -> Reply:
        """Make a call that changes nothing; it is repeated after what is transient."""
        failures = 0
        while True:
            outcome = self._attempt(method, path, json, changes=False)
            if isinstance(outcome, Reply):
                return outcome
            failures += 1
            outcome.attempts = failures
            self._wait_or_raise(outcome, failures)

    def write(self, method: str, path: str, json: object) -> Reply:
        """Make a call that changes something; it is repeated only while it surely was not carried out.

        Raises AnswerLostError when it may have been.
        """
        failures = 0
        while True:
            outcome = self._attempt(method, path, json, changes=True)
            if isinstance(outcome, Reply):
                return outcome
            if outcome.ambiguous:
                raise AnswerLostError(str(outcome)) from None
            failures += 1
            outcome.attempts = failures
            self._wait_or_raise(outcome, failures)

    def _wait_or_raise(self, error: UpstreamError, failures: int) -> None:
        if not error.retryable or failures >= self._patience.tries:
            raise error
        self._timing.sleep(pause_after(failures, error.retry_after, self._patience, self._timing))

    def _attempt(self, method: str, path: str, json: object, *, changes: bool) -> Reply | UpstreamError:
        """Send one call, again after a pause for the limits (429: it was not carried out) and after a new token."""
        renewed = False
        while True:
            self._pace.wait(self.limits())
            token = self._tokens.current()
            try:
                answer = self._session.request(method, path, json=json, idempotent=not changes, accept=_ANSWERS)
            except CredentialsError as error:
                if renewed or not error.sent:
                    raise
                self._tokens.refused(token)
                renewed = True
                continue
            except UpstreamError as error:
                return error
            self._note_deprecation(answer)
            if answer.status == 429:
                self._pace.refused(answer, self.limits())
                continue
            return _reply(answer, changes=changes)

    def _note_deprecation(self, answer: Answer) -> None:
        """Log what Plytix announces to take away, once per run."""
        words = next((text for name, text in answer.headers.items() if name.lower() == "x-plytix-deprecation"), "")
        with self._lock:
            fresh = bool(words) and words not in self._announced
            self._announced.add(words)
        if fresh:
            logger.warning("Plytix announces a deprecation (%s): %.200s", place_of(answer.url).path, words)


def _reply(answer: Answer, *, changes: bool) -> Reply | UpstreamError:
    """The answer with its JSON; a good one that cannot be read is an error, and for a write a lost answer."""
    place = place_of(answer.url)
    data = parse_json(place, answer.status, "", answer.body)
    if not isinstance(data, UpstreamError):
        return Reply(answer.status, place, data)
    if answer.status >= 400:
        return Reply(answer.status, place, None)
    data.ambiguous = changes
    return data
