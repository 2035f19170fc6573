"""Whole synchronisations of edge stores through Dagster: everything, nothing, a day of changes; both head offices."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.head_office.server import demo_changes
from imagesync_pipelines.sandbox.head_office.watching import DOWNLOAD, LISTING, STATUS
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.edge_installations import EdgeWorld, edge_world, head_office

NUMBERS = ("images_added", "images_updated", "images_deleted")
PHOTOS = 60


@pytest.fixture(params=[False, True], ids=["service", "original"])
def place(request: pytest.FixtureRequest, server: EmbeddedServer, tmp_path: Path) -> Iterator[EdgeWorld]:
    """Two stores that were never synchronised, at either kind of head office."""
    with (
        head_office(server, tmp_path / "office", photos=PHOTOS, original=request.param) as office,
        edge_world(server, tmp_path / "place", office) as made,
    ):
        yield made


@pytest.mark.slow
def test_everything_then_nothing_then_a_day_of_changes(place: EdgeWorld) -> None:
    for store in ("store1", "store2"):
        first = place.sync(store, full=True)
        assert first.status is runs.Status.COMPLETED, first
        assert [first.summary[name] for name in NUMBERS] == [len(place.listed(store)), 0, 0]
        assert first.summary["bytes_downloaded"] == sum(row.size for row in place.listed(store).values())
        place.assert_converged(store)
    told = {(report.store_id, report.photo_id): report.status for report in place.office.reports()}
    assert len(told) == len(place.listed("store1")) + len(place.listed("store2"))
    assert set(told.values()) == {"synced"}

    stamps = place.stamps()
    place.office.ledger.clear()
    second = place.sync()
    assert second.status is runs.Status.COMPLETED
    assert [second.summary[name] for name in NUMBERS] == [0, 0, 0]
    assert place.stamps() == stamps
    assert place.office.ledger.count(LISTING) == 1, "nothing changed: one request"
    assert place.office.ledger.count(DOWNLOAD) == place.office.ledger.count(STATUS) == 0
    assert second.plan is None, "nothing is joined for nothing"

    before = place.photos()
    demo_changes(place.office)
    place.office.ledger.clear()
    third = place.sync()
    assert third.status is runs.Status.COMPLETED, third
    fresh = {row.id for key, row in place.listed().items() if key not in before}
    assert place.office.ledger.count(DOWNLOAD, 200) == len(fresh), "only what changed moves"
    if not place.office.bench.silent:
        place.assert_converged()

    place.sync(full=True)
    place.assert_converged()
    place.sync("store2", full=True)
    place.assert_converged("store2")
    untouched = set(stamps) & set(place.stamps())
    assert len(untouched) > 0.8 * PHOTOS


@pytest.mark.slow
def test_a_dry_run_writes_nothing_and_its_plan_can_be_applied_later(place: EdgeWorld) -> None:
    dry = place.sync(full=True, dry_run=True)
    assert dry.status is runs.Status.COMPLETED
    assert dry.plan is not None
    assert dry.plan.applied_at is None
    assert dry.plan.counts["add"] == len(place.listed())
    assert place.photos() == {}
    with place.entered():
        applied = runs.apply_plan(dry.plan.id)
    assert applied.status is runs.Status.COMPLETED, applied
    assert applied.summary["images_added"] == len(place.listed())
    place.assert_converged()


@pytest.mark.slow
def test_a_dry_run_hides_nothing_from_the_run_after_it(place: EdgeWorld) -> None:
    place.sync(full=True)
    place.office.mutate("edit")
    place.office.mutate("replace")
    assert place.sync(dry_run=True).plan is not None
    after = place.sync()
    assert (after.summary["images_added"], after.summary["images_updated"]) == (0, 2)
    place.assert_converged()
