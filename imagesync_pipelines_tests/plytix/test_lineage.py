"""Whose listings, products, uploads and plan a run goes on with: the run's that it re-executes, no stranger's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.plytix import stages
from imagesync_pipelines.plytix.apply_stages import apply_plan, upload_assets
from imagesync_pipelines.plytix.cleanup import plan_cleanup
from imagesync_pipelines.plytix.plan_stages import make_plan
from imagesync_pipelines.sandbox.amazon.making import demo_listings
from imagesync_pipelines.storage.errors import NoPlanOfThisRun
from imagesync_pipelines.storage.notes import NoteMissingError
from imagesync_pipelines.sync.progress import silent
from imagesync_pipelines_tests.plytix.accounts import Room, assert_converged, open_room


@pytest.fixture
def room(database: sa.Engine, tmp_path: Path) -> Iterator[Room]:
    """An account whose products are as Amazon has them."""
    with open_room(database, tmp_path, listings=demo_listings()[10:14], strategy="patch", workers=1) as made:
        made.sync()
        yield made


def test_a_run_that_is_executed_again_applies_its_own_plan_and_not_a_clean_up_that_was_only_looked_at(
    room: Room,
) -> None:
    before = room.shown()
    with room.api() as api:
        night = room.plan(api, "nightly")
        room.write(room.amazon.listings[1:])
        look = plan_cleanup(room.desk, api, "looked", missing_from=str(room.mapping), lift_brake=True)
        assert look.planned.counts()["remove"] > 0
        upload_assets(room.desk, api, "again", ancestors=["nightly"], progress=silent)
        done = apply_plan(room.desk, api, "again", ancestors=["nightly"], progress=silent)
        assert (done.plan_id, done.applied.removed) == (night.plan_id, 0)
    assert room.shown() == before


def test_the_last_assets_alone_are_refused_and_a_clean_up_is_carried_out_by_its_number_only(room: Room) -> None:
    before = room.shown()
    room.write(room.amazon.listings[1:])
    with room.api() as api:
        look = plan_cleanup(room.desk, api, "looked", missing_from=str(room.mapping), lift_brake=True)
        for step in (upload_assets, apply_plan):
            with pytest.raises(
                NoPlanOfThisRun, match=f"Start the job plytix__sync.*`imagesync apply N`.*{look.plan_id}"
            ):
                step(room.desk, api, "alone", progress=silent)
            with pytest.raises(NoPlanOfThisRun, match=f"made for a clean-up.*`imagesync apply {look.plan_id}`"):
                step(room.desk, api, "again", ancestors=["looked"], progress=silent)
        assert room.shown() == before
        assert room.apply(api, "a person's", look.plan_id).applied.removed == look.planned.counts()["remove"]
    assert room.shown() != before


def test_a_dry_run_that_is_executed_again_is_not_carried_out(database: sa.Engine, tmp_path: Path) -> None:
    with open_room(database, tmp_path, listings=demo_listings()[10:12], workers=1) as room, room.api() as api:
        look = room.plan(api, "look", dry_run=True)
        again = make_plan(room.desk, api, "again", ancestors=["look"], dry_run=True)
        for run_id, made in (("look", look), ("again", again)):
            with pytest.raises(NoPlanOfThisRun, match=f"made for a dry run.*`imagesync apply {made.plan_id}`"):
                room.apply(api, run_id)
        assert room.plytix.assets() == ()
        room.apply(api, "a person's", look.plan_id)
        assert_converged(room)


def test_the_steps_of_a_run_go_on_with_its_lineage_and_never_with_what_a_stranger_read(room: Room) -> None:
    with room.api() as api:
        room.plan(api, "nightly")
        room.write(room.amazon.listings[:1])
        stages.take_listings(room.desk, "stranger", mapping=str(room.mapping), live=False, marketplace="")
        stages.choose_images(room.desk, "stranger")
        stages.read_products(room.desk, api, "stranger")
        assert len(stages.choose_images(room.desk, "again", ancestors=["nightly"]).listings) == 4
        assert len(stages.read_products(room.desk, api, "again", ancestors=["nightly"]).products) == 4
        made = make_plan(room.desk, api, "third", ancestors=["again", "nightly"])
        assert made.plan["group"].nunique() == 4
        for step in (
            lambda: stages.choose_images(room.desk, "alone"),
            lambda: stages.read_products(room.desk, api, "alone"),
            lambda: make_plan(room.desk, api, "alone"),
        ):
            with pytest.raises(NoteMissingError, match="Start the job plytix__sync"):
                step()


def test_the_report_of_a_run_that_goes_on_tells_what_its_parent_uploaded(database: sa.Engine, tmp_path: Path) -> None:
    with open_room(database, tmp_path, listings=demo_listings()[10:12], workers=1) as room, room.api() as api:
        room.plan(api, "first")
        uploads = upload_assets(room.desk, api, "first", progress=silent)
        assert uploads.uploaded > 0
        before = api.calls
        done = apply_plan(room.desk, api, "again", ancestors=["first"], progress=silent)
        assert (done.uploads.uploaded, done.calls) == (uploads.uploaded, api.calls - before)
        assert_converged(room)
