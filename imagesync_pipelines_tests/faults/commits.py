"""A process that dies at a commit: instead of it, or just after the server did it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg


class CrashError(BaseException):
    """The process is gone; nothing catches it, as nothing catches kill -9."""


@contextmanager
def crash(nth: int, *, after: bool) -> Iterator[list[int]]:
    """Raise CrashError at the nth commit of any engine. Gives the commits seen."""
    seen: list[int] = []

    def gone(number: int, done: bool, connection: Any) -> None:
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
    return [one.number for one in _looked_at(run, outside) if one.tells]


def commits_apart(run: Callable[[], object], outside: Callable[[], object]) -> list[int]:
    """The commits of a run that, not done, leave something else than the one before; and one after the last.

    Of a transaction that wrote nothing the commit changes nothing: unless something changed outside since, a process
    that is gone leaves the same at the next.
    """
    return [1, *(one.number + 1 for one in _looked_at(run, outside) if one.wrote or one.tells)]


class _Commit(NamedTuple):
    """A commit: whether its transaction wrote, and whether something changed outside before the next one."""

    number: int
    wrote: bool
    tells: bool


def _looked_at(run: Callable[[], object], outside: Callable[[], object]) -> list[_Commit]:
    """The commits of a run. outside: what there is beside the databases, to be compared."""
    states: list[object] = []
    wrote: list[bool] = []
    lock = threading.Lock()

    def note(number: int, done: bool, connection: Any) -> None:
        with lock:
            if not done:
                states.append(outside())
                [(has_written,)] = connection.execute("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")
                wrote.append(has_written)

    with _told(note):
        run()
    states.append(outside())
    changes = [before != after for before, after in pairwise(states)]
    return [_Commit(*one) for one in zip(count(1), wrote, changes, strict=False)]


def files_of(folder: Path) -> dict[str, tuple[int, int]]:
    """The files in a folder, each with its size and the moment of its last writing."""
    found = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {str(path): (state.st_size, state.st_mtime_ns) for path, state in found}


@contextmanager
def _told(about: Callable[[int, bool, Any], None]) -> Iterator[None]:
    """Every commit is told by its number and connection, before it (False) and after it (True)."""
    real: Callable[[Any, Any], None] = PGDialect_psycopg.do_commit
    numbers = count(1)

    def commit(dialect: Any, connection: Any) -> None:
        number = next(numbers)
        about(number, False, connection)
        real(dialect, connection)
        about(number, True, connection)

    PGDialect_psycopg.do_commit = commit  # type: ignore[method-assign]
    try:
        yield
    finally:
        PGDialect_psycopg.do_commit = real  # type: ignore[method-assign]
