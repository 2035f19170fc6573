"""A process that dies at a commit: instead of it, or just after the server did it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg


class CrashError(BaseException):
    """The process is gone; nothing catches it, as nothing catches kill -9."""


@contextmanager
def crash(nth: int, *, after: bool) -> Iterator[list[int]]:
    """Raise CrashError at the nth commit of any engine. Gives the commits seen."""
    seen: list[int] = []

    def gone(number: int, done: bool) -> None:
        if not done:
            seen.append(number)
        if (number, done) == (nth, after):
            raise CrashError

    with _told(gone):
        yield seen


def telling_commits(run: Callable[[], object], outside: Callable[[], object]) -> list[int]:
    """The commits of a run after which, before the next one, it changes something outside of the databases.

    After any other commit a process that is gone leaves what it leaves when the next commit is not done.
    """
    states: list[object] = []
    lock = threading.Lock()

    def note(number: int, done: bool) -> None:
        with lock:
            if not done:
                states.append(outside())

    with _told(note):
        run()
    states.append(outside())
    return [nth for nth, (before, after) in enumerate(pairwise(states), 1) if before != after]


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """The files in a folder, each with its size and the moment of its last writing."""
    found = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {str(path): (state.st_size, state.st_mtime_ns) for path, state in found}


@contextmanager
def _told(about: Callable[[int, bool], None]) -> Iterator[None]:
    """Every commit is told by its number, before it (False) and after it (True)."""
    real: Callable[[Any, Any], None] = PGDialect_psycopg.do_commit
    numbers = count(1)

    def commit(dialect: Any, connection: Any) -> None:
        number = next(numbers)
        about(number, False)
        real(dialect, connection)
        about(number, True)

    PGDialect_psycopg.do_commit = commit  # type: ignore[method-assign]
    try:
        yield
    finally:
        PGDialect_psycopg.do_commit = real  # type: ignore[method-assign]
