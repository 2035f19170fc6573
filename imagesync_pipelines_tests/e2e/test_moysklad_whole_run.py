"""Whole synchronisations of МойСклад through Dagster: first, nothing, changes, requests; what the UI shows."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from imagesync_pipelines.connectors.moysklad.connector import CONNECTOR
from imagesync_pipelines.connectors.moysklad.queue import NewRequest, Queue, State
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.sandbox.moysklad.making import MAIN
from imagesync_pipelines.sandbox.moysklad.mutation import mutate, night
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines_tests.moysklad_installations import MoyskladWorld, moysklad_world


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[MoyskladWorld]:
    """The demo's main account, and two children without images: one gets all of them, one the first."""
    with moysklad_world(server, tmp_path) as made:
        yield made


def metadata_of(place: MoyskladWorld, run_id: str, asset: str) -> dict[str, Any]:
    """What the UI shows of an asset that a run materialised."""
    with place.opened() as (_, instance):
        records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION).records
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is not None and event.asset_key == dg.AssetKey(["moysklad", asset]):
            shown = event.step_materialization_data.materialization.metadata
            return {name: value.value for name, value in shown.items()}
    raise LookupError(f"run {run_id} did not materialise {asset}")


@pytest.mark.slow
def test_first_run_then_nothing_then_what_changed(place: MoyskladWorld) -> None:
    first = place.sync()
    assert [one.status for one in first.values()] == [runs.Status.COMPLETED] * 2, first
    place.assert_converged()
    assert first["child-1"].summary["images_added"] == 54
    assert first["child-2"].summary["images_added"] == 18
    assert place.sandbox.counters.all() == ()

    place.sandbox.ledger.clear()
    again = place.sync()
    assert [one.summary["images_added"] + one.summary["images_updated"] for one in again.values()] == [0, 0]
    assert place.sandbox.calls() == 1, "one reading of the main account for both children"

    night(place.main)
    third = place.sync(full=True)
    assert all(one.status is not runs.Status.FAILED for one in third.values()), third
    gone = {code for code in place.shown("child-1") if code not in place.shown(MAIN)}
    assert len(gone) == 1
    place.assert_converged()


@pytest.mark.slow
def test_a_dry_run_writes_nothing_and_its_plan_can_be_applied_later(place: MoyskladWorld) -> None:
    dry = place.sync(accounts=["child-1"], dry_run=True)["child-1"]
    assert dry.plan is not None
    assert dry.plan.counts["add"] == 54
    assert not any(place.shown("child-1").values())
    with place.entered():
        done = runs.apply_plan(dry.plan.id)
    assert done.status is runs.Status.COMPLETED, done
    place.assert_converged({"child-1": "all"})
    assert not any(place.shown("child-2").values())


@pytest.mark.slow
def test_one_entity_or_one_type_can_be_asked_for(place: MoyskladWorld) -> None:
    chosen = place.main.by_code("product-1-00003")
    place.sync(accounts=["child-1"], entity=chosen.id)
    assert [code for code, images in place.shown("child-1").items() if images] == ["product-1-00003"]
    place.sync(accounts=["child-1"], entity_type="bundle")
    shown = [code for code, images in place.shown("child-1").items() if images]
    assert shown == ["product-1-00003", "bundle-1-00000", "bundle-1-00001"]


@pytest.mark.slow
def test_a_child_that_is_switched_off_is_skipped_with_the_sentence_what_to_do(place: MoyskladWorld) -> None:
    place.write_accounts({"child-1": "off", "child-2": "first"})
    place.sandbox.ledger.clear()
    outcomes = place.sync()
    assert list(outcomes) == ["child-2"]
    skipped = place.sync(accounts=["child-1"])["child-1"]
    assert skipped.status is runs.Status.PARTIAL, skipped
    assert skipped.summary["warnings"] == ["skipped: image sync is disabled for child-1; set its mode to first or all"]
    assert not any(place.shown("child-1").values())


@pytest.mark.slow
def test_a_request_is_worked_off_for_its_entity_alone(place: MoyskladWorld) -> None:
    place.sync()
    chosen, other = place.main.by_code("product-1-00001"), place.main.by_code("product-1-00002")
    for entity in (chosen, other):
        mutate(place.main, "add_image", entity=entity.id)
    with place.opened() as (installation, instance):
        queue = Queue(installation.engine)
        wishes = [NewRequest("child-1", "product", entity_id, "{}") for entity_id in (chosen.id, "no-such-entity")]
        queue.add(wishes, datetime.now(UTC))
        run = job_runs.run_of(CONNECTOR, "child-1", {"requests": True})
        job = build_definitions().resolve_job_def(run.job)
        result = job.execute_in_process(run_config=dict(run.run_config), tags=dict(run.tags), instance=instance)
        assert result.success
        view = queue.view()
        assert view.counts["child-1"] == {State.DONE: 2}
        assert "the main account does not have it any more" in view.errors[0].error
    shown = place.shown("child-1")
    assert len(shown["product-1-00001"]) == 4
    assert len(shown["product-1-00002"]) == 3, "nobody asked for it"


@pytest.mark.slow
def test_the_main_account_can_be_read_by_itself_without_any_child(place: MoyskladWorld) -> None:
    with place.opened() as (_, instance):
        job = build_definitions().resolve_job_def("moysklad__sync")
        chosen = [dg.AssetKey(["moysklad", "main_images"])]
        result = job.execute_in_process(instance=instance, asset_selection=chosen)
    assert result.success
    assert metadata_of(place, result.run_id, "main_images")["images/read"] == 54
    assert place.sandbox.calls("child-1") == 0


@pytest.mark.slow
def test_an_account_that_is_full_stops_no_other(place: MoyskladWorld) -> None:
    place.sandbox.account("child-1").account.quota = 20_000
    outcomes = place.sync()
    assert outcomes["child-1"].status is not runs.Status.COMPLETED
    assert outcomes["child-2"].status is runs.Status.COMPLETED
    place.assert_converged({"child-2": "first"})
    place.sandbox.account("child-1").account.quota = None
    place.sync()
    place.assert_converged()


@pytest.mark.slow
def test_the_ui_shows_costs_pictures_and_sentences_and_no_secret(place: MoyskladWorld) -> None:
    outcome = place.sync(accounts=["child-1"])["child-1"]
    shown = {
        name: metadata_of(place, outcome.run_id, name)
        for name in ("main_images", "entity_map", "plan", "content", "child_images")
    }
    assert shown["main_images"]["dagster/row_count"] == 18
    assert shown["entity_map"]["dagster/row_count"] == 18
    assert "calls" in shown["plan"]["cost"]
    assert shown["content"]["pictures"].count("data:image/webp;base64,") > 0
    assert shown["content"]["disk/bytes"] > 0
    assert shown["child_images"]["images/added"] == 54
    everything = json.dumps(shown, default=str)
    assert not [token for token in place.environment.values() if len(token) == 40 and token in everything]
