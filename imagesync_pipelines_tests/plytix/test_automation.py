"""Schedule and sensor of Plytix on a real instance: what they start, what they leave alone, what they remember."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context

from imagesync_pipelines.accounts import load_accounts
from imagesync_pipelines.definitions import build_definitions
from imagesync_pipelines.operations.partitions import PARTITION_TAG
from imagesync_pipelines.operations.resources import HouseResource
from imagesync_pipelines.plytix.automation import starting
from imagesync_pipelines.plytix.automation.sensors import Memory
from imagesync_pipelines.plytix.resources import PlytixResource
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.plytix_installations import PlytixWorld, plytix_world

RESOURCES = {"house": HouseResource(), "plytix": PlytixResource()}
SECOND_ACCOUNT = """
[plytix.accounts.other]
api_key = "env:PLYTIX_SANDBOX_KEY"
api_password = "env:PLYTIX_SANDBOX_PASSWORD"
"""


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[PlytixWorld]:
    """Two accounts, and a folder of mapping files with one file that has been there for a while."""
    with plytix_world(server, tmp_path / "place") as made:
        accounts = Path(made.environment["IMAGESYNC_ACCOUNTS"])
        accounts.write_text(accounts.read_text() + SECOND_ACCOUNT)
        folder = tmp_path / "mappings"
        folder.mkdir()
        made.environment["PLYTIX_MAPPING_FOLDER"] = str(folder)
        put(folder / "a.json", "{}", age=60)
        yield made


def put(path: Path, text: str, age: float) -> None:
    path.write_text(text)
    written = time.time() - age
    os.utime(path, (written, written))


def folder_of(place: PlytixWorld) -> Path:
    return Path(place.environment["PLYTIX_MAPPING_FOLDER"])


def tick_of_schedule(instance: dg.DagsterInstance) -> Any:
    repository = build_definitions().get_repository_def()
    moment = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
    with dg.build_schedule_context(
        instance=instance, repository_def=repository, resources=RESOURCES, scheduled_execution_time=moment
    ) as context:
        return repository.get_schedule_def("plytix__sync__daily").evaluate_tick(context)


def tick_of_sensor(instance: dg.DagsterInstance, cursor: str | None) -> Any:
    """What the sensor does at one tick, with the accounts as partitions, as the daemon evaluates it."""
    repository = build_definitions().get_repository_def()
    with (
        dg.build_sensor_context(
            instance=instance, repository_def=repository, resources=RESOURCES, cursor=cursor
        ) as context,
        partition_loading_context(dynamic_partitions_store=instance),
    ):
        return repository.get_sensor_def("plytix__new_mapping").evaluate_tick(context)


def asked(data: Any) -> list[tuple[str | None, str]]:
    """Account and mapping file of every run that was asked for."""
    return [
        (request.partition_key, Path(request.run_config["ops"]["plytix__listings"]["config"]["mapping"]).name)
        for request in data.run_requests or ()
    ]


def test_the_schedule_starts_one_run_per_account_over_the_whole_folder(place: PlytixWorld) -> None:
    with place.opened() as (_, instance):
        instance.add_dynamic_partitions("plytix_accounts", ["gone-last-year"])
        assert asked(tick_of_schedule(instance)) == [("other", ""), ("sandbox", "")]
        assert instance.get_dynamic_partitions("plytix_accounts") == ["other", "sandbox"]
        job = build_definitions().resolve_job_def("plytix__sync")
        instance.create_run_for_job(job, tags={PARTITION_TAG: "other"})
        assert asked(tick_of_schedule(instance)) == [("sandbox", "")]


def test_the_schedule_says_what_is_missing(place: PlytixWorld) -> None:
    with place.opened(PLYTIX_MAPPING_FOLDER="") as (_, instance):
        assert "PLYTIX_MAPPING_FOLDER is not set" in tick_of_schedule(instance).skip_message
        assert "PLYTIX_MAPPING_FOLDER is not set" in tick_of_sensor(instance, None).skip_message
    with place.opened(IMAGESYNC_ACCOUNTS="") as (_, instance):
        assert "no Plytix accounts" in tick_of_schedule(instance).skip_message
        assert "no Plytix accounts" in tick_of_sensor(instance, None).skip_message


def test_the_sensor_starts_a_run_for_a_file_once_and_again_when_it_changed(place: PlytixWorld) -> None:
    folder = folder_of(place)
    with place.opened() as (_, instance):
        first = tick_of_sensor(instance, None)
        assert asked(first) == [("other", "a.json"), ("sandbox", "a.json")]
        quiet = tick_of_sensor(instance, first.cursor)
        assert asked(quiet) == []
        assert "sandbox: none of 1 mapping files is new" in quiet.skip_message
        put(folder / "a.json", '{"matched": []}', age=30)
        changed = tick_of_sensor(instance, quiet.cursor)
        assert asked(changed) == [("other", "a.json"), ("sandbox", "a.json")]
        put(folder / "b.json", "{", age=0)
        assert asked(tick_of_sensor(instance, changed.cursor)) == [], "somebody is still writing it"
        put(folder / "b.json", "{}", age=10)
        assert asked(tick_of_sensor(instance, changed.cursor)) == [("other", "b.json"), ("sandbox", "b.json")]


def test_files_come_one_at_a_time_and_wait_for_an_account_at_work(place: PlytixWorld) -> None:
    folder = folder_of(place)
    put(folder / "b.json", "{}", age=120)
    with place.opened() as (_, instance):
        first = tick_of_sensor(instance, None)
        assert asked(first) == [("other", "b.json"), ("sandbox", "b.json")], "the oldest first"
        job = build_definitions().resolve_job_def("plytix__sync")
        instance.create_run_for_job(job, tags={PARTITION_TAG: "other"})
        second = tick_of_sensor(instance, first.cursor)
        assert asked(second) == [("sandbox", "a.json")]
        assert Memory.of(second.cursor).of_account("other").keys() == {str(folder / "b.json")}, (
            "a.json is not forgotten"
        )


def test_a_folder_that_cannot_be_read_forgets_nothing(place: PlytixWorld) -> None:
    with place.opened() as (_, instance):
        first = tick_of_sensor(instance, None)
    with place.opened(PLYTIX_MAPPING_FOLDER="/nowhere") as (_, instance):
        data = tick_of_sensor(instance, first.cursor)
        assert "PLYTIX_MAPPING_FOLDER: /nowhere cannot be read" in data.skip_message
        assert data.cursor in (None, first.cursor)


@pytest.mark.parametrize("cursor", [None, "", "[]", '{"seen": 3}', '{"seen": {"a": 1}}', "not json"])
def test_a_broken_cursor_is_an_empty_memory(cursor: str | None) -> None:
    assert Memory.of(cursor) == Memory()


def test_the_memory_forgets_accounts_and_files_that_are_gone() -> None:
    memory = Memory({"a": {"x": "1", "y": "2"}, "b": {"x": "1"}})
    memory.forget_others(["a"], ["x"])
    assert Memory.of(memory.as_cursor()) == Memory({"a": {"x": "1"}})


def test_an_account_is_chosen_by_its_alias_or_by_being_the_only_one(place: PlytixWorld) -> None:
    with place.entered():
        accounts = load_accounts(load_settings(Settings))
        assert starting.chosen_account(accounts, "other") == "other"
        with pytest.raises(SettingsError, match=r"several Plytix accounts \(other, sandbox\).*--plytix-account"):
            starting.chosen_account(accounts, None)
        with pytest.raises(SettingsError, match="third"):
            starting.chosen_account(accounts, "third")
    with place.entered(IMAGESYNC_ACCOUNTS=""), pytest.raises(SettingsError, match="no Plytix accounts"):
        starting.chosen_account(load_accounts(load_settings(Settings)), None)
