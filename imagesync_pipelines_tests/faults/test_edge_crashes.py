"""An edge run that dies at any commit, in our database or the store's, before it or just after; and the next run."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.edge_installations import EdgeWorld, copy_of, edge_world, head_office
from imagesync_pipelines_tests.faults.commits import CrashError, commits_apart, crash, files_of, telling_commits

pytestmark = pytest.mark.slow

MOST_COMMITS = 60


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


def chosen_commits(server: EmbeddedServer, before: EdgeWorld, folder: Path, full: bool, after: bool) -> list[int]:
    """The commits at which, or after which, a crash leaves a state of its own: in databases, files, the head office."""
    with copy_of(server, before, folder / "undisturbed") as place:
        return (telling_commits if after else commits_apart)(
            lambda: place.run(full=full, rows_per_commit=2),
            lambda: (len(place.office.reports()), files_of(folder / "undisturbed")),
        )


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
@pytest.mark.parametrize("after", [False, True], ids=["commit not done", "commit done, process gone"])
def test_a_crash_at_any_commit_and_a_second_run_end_where_an_undisturbed_run_ends(
    server: EmbeddedServer, before: EdgeWorld, tmp_path: Path, full: bool, after: bool
) -> None:
    chosen = chosen_commits(server, before, tmp_path, full, after)
    for nth in chosen:
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
    assert len(chosen) > (1 if after else 20)
    assert 8 < nth < MOST_COMMITS - 1
