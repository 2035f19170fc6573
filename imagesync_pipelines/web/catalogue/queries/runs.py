"""Past runs as the history page shows them."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from threading import Lock
from typing import Any, Protocol

# A run takes seconds at least, and reading its record takes milliseconds: a busy page need not read it again.
KEPT_SECONDS = 5.0


class PastRun(Protocol):
    """One run, as operations/history.RunLine has it; numbers are None when the run recorded no summary."""

    @property
    def run_id(self) -> str: ...
    @property
    def job(self) -> str: ...
    @property
    def connector(self) -> str | None: ...
    @property
    def partition(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def started(self) -> datetime | None: ...
    @property
    def completed(self) -> datetime | None: ...
    @property
    def added(self) -> int | None: ...
    @property
    def updated(self) -> int | None: ...
    @property
    def deleted(self) -> int | None: ...
    @property
    def products_affected(self) -> int | None: ...
    @property
    def error(self) -> str: ...
    @property
    def summary(self) -> Mapping[str, Any]: ...


ReadRuns = Callable[[int, str | None], Sequence[PastRun]]
"""The last so many runs, newest first, of one connector or (None) of all."""


def kept_for_a_moment(read: ReadRuns) -> ReadRuns:
    """The same, with an answer given again for five seconds; used by several threads."""
    lock = Lock()
    kept: dict[tuple[int, str | None], tuple[float, Sequence[PastRun]]] = {}

    def answer(limit: int, connector: str | None) -> Sequence[PastRun]:
        with lock:
            known = kept.get((limit, connector))
            if known is None or time.monotonic() - known[0] > KEPT_SECONDS:
                known = kept[(limit, connector)] = (time.monotonic(), read(limit, connector))
            return known[1]

    return answer
