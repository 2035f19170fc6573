"""Whose listings, products, uploads and plan a run goes on with: the run's that it re-executes, no stranger's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.plytix import plan_steps, reading
from imagesync_pipelines.connectors.plytix.channel import channel_pictures
from imagesync_pipelines.connectors.plytix.settings import GalleryPlanOptions
from imagesync_pipelines.connectors.plytix.unmatched import listed_skus, needed_runs
from imagesync_pipelines.sandbox.amazon.listings import demo_listings
from imagesync_pipelines.storage.errors import HandOverMissingError, NoPlanOfThisRunError
from imagesync_pipelines.storage.handovers import KEPT_RUNS
from imagesync_pipelines.storage.schema import handover
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines_tests.connectors.plytix.accounts import ACCOUNT, Connector, assert_converged, open_connector


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
        assert look.counted("remove") > 0
        connector.upload(api, "again", "nightly")
        done = connector.write_galleries(api, "again", "nightly")
        assert f": plan {night.plan_id}: " in done.step.lines[0]
        assert done.summary.images_deleted == 0
    assert connector.shown() == before


def test_the_last_assets_alone_are_refused_and_a_clean_up_is_carried_out_by_its_number_only(
    connector: Connector,
) -> None:
    before = connector.shown()
    connector.write(connector.amazon.listings[1:])
    with connector.api() as api:
        look = connector.look_for_gone(api, "looked", allow_mass_delete=True)
        for step in (connector.upload, connector.write_galleries):
            with pytest.raises(
                NoPlanOfThisRunError, match=f"Start the job plytix__sync.*`imagesync apply N`.*{look.plan_id}"
            ):
                step(api, "alone")
            with pytest.raises(NoPlanOfThisRunError, match=f"made for a clean-up.*`imagesync apply {look.plan_id}`"):
                step(api, "again", "looked")
        assert connector.shown() == before
        assert connector.apply(api, "a person's", look.plan_id).summary.images_deleted == look.counted("remove")
    assert connector.shown() != before


def test_a_dry_run_that_is_executed_again_is_not_carried_out(database: sa.Engine, tmp_path: Path) -> None:
    with (
        open_connector(database, tmp_path, listings=demo_listings()[10:12], workers=1) as connector,
        connector.api() as api,
    ):
        look = connector.plan(api, "look", dry_run=True)
        again = plan_steps.plan(connector.at("again", "look"), GalleryPlanOptions(dry_run=True), api)
        for run_id, plan_id in (("look", look.plan_id), ("again", again.shown["plan_id"])):
            with pytest.raises(NoPlanOfThisRunError, match=f"made for a dry run.*`imagesync apply {plan_id}`"):
                connector.apply(api, run_id)
        assert connector.plytix.assets() == ()
        connector.apply(api, "a person's", look.plan_id)
        assert_converged(connector)


def test_runs_of_chosen_products_leave_what_the_last_whole_run_read(connector: Connector) -> None:
    place = connector.at("anybody").installation

    def known() -> tuple[set[str], set[str]]:
        listed = listed_skus(place.engine, place.storage, ACCOUNT, skus)
        return listed, {one.code for one in channel_pictures(place.engine, place.settings, ACCOUNT)}

    skus = connector.shown().keys()
    before, needed = known(), needed_runs(place)
    assert (before, len(needed)) == ((skus, skus), 1)
    with connector.api() as api:
        with place.engine.begin() as connection:
            for number in range(2 * KEPT_RUNS):
                row = {
                    "connector": "plytix",
                    "account": ACCOUNT,
                    "run_id": f"chosen {number}",
                    "step": "x",
                    "value": {},
                }
                connection.execute(handover.insert().values(row))
        some = connector.at("some")
        some.plans.prune("plytix", 0, some.part)
        connector.choose("some", skus=[min(skus)])
        reading.products(connector.at("some"), NoOptions(), api)
        plan_steps.plan(connector.at("some"), GalleryPlanOptions(), api)
    assert (known(), needed_runs(place)) == (before, needed)


def test_the_steps_of_a_run_go_on_with_its_lineage_and_never_with_what_a_stranger_read(connector: Connector) -> None:
    with connector.api() as api:
        connector.plan(api, "nightly")
        connector.write(connector.amazon.listings[:1])
        connector.read(api, "stranger")
        nothing, options = NoOptions(), GalleryPlanOptions()
        assert reading.images(connector.at("again", "nightly"), nothing).lines[0].endswith("of 4 listings.")
        assert reading.products(connector.at("again", "nightly"), nothing, api).rows == 4
        made = plan_steps.plan(connector.at("third", "again", "nightly"), options, api)
        assert connector.at("third").plans.load(int(str(made.shown["plan_id"])))["group"].nunique() == 4
        for step in (
            lambda: reading.images(connector.at("alone"), nothing),
            lambda: reading.products(connector.at("alone"), nothing, api),
            lambda: plan_steps.plan(connector.at("alone"), options, api),
        ):
            with pytest.raises(HandOverMissingError, match="start the job plytix__sync"):
                step()


def test_the_report_of_a_run_that_goes_on_tells_what_its_parent_uploaded(database: sa.Engine, tmp_path: Path) -> None:
    with (
        open_connector(database, tmp_path, listings=demo_listings()[10:12], workers=1) as connector,
        connector.api() as api,
    ):
        connector.plan(api, "first")
        uploaded = connector.upload(api, "first").numbers["assets/uploaded"]
        assert uploaded > 0
        before = api.calls
        done = connector.write_galleries(api, "again", "first")
        assert (done.report["images_uploaded"], done.summary.api_calls) == (uploaded, api.calls - before)
        assert_converged(connector)
