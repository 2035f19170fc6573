"""Schedules and sensors of the edge on a real instance: what they start, what they leave alone, what they remember."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.edge.connector import CONNECTOR
from imagesync_pipelines.defs import launching
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.defs.edge import NewsSeen
from imagesync_pipelines.defs.resources import InstallationResource
from imagesync_pipelines.sandbox.faults import server_error
from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox
from imagesync_pipelines.sandbox.head_office.watching import DOWNLOAD, LISTING
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.sync.job_runs import PARTITION_TAG
from imagesync_pipelines_tests.edge_installations import EdgeWorld, edge_world, head_office

RESOURCES = {"installation": InstallationResource()}


@pytest.fixture(scope="module")
def office(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HeadOfficeSandbox]:
    """A small head office."""
    with head_office(server, tmp_path_factory.mktemp("office"), photos=9) as running:
        yield running


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path, office: HeadOfficeSandbox) -> Iterator[EdgeWorld]:
    """Two stores that were never synchronised."""
    office.faults.clear()
    with edge_world(server, tmp_path / "place", office) as made:
        yield made


def tick_of_schedule(
    instance: dg.DagsterInstance, name: str, moment: datetime = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
) -> Any:
    """What a schedule asks for at one tick."""
    repository = build_definitions().get_repository_def()
    with dg.build_schedule_context(
        instance=instance, repository_def=repository, resources=RESOURCES, scheduled_execution_time=moment
    ) as context:
        return repository.get_schedule_def(name).evaluate_tick(context)


def tick_of_sensor(instance: dg.DagsterInstance, cursor: str | None, name: str = "edge__new_photos") -> Any:
    """What a sensor does at one tick, with the stores as partitions, as the daemon evaluates it."""
    repository = build_definitions().get_repository_def()
    with (
        dg.build_sensor_context(
            instance=instance, repository_def=repository, resources=RESOURCES, cursor=cursor
        ) as context,
        partition_loading_context(dynamic_partitions_store=instance),
    ):
        return repository.get_sensor_def(name).evaluate_tick(context)


def stores_of(data: Any) -> list[str | None]:
    return [request.partition_key for request in data.run_requests or ()]


def is_full(request: dg.RunRequest) -> bool:
    return bool(request.run_config["ops"]["edge__photo_listing"]["config"]["full"])


def test_schedules_start_one_run_per_store_and_keep_the_partitions_equal_to_the_file(place: EdgeWorld) -> None:
    with place.opened() as (_, instance):
        instance.add_dynamic_partitions("edge_stores", ["closed-last-year"])
        hourly = tick_of_schedule(instance, "edge__sync__hourly")
        assert stores_of(hourly) == ["store1", "store2"]
        assert not any(map(is_full, hourly.run_requests))
        assert instance.get_dynamic_partitions("edge_stores") == ["store1", "store2"]
        daily = tick_of_schedule(instance, "edge__sync__daily_full")
        assert stores_of(daily) == ["store1", "store2"]
        assert all(map(is_full, daily.run_requests))
        assert stores_of(tick_of_schedule(instance, "edge__scrub__weekly")) == ["store1", "store2"]


def test_the_hourly_schedule_leaves_out_stores_at_work_and_the_minute_of_the_daily_one(place: EdgeWorld) -> None:
    with place.opened() as (_, instance):
        run = instance.create_run_for_job(
            build_definitions().resolve_job_def("edge__sync"), tags={PARTITION_TAG: "store1"}
        )
        assert run.status is dg.DagsterRunStatus.NOT_STARTED
        assert stores_of(tick_of_schedule(instance, "edge__sync__hourly")) == ["store2"]
        assert stores_of(tick_of_schedule(instance, "edge__sync__daily_full")) == ["store1", "store2"]
        # 02:00 in Berlin, in winter.
        at_two = tick_of_schedule(instance, "edge__sync__hourly", datetime(2026, 11, 21, 1, 0, tzinfo=UTC))
        assert stores_of(at_two) == []
        assert "daily full run" in at_two.skip_message


def test_the_sensor_starts_a_run_for_news_only_and_once_for_the_same(place: EdgeWorld) -> None:
    with place.opened() as (_, instance):
        first = tick_of_sensor(instance, None)
        assert stores_of(first) == ["store1", "store2"], "never listed"
    place.run(full=True)
    place.run("store2", full=True)
    with place.opened() as (_, instance):
        place.office.ledger.clear()
        quiet = tick_of_sensor(instance, first.cursor)
        assert stores_of(quiet) == []
        assert "store1: no photo newer than" in quiet.skip_message
        assert place.office.ledger.count(LISTING) == 2, "one call a store"
        assert place.office.ledger.count(DOWNLOAD) == 0
        place.office.mutate("replace")
        news = tick_of_sensor(instance, quiet.cursor)
        assert "store1" in stores_of(news)
        assert not any(map(is_full, news.run_requests))
        assert stores_of(tick_of_sensor(instance, news.cursor)) == [], "the same news start no second run"
    place.run()
    place.run("store2")
    with place.opened() as (_, instance):
        assert stores_of(tick_of_sensor(instance, news.cursor)) == []


def test_the_sensor_hears_of_deletions_where_the_head_office_tells_them(place: EdgeWorld) -> None:
    place.run(full=True)
    place.run("store2", full=True)
    place.office.mutate("delete_row")
    with place.opened() as (_, instance):
        assert "store1" in stores_of(tick_of_sensor(instance, None))


def test_a_head_office_that_cannot_be_asked_starts_nothing_and_forgets_nothing(place: EdgeWorld) -> None:
    place.run(full=True)
    place.run("store2", full=True)
    place.office.faults.add(server_error(503).for_good())
    with place.opened(EDGE_TRIES="1") as (_, instance):
        cursor = NewsSeen(seen={"store1": "some news"}).model_dump_json()
        data = tick_of_sensor(instance, cursor)
        assert stores_of(data) == []
        assert "could not be asked" in data.skip_message
        assert NewsSeen.of(data.cursor).seen == {"store1": "some news"}


def test_a_broken_cursor_is_an_empty_memory() -> None:
    for cursor in (None, "", "[]", '{"seen": 3}', "not json"):
        assert NewsSeen.of(cursor) == NewsSeen()
    memory = NewsSeen(seen={"b": "1", "gone": "2"}, asked_last="b")
    assert memory.in_turn(["a", "b", "c"]) == ["c", "a", "b"]
    memory.remember({"a": "3"}, ["a", "b"])
    assert NewsSeen.of(memory.model_dump_json()) == NewsSeen(seen={"b": "1", "a": "3"}, asked_last="b")


def test_a_run_that_takes_too_long_fails_its_check_once_while_it_is_at_work(place: EdgeWorld) -> None:
    with place.opened(EDGE_MAX_RUN_MINUTES="0.001") as (_, instance):
        job = build_definitions().resolve_job_def("edge__sync")
        run = instance.create_run_for_job(job, tags={PARTITION_TAG: "store1"})
        started = dg.DagsterEvent(dg.DagsterEventType.PIPELINE_START.value, "edge__sync")
        instance.report_dagster_event(started, run.run_id)
        late = tick_of_sensor(instance, None, "edge__overdue_runs")
        assert [event.check_name for event in late.asset_events] == ["every_run_ends_in_time"]
        assert late.asset_events[0].partition == "store1"
        assert not late.asset_events[0].passed
        again = tick_of_sensor(instance, late.cursor, "edge__overdue_runs")
        assert list(again.asset_events) == []


def test_stores_are_chosen_by_name_or_all(place: EdgeWorld) -> None:
    with place.entered():
        accounts = load_accounts(load_settings(Settings))
        assert launching.chosen_accounts(CONNECTOR, accounts, ()) == ["store1", "store2"]
        assert launching.chosen_accounts(CONNECTOR, accounts, ["store2"]) == ["store2"]
        with pytest.raises(SettingsError, match="store3"):
            launching.chosen_accounts(CONNECTOR, accounts, ["store3"])
    with place.entered(IMAGESYNC_ACCOUNTS=""), pytest.raises(SettingsError, match="IMAGESYNC_ACCOUNTS"):
        launching.chosen_accounts(CONNECTOR, load_accounts(load_settings(Settings)), ())
