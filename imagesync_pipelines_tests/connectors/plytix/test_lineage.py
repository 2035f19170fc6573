"""Whose listings, products, uploads and plan a run goes on with: the run's that it re-executes, no stranger's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.plytix.apply_steps import apply_plan, upload_assets
from imagesync_pipelines.connectors.plytix.options import GalleryPlanOptions
from imagesync_pipelines.connectors.plytix.plan_steps import make_plan
from imagesync_pipelines.connectors.plytix.reading import choose_images, read_products
from imagesync_pipelines.sandbox.amazon.listings import demo_listings
from imagesync_pipelines.storage.errors import HandOverMissingError, NoPlanOfThisRunError
from imagesync_pipelines.sync.applied import ApplyOptions
from imagesync_pipelines_tests.connectors.plytix.accounts import Connector, assert_converged, open_connector

# No plan is named: a run's lineage made the one that it carries out.
ITS_OWN = ApplyOptions()


@pytest.fixture
def connector(database: sa.Engine, tmp_path: Path) -> Iterator[Connector]:
    """An account whose products are as Amazon has them."""
    with open_connector(database, tmp_path, listings=demo_listings()[10:14], strategy="patch", workers=1) as made:
        made.sync()
        yield made


def test_a_run_that_is_executed_again_applies_its_own_plan_and_not_a_clean_up_that_was_only_looked_at(
    connector: Connector,
) -> None:
    before = connector.shown()
    with connector.api() as api:
        night = connector.plan(api, "nightly")
        connector.write(connector.amazon.listings[1:])
        look = connector.look_for_gone(api, "looked", allow_mass_delete=True)
        assert look.planned.counts["remove"] > 0
        upload_assets(connector.at("again", "nightly"), api, ITS_OWN)
        done = apply_plan(connector.at("again", "nightly"), api, ITS_OWN)
        assert (done.plan_id, done.applied.removed) == (night.plan_id, 0)
    assert connector.shown() == before


def test_the_last_assets_alone_are_refused_and_a_clean_up_is_carried_out_by_its_number_only(
    connector: Connector,
) -> None:
    before = connector.shown()
    connector.write(connector.amazon.listings[1:])
    with connector.api() as api:
        look = connector.look_for_gone(api, "looked", allow_mass_delete=True)
        for step in (upload_assets, apply_plan):
            with pytest.raises(
                NoPlanOfThisRunError, match=f"Start the job plytix__sync.*`imagesync apply N`.*{look.plan_id}"
            ):
                step(connector.at("alone"), api, ITS_OWN)
            with pytest.raises(NoPlanOfThisRunError, match=f"made for a clean-up.*`imagesync apply {look.plan_id}`"):
                step(connector.at("again", "looked"), api, ITS_OWN)
        assert connector.shown() == before
        assert connector.apply(api, "a person's", look.plan_id).applied.removed == look.planned.counts["remove"]
    assert connector.shown() != before


def test_a_dry_run_that_is_executed_again_is_not_carried_out(database: sa.Engine, tmp_path: Path) -> None:
    with (
        open_connector(database, tmp_path, listings=demo_listings()[10:12], workers=1) as connector,
        connector.api() as api,
    ):
        look = connector.plan(api, "look", dry_run=True)
        again = make_plan(connector.at("again", "look"), api, GalleryPlanOptions(dry_run=True))
        for run_id, made in (("look", look), ("again", again)):
            with pytest.raises(NoPlanOfThisRunError, match=f"made for a dry run.*`imagesync apply {made.plan_id}`"):
                connector.apply(api, run_id)
        assert connector.plytix.assets() == ()
        connector.apply(api, "a person's", look.plan_id)
        assert_converged(connector)


def test_the_steps_of_a_run_go_on_with_its_lineage_and_never_with_what_a_stranger_read(connector: Connector) -> None:
    with connector.api() as api:
        connector.plan(api, "nightly")
        connector.write(connector.amazon.listings[:1])
        connector.read(api, "stranger")
        assert len(choose_images(connector.at("again", "nightly")).listings) == 4
        assert len(read_products(connector.at("again", "nightly"), api).products) == 4
        made = make_plan(connector.at("third", "again", "nightly"), api, GalleryPlanOptions())
        assert made.planned.plan["group"].nunique() == 4
        for step in (
            lambda: choose_images(connector.at("alone")),
            lambda: read_products(connector.at("alone"), api),
            lambda: make_plan(connector.at("alone"), api, GalleryPlanOptions()),
        ):
            with pytest.raises(HandOverMissingError, match="start the job plytix__sync"):
                step()


def test_the_report_of_a_run_that_goes_on_tells_what_its_parent_uploaded(database: sa.Engine, tmp_path: Path) -> None:
    with (
        open_connector(database, tmp_path, listings=demo_listings()[10:12], workers=1) as connector,
        connector.api() as api,
    ):
        connector.plan(api, "first")
        uploads = upload_assets(connector.at("first"), api, ITS_OWN)
        assert uploads.uploaded > 0
        before = api.calls
        done = apply_plan(connector.at("again", "first"), api, ITS_OWN)
        assert (done.uploads.uploaded, done.summary.api_calls) == (uploads.uploaded, api.calls - before)
        assert_converged(connector)
