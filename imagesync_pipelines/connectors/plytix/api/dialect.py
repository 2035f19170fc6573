"""What an answer of the PIM means as such (docs/contracts/plytix.md, sections 2 to 4).

What belongs here: which answers are about the call, a 429, a deprecation, illegible JSON. What does not: paths and
bodies (pim.py), the token (tokens.py), the order of permit, token and repetitions (upstream/transport.py).
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from imagesync_pipelines.connectors.plytix.api.limits import asked_pause
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.upstream.answers import Answer, parse_json
from imagesync_pipelines.upstream.errors import RateLimitedError, UpstreamError
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import ApiRequest
from imagesync_pipelines.upstream.transport import Dialect

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
