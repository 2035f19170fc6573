"""Whole synchronisations into Plytix through Dagster: first, nothing, changes; bad files; what the UI shows."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.amazon.listings import make_listings
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.plytix_installations import PlytixWorld, plytix_world
from imagesync_pipelines_tests.sandbox.amazon.making import poor_listings

MISSING, UNLISTED, OTHER_SHAPE = "", '{"matched": []}', '{"products": []}'


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[PlytixWorld]:
    """Seven listings of three images, one of them a parent, and a Plytix that has none of the images."""
    with plytix_world(server, tmp_path, make_listings(7, images=3, longest=300)) as made:
        made.write_mapping(made.amazon.listings, "list")
        made.environment["PLYTIX_QUALITY_SAMPLE"] = "0"
        yield made


def events(place: PlytixWorld, run_id: str, kind: dg.DagsterEventType) -> Iterator[dg.DagsterEvent]:
    """The events of a kind that a run wrote."""
    with place.opened() as (_, instance):
        for record in instance.get_records_for_run(run_id, of_type=kind).records:
            if record.event_log_entry.dagster_event is not None:
                yield record.event_log_entry.dagster_event


def metadata_of(place: PlytixWorld, run_id: str, asset: str) -> dict[str, Any]:
    """What the UI shows of an asset that a run materialised."""
    for event in events(place, run_id, dg.DagsterEventType.ASSET_MATERIALIZATION):
        if event.asset_key == dg.AssetKey(["plytix", asset]):
            shown = event.step_materialization_data.materialization.metadata
            return {name: value.value for name, value in shown.items()}
    raise LookupError(f"run {run_id} did not materialise {asset}")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["link", "patch"])
def test_first_run_then_nothing_then_what_changed(place: PlytixWorld, strategy: str) -> None:
    place.environment["PLYTIX_STRATEGY"] = strategy
    first = place.sync()
    assert first.status is runs.Status.COMPLETED, first
    place.assert_converged(place.amazon.listings)
    assert first.report["links_created"] == first.summary["images_added"] == 21
    assert first.report["parent_links_created"] == 3
    assert first.report["parent_main_image_links"] == 1

    place.plytix.ledger.clear()
    second = place.sync()
    assert second.status is runs.Status.COMPLETED
    assert place.calls() == 1
    assert second.summary["images_added"] == second.summary["images_updated"] == 0
    assert second.report["images_skipped"] == first.report["unique_images"]

    child = next(listing for listing in place.amazon.listings if not listing.is_parent)
    place.amazon.mutate("new_image", child.asin, variant="PT03")
    place.write_mapping(place.amazon.listings, "list")
    third = place.sync()
    assert third.status is runs.Status.COMPLETED, third
    assert (third.report["images_uploaded"], third.report["links_created"]) == (1, 1)
    place.assert_converged(place.amazon.listings)


@pytest.mark.slow
def test_images_that_left_a_listing_go_only_with_the_setting_and_people_keep_theirs(place: PlytixWorld) -> None:
    place.environment["PLYTIX_STRATEGY"] = "patch"
    place.sync()
    child = next(listing for listing in place.amazon.listings if not listing.is_parent)
    added = place.plytix.mutate("add_image", sku=child.suggested_sku, position=1)
    place.amazon.mutate("remove_image", child.asin, variant="PT01")
    place.write_mapping(place.amazon.listings, "list")
    kept = place.sync()
    assert len(place.shown(child.suggested_sku)) == 4
    assert any("PLYTIX_REMOVE_MISSING is off" in text for text in kept.summary["warnings"])
    done = place.sync({"PLYTIX_REMOVE_MISSING": "true"})
    assert done.summary["images_deleted"] == 1
    assert len(place.shown(child.suggested_sku)) == 3
    assert added in place.plytix.gallery(child.suggested_sku), "what a person added stays"
    assert place.plytix.gallery(child.suggested_sku)[1] == added, "where the person put it"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(MISSING, "the file is empty", id="empty"),
        pytest.param('{"matched": [{"amazon_as', "cut off", id="truncated"),
        pytest.param(OTHER_SHAPE, "no mapping file", id="another shape"),
        pytest.param(UNLISTED, "it lists no product", id="no product"),
        pytest.param('{"matched": [null, 7, {}]}', "none of its 3 entries can be used", id="nulls"),
    ],
)
def test_a_file_that_is_no_mapping_fails_with_one_sentence_and_changes_nothing(
    place: PlytixWorld, text: str, says: str
) -> None:
    place.spoil(text)
    outcome = place.sync()
    assert outcome.status is runs.Status.FAILED
    assert says in outcome.error
    assert place.calls() == 0
    assert outcome.report == {}


@pytest.mark.slow
def test_bad_entries_and_pictures_stop_no_other_and_are_reported(place: PlytixWorld) -> None:
    place.environment["PLYTIX_STRATEGY"] = "patch"
    listings = place.amazon.listings
    oddities = {"no_suggested_sku": 0, "null_link": 1, "malformed_url": 2, "foreign_url": 3, "repeated_entry": 4}
    place.write_mapping(listings, "list", **oddities)
    children = [listing for listing in listings if not listing.is_parent]
    place.amazon.mutate("hide_image", children[5].asin, variant="PT02")
    place.plytix.mutate("delete_product", sku=children[4].suggested_sku)
    outcome = place.sync()
    assert outcome.status is runs.Status.PARTIAL, outcome
    errors = outcome.report["errors"]
    assert {"url", "error", "product_sku"} == set(errors[0])
    told = {error["product_sku"]: error["error"] for error in errors}
    assert "not on an image host of Amazon" in told[children[3].suggested_sku]
    assert "no product with this SKU" in told[children[4].suggested_sku]
    assert children[5].suggested_sku in told
    assert len(place.shown(children[5].suggested_sku)) == 2
    assert len(place.shown(children[0].suggested_sku)) == 3, "a SKU can be told from its ASIN"

    place.write_mapping(listings, "list")
    place.plytix.mutate("add_product", sku=children[4].suggested_sku)
    place.amazon.shelf.show(children[5].picture("PT02"))
    after = place.sync()
    assert after.status is runs.Status.COMPLETED, after
    place.assert_converged(listings)


@pytest.mark.slow
def test_live_images_come_from_the_catalogue_parents_included(place: PlytixWorld) -> None:
    place.environment["PLYTIX_STRATEGY"] = "patch"
    child = next(listing for listing in place.amazon.listings if not listing.is_parent)
    place.amazon.mutate("swap", child.asin)
    outcome = place.sync(live=True)
    assert outcome.status is runs.Status.COMPLETED, outcome
    place.assert_converged(place.amazon.listings)
    assert metadata_of(place, outcome.run_id, "listings")["shape"] == "catalogue"


@pytest.mark.slow
def test_the_ui_shows_pictures_costs_and_the_report_and_no_secret(place: PlytixWorld) -> None:
    outcome = place.sync(dry_run=True)
    plan = metadata_of(place, outcome.run_id, "plan")
    assert plan["pictures"].count("data:image/webp;base64,") == min(12, outcome.report["unique_images"])
    assert re.match(r"\d+ calls to Plytix, \d+ uploads among them", plan["cost"])
    assert plan["report"]["metadata"]["dry_run"] is True
    assert "AMZN" in plan["changes"]
    done = place.sync()
    shown = metadata_of(place, done.run_id, "product_images")
    assert {**shown["report"], "errors": []} == {**done.report, "errors": [], "errors_in_all": 0}
    assert shown["report/links_created"] == 21
    everything = json.dumps([metadata_of(place, done.run_id, name) for name in ("listings", "assets")], default=str)
    assert place.plytix.api_password not in everything + json.dumps(shown, default=str)


@pytest.mark.slow
def test_poor_pictures_are_told_by_the_checks_and_go_to_plytix_all_the_same(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    with plytix_world(server, tmp_path, list(poor_listings().values())) as place:
        outcome = place.sync({"PLYTIX_STRATEGY": "patch"})
        assert outcome.status is runs.Status.COMPLETED, outcome
        place.assert_converged(place.amazon.listings)
        evaluated = {
            event.asset_check_evaluation_data.check_name: event.asset_check_evaluation_data
            for event in events(place, outcome.run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        }
    numbers = {name: check.metadata["number"].value for name, check in evaluated.items() if "number" in check.metadata}
    assert numbers == {
        "every_image_is_large_enough": 2,
        "every_image_can_be_decoded": 1,
        "every_main_image_has_a_white_background": 1,
        "no_listing_shows_an_image_twice": 1,
        "every_product_with_images_has_a_main_image": 1,
        "nothing_is_held_back": 0,
    }
    assert evaluated["every_listing_has_a_product"].passed
    assert {check.partition for check in evaluated.values()} == {"sandbox"}
    assert {check.severity for check in evaluated.values()} == {dg.AssetCheckSeverity.WARN}
