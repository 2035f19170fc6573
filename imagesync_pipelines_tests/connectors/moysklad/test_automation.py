"""Schedules and sensor of МойСклад on a real instance: what they start, what they leave alone, what they give back."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.moysklad.connector import CONNECTOR
from imagesync_pipelines.connectors.moysklad.queue import NewRequest, Queue, State
from imagesync_pipelines.defs import launching
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines.sync.job_runs import PARTITION_TAG
from imagesync_pipelines_tests.moysklad_installations import MoyskladWorld, moysklad_world

RESOURCES = {"installation": InstallationResource()}
MOMENT = datetime(2026, 11, 21, 9, 15, tzinfo=UTC)
THREE = {"child-1": "all", "child-2": "first", "child-3": "off"}


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[MoyskladWorld]:
    """Three child accounts, the last of them switched off."""
    with moysklad_world(server, tmp_path) as made:
        made.environment["MOYSKLAD_SANDBOX_CHILD_3"] = made.environment["MOYSKLAD_SANDBOX_CHILD_2"]
        made.write_accounts(THREE)
        yield made


def tick_of_schedule(instance: dg.DagsterInstance, name: str) -> Any:
    repository = build_definitions().get_repository_def()
    with dg.build_schedule_context(
        instance=instance, repository_def=repository, resources=RESOURCES, scheduled_execution_time=MOMENT
    ) as context:
        return repository.get_schedule_def(name).evaluate_tick(context)


def tick_of_sensor(instance: dg.DagsterInstance) -> Any:
    """What the sensor does at one tick, with the accounts as partitions, as the daemon evaluates it."""
    repository = build_definitions().get_repository_def()
    with (
        dg.build_sensor_context(instance=instance, repository_def=repository, resources=RESOURCES) as context,
        partition_loading_context(dynamic_partitions_store=instance),
    ):
        return repository.get_sensor_def("moysklad__requests").evaluate_tick(context)


def asked(data: Any) -> list[tuple[str | None, dict[str, Any]]]:
    """Account and options that are not as usual of every run that was asked for."""
    return [
        (request.partition_key, {name: value for name, value in main_of(request).items() if value and name != "since"})
        for request in data.run_requests or ()
    ]


def main_of(request: Any) -> dict[str, Any]:
    return dict(request.run_config["ops"]["moysklad__main_images"]["config"])


@pytest.mark.parametrize(("schedule", "full"), [("hourly", {}), ("daily_full", {"full": True})])
def test_a_schedule_starts_one_run_per_child_that_is_on_and_all_share_one_reading(
    place: MoyskladWorld, schedule: str, full: dict[str, bool]
) -> None:
    with place.opened() as (_, instance):
        instance.add_dynamic_partitions("moysklad_accounts", ["gone-last-year"])
        data = tick_of_schedule(instance, f"moysklad__sync__{schedule}")
        assert asked(data) == [("child-1", full), ("child-2", full)]
        assert {main_of(request)["since"] for request in data.run_requests} == {MOMENT.isoformat()}
        assert instance.get_dynamic_partitions("moysklad_accounts") == ["child-1", "child-2", "child-3"]


def test_an_hourly_run_leaves_a_child_at_work_alone_and_a_full_one_waits_for_it(place: MoyskladWorld) -> None:
    with place.opened() as (_, instance):
        tick_of_schedule(instance, "moysklad__sync__hourly")
        job = build_definitions().resolve_job_def("moysklad__sync")
        instance.create_run_for_job(job, tags={PARTITION_TAG: "child-1"})
        assert [child for child, _ in asked(tick_of_schedule(instance, "moysklad__sync__hourly"))] == ["child-2"]
        assert len(asked(tick_of_schedule(instance, "moysklad__sync__daily_full"))) == 2


def test_schedules_and_sensor_say_what_is_missing(place: MoyskladWorld) -> None:
    with place.opened(IMAGESYNC_ACCOUNTS="") as (_, instance):
        assert "no child accounts" in tick_of_schedule(instance, "moysklad__sync__hourly").skip_message
        assert "no child accounts" in tick_of_sensor(instance).skip_message
    place.write_accounts({"child-1": "off"})
    with place.opened() as (_, instance):
        assert "or switched off" in tick_of_schedule(instance, "moysklad__sync__hourly").skip_message


def test_the_sensor_starts_runs_for_what_is_due_once(place: MoyskladWorld) -> None:
    with place.opened() as (installation, instance):
        assert tick_of_sensor(instance).skip_message == "No request waits."
        queue, now = Queue(installation.engine), datetime.now(UTC)
        wish = NewRequest("child-2", "product", "1", "{}")
        queue.add([wish, wish._replace(child="child-1", priority=90), wish._replace(child="nobody")], now)
        first = tick_of_sensor(instance)
        assert asked(first) == [("child-1", {"requests": True}), ("child-2", {"requests": True})]
        assert "no child account nobody any more" in queue.view().errors[0].error
        assert queue.view().counts["nobody"] == {State.FAILED: 1}
        again = tick_of_sensor(instance)
        keys = [{request.run_key for request in data.run_requests} for data in (first, again)]
        assert keys[0] == keys[1] or datetime.now(UTC).minute % 10 == 0, "Dagster starts a key once"
        job = build_definitions().resolve_job_def("moysklad__sync")
        instance.create_run_for_job(job, tags={PARTITION_TAG: "child-1"})
        assert [child for child, _ in asked(tick_of_sensor(instance))] == ["child-2"]


@pytest.mark.parametrize(
    ("options", "job", "tags"),
    [
        ({}, "sync", {}),
        ({"dry_run": True}, "dry_run", {"imagesync/dry_run": "yes"}),
        ({"entity": "a1"}, "entities", {"imagesync/entity": "a1"}),
        ({"entity": "a1", "dry_run": True}, "dry_run", {"imagesync/entity": "a1", "imagesync/dry_run": "yes"}),
        ({"entity_type": "bundle"}, "entities", {}),
        ({"requests": True}, "entities", {}),
    ],
)
def test_a_run_is_called_by_what_it_is_about(options: dict[str, Any], job: str, tags: dict[str, str]) -> None:
    run = job_runs.run_of(CONNECTOR, "child-1", options)
    assert (run.job, run.tags) == (f"moysklad__{job}", {PARTITION_TAG: "child-1", **tags})


def test_what_a_run_that_died_held_is_given_back(place: MoyskladWorld) -> None:
    with place.opened() as (installation, instance):
        queue, past = Queue(installation.engine), datetime.now(UTC) - timedelta(minutes=2)
        queue.add([NewRequest("child-1", "product", "1", "{}")], past)
        job = build_definitions().resolve_job_def("moysklad__sync")
        run = instance.create_run_for_job(job, tags={PARTITION_TAG: "child-1"})
        queue.take("child-1", run.run_id, past)
        tick_of_sensor(instance)
        assert queue.view().total(State.RUNNING) == 1, "its run is still at work"
        instance.report_run_canceled(run)
        tick_of_sensor(instance)
        assert queue.view().total(State.PENDING) == 1
        assert run.run_id in queue.view().errors[0].error


def test_child_accounts_are_chosen_by_name_or_by_being_on(place: MoyskladWorld) -> None:
    with place.entered():
        accounts = load_accounts(load_settings(Settings))
        assert launching.chosen_accounts(CONNECTOR, accounts, ()) == ["child-1", "child-2"]
        assert launching.chosen_accounts(CONNECTOR, accounts, ["child-3"]) == ["child-3"]
        with pytest.raises(SettingsError, match="no child account 'fourth'"):
            launching.chosen_accounts(CONNECTOR, accounts, ["fourth"])
    with place.entered(IMAGESYNC_ACCOUNTS=""), pytest.raises(SettingsError, match="no child accounts"):
        launching.chosen_accounts(CONNECTOR, load_accounts(load_settings(Settings)), ())
