"""An edge run that dies at any commit, in our database or the store's, before it or just after; and the next run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.edge_installations import EdgeWorld, copy_of, edge_world, head_office

pytestmark = pytest.mark.slow

MOST_COMMITS = 60


class CrashError(BaseException):
    """The process is gone; nothing catches it, as nothing catches kill -9."""


@pytest.fixture(scope="module")
def before(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EdgeWorld]:
    """A store that was synchronised, and a head office that has changed since: new, replaced, gone, another order."""
    folder = tmp_path_factory.mktemp("crashes")
    with (
        head_office(server, folder / "office", photos=10) as office,
        edge_world(server, folder / "place", office) as made,
    ):
        made.run(full=True)
        for operator in ("replace", "replace", "add", "add", "delete_row", "edit", "deactivate_product"):
            office.mutate(operator)
        yield made


@contextmanager
def crash(nth: int | None, *, after: bool) -> Iterator[list[int]]:
    """Raise CrashError at the nth commit of any engine: instead of it, or after the server did it."""
    real: Callable[[Any, Any], None] = PGDialect_psycopg.do_commit
    seen: list[int] = []

    def commit(dialect: Any, connection: Any) -> None:
        seen.append(len(seen) + 1)
        if len(seen) == nth and not after:
            raise CrashError
        real(dialect, connection)
        if len(seen) == nth:
            raise CrashError

    PGDialect_psycopg.do_commit = commit  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        PGDialect_psycopg.do_commit = real  # type: ignore[method-assign]


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
@pytest.mark.parametrize("after", [False, True], ids=["commit not done", "commit done, process gone"])
def test_a_crash_at_any_commit_and_a_second_run_end_where_an_undisturbed_run_ends(
    server: EmbeddedServer, before: EdgeWorld, tmp_path: Path, full: bool, after: bool
) -> None:
    for nth in range(1, MOST_COMMITS):
        told = len(before.office.reports())
        with copy_of(server, before, tmp_path / str(nth)) as place:
            with crash(nth, after=after) as seen, suppress(CrashError):
                place.run(full=full, rows_per_commit=2)
            for photo in place.photos().values():
                assert photo.md5 in {None, photo.checksum}, "nothing unproven, even then"
            place.run(rows_per_commit=2)
            place.assert_converged()
            stamps = place.stamps()
            third = place.run()
            assert third.listed.quiet
            assert place.stamps() == stamps
            if len(seen) < nth:
                break
            fresh = set(place.photos()) - set(before.photos())
            reported = {report.photo_id for report in place.office.reports()[told:]}
            assert fresh <= reported, "the head office hears of every new photo"
    else:
        pytest.fail(f"a run commits more than {MOST_COMMITS} times")
    assert nth > 8
