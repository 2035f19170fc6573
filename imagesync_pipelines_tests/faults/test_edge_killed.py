"""A real `imagesync sync edge`, killed with kill -9 in each of its stages; the next run, and what history says."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.faults import latency
from imagesync_pipelines.sandbox.head_office.watching import DOWNLOAD, LISTING, STATUS
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.edge_installations import STORE, EdgeWorld, edge_world, head_office
from imagesync_pipelines_tests.faults.commands import WAITING, Command, command, killed_before

pytestmark = pytest.mark.slow

# Long enough that the call is still under way when its caller is killed; a sandbox that ends waits for it.
FOR_LONG = 8.0
# A lock that lets everything before that stage pass: in the store's database, or in ours.
BLOCKED_AT = {
    "marking what is pending": (STORE, "product_photo"),
    "moving mirror and cursor": (None, "imagesync.mirror"),
    "planning": (None, "imagesync.plan"),
}
SLOW_AT = {"listing": (LISTING, 0), "downloading": (DOWNLOAD, 3), "reporting": (STATUS, 0)}


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[EdgeWorld]:
    """Two stores that were synchronised, and a head office that has changed since."""
    with (
        head_office(server, tmp_path / "office", photos=12) as office,
        edge_world(server, tmp_path / "place", office) as made,
    ):
        made.sync(full=True)
        for operator in ("replace", "replace", "replace", "add", "add", "add", "delete_row", "edit"):
            office.mutate(operator)
        yield made


def synchronising(place: EdgeWorld, folder: Path) -> AbstractContextManager[Command]:
    """`imagesync sync edge --store store1` in a process of its own, photo by photo."""
    variables = {**place.environment, "EDGE_ROWS_PER_COMMIT": "1", "EDGE_CONCURRENCY": "1"}
    return command(folder, variables, "sync", "edge", "--store", STORE)


@pytest.mark.parametrize("stage", [*SLOW_AT, *BLOCKED_AT])
def test_a_run_killed_in_any_stage_is_told_as_failed_and_the_next_run_ends_where_it_would_have(
    place: EdgeWorld, tmp_path: Path, stage: str
) -> None:
    with ExitStack() as stack:
        if stage in SLOW_AT:
            endpoint, calls = SLOW_AT[stage]
            place.office.faults.add(latency(FOR_LONG).at(endpoint).after(calls).for_good())
            run = stack.enter_context(synchronising(place, tmp_path))
            done = place.office.ledger.count(endpoint)
            run.wait_until(
                lambda: (
                    place.office.ledger.under_way(endpoint) > 0 and place.office.ledger.count(endpoint) >= done + calls
                )
            )
        else:
            store, table = BLOCKED_AT[stage]
            url = place.environment["IMAGESYNC_DATABASE_URL"] if store is None else place.url_of(store)
            holder = stack.enter_context(sa.create_engine(url, poolclass=sa.NullPool).connect())
            holder.execute(sa.text(f"LOCK TABLE {table} IN SHARE MODE"))
            run = stack.enter_context(synchronising(place, tmp_path))
            run.wait_until(lambda: place.rows(WAITING, store)[0][0] > 0)
        run.kill()
    place.office.faults.clear()
    assert all(photo.md5 in {None, photo.checksum} for photo in place.photos().values())

    second = place.sync()
    assert second.status is not runs.Status.FAILED, second.error
    place.assert_converged()
    with place.opened() as (_, instance):
        assert killed_before(instance, second.run_id).partition == STORE
    stamps = place.stamps()
    third = place.sync()
    assert [third.summary[name] for name in ("images_added", "images_updated", "images_deleted")] == [0, 0, 0]
    assert place.stamps() == stamps
    reported = {report.photo_id for report in place.office.reports() if report.status == "synced"}
    assert set(place.photos()) <= reported


def test_two_commands_at_once_on_one_store_both_end_and_each_photo_is_fetched_once(
    place: EdgeWorld, tmp_path: Path
) -> None:
    place.office.ledger.clear()
    before = set(place.photos())
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with synchronising(place, tmp_path / "one") as one, synchronising(place, tmp_path / "two") as two:
        one.assert_ends_well()
        two.assert_ends_well()
    place.assert_converged()
    fetched = [call.part for call in place.office.ledger.calls(DOWNLOAD) if call.status == 200]
    assert sorted(fetched) == sorted(set(place.photos()) - before)
