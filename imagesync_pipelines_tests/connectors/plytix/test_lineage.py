"""Whose listings, products, uploads and plan a run goes on with: the run's that it re-executes, no stranger's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.plytix import stages
from imagesync_pipelines.connectors.plytix.apply_stages import apply_plan, upload_assets
from imagesync_pipelines.connectors.plytix.cleanup import plan_cleanup
from imagesync_pipelines.connectors.plytix.plan_stages import make_plan
from imagesync_pipelines.sandbox.amazon.listings import demo_listings
from imagesync_pipelines.storage.errors import NoPlanOfThisRunError
from imagesync_pipelines.storage.notes import NoteMissingError
from imagesync_pipelines.sync.progress import silent
from imagesync_pipelines_tests.connectors.plytix.accounts import Connector, assert_converged, open_connector


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
        look = plan_cleanup(connector.desk, api, "looked", missing_from=str(connector.mapping), allow_mass_delete=True)
        assert look.planned.counts()["remove"] > 0
        upload_assets(connector.desk, api, "again", ancestors=["nightly"], progress=silent)
        done = apply_plan(connector.desk, api, "again", ancestors=["nightly"], progress=silent)
        assert (done.plan_id, done.applied.removed) == (night.plan_id, 0)
    assert connector.shown() == before


def test_the_last_assets_alone_are_refused_and_a_clean_up_is_carried_out_by_its_number_only(
    connector: Connector,
) -> None:
    before = connector.shown()
    connector.write(connector.amazon.listings[1:])
    with connector.api() as api:
        look = plan_cleanup(connector.desk, api, "looked", missing_from=str(connector.mapping), allow_mass_delete=True)
        for step in (upload_assets, apply_plan):
            with pytest.raises(
                NoPlanOfThisRunError, match=f"Start the job plytix__sync.*`imagesync apply N`.*{look.plan_id}"
            ):
                step(connector.desk, api, "alone", progress=silent)
            with pytest.raises(NoPlanOfThisRunError, match=f"made for a clean-up.*`imagesync apply {look.plan_id}`"):
                step(connector.desk, api, "again", ancestors=["looked"], progress=silent)
        assert connector.shown() == before
        assert connector.apply(api, "a person's", look.plan_id).applied.removed == look.planned.counts()["remove"]
    assert connector.shown() != before


def test_a_dry_run_that_is_executed_again_is_not_carried_out(database: sa.Engine, tmp_path: Path) -> None:
    with (
        open_connector(database, tmp_path, listings=demo_listings()[10:12], workers=1) as connector,
        connector.api() as api,
    ):
        look = connector.plan(api, "look", dry_run=True)
        again = make_plan(connector.desk, api, "again", ancestors=["look"], dry_run=True)
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
        stages.take_listings(connector.desk, "stranger", mapping=str(connector.mapping), live=False, marketplace="")
        stages.choose_images(connector.desk, "stranger")
        stages.read_products(connector.desk, api, "stranger")
        assert len(stages.choose_images(connector.desk, "again", ancestors=["nightly"]).listings) == 4
        assert len(stages.read_products(connector.desk, api, "again", ancestors=["nightly"]).products) == 4
        made = make_plan(connector.desk, api, "third", ancestors=["again", "nightly"])
        assert made.plan["group"].nunique() == 4
        for step in (
            lambda: stages.choose_images(connector.desk, "alone"),
            lambda: stages.read_products(connector.desk, api, "alone"),
            lambda: make_plan(connector.desk, api, "alone"),
        ):
            with pytest.raises(NoteMissingError, match="Start the job plytix__sync"):
                step()


def test_the_report_of_a_run_that_goes_on_tells_what_its_parent_uploaded(database: sa.Engine, tmp_path: Path) -> None:
    with (
        open_connector(database, tmp_path, listings=demo_listings()[10:12], workers=1) as connector,
        connector.api() as api,
    ):
        connector.plan(api, "first")
        uploads = upload_assets(connector.desk, api, "first", progress=silent)
        assert uploads.uploaded > 0
        before = api.calls
        done = apply_plan(connector.desk, api, "again", ancestors=["first"], progress=silent)
        assert (done.uploads.uploaded, done.calls) == (uploads.uploaded, api.calls - before)
        assert_converged(connector)
