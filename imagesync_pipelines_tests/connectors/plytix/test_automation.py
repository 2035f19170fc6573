"""Schedule and sensor of Plytix on a real instance: what they start, what they leave alone, what they remember."""

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.partitions.context import partition_loading_context

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.plytix.connector import CONNECTOR
from imagesync_pipelines.connectors.plytix.sources import mapping_files
from imagesync_pipelines.defs import launching
from imagesync_pipelines.defs.assets import GOES_ON_TAG
from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.defs.plytix import FilesSeen
from imagesync_pipelines.defs.runs import Status
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.objects import embedded_s3
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines.sync.job_runs import PARTITION_TAG
from imagesync_pipelines_tests.plytix_installations import PlytixWorld, plytix_world

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
        instance=instance, repository_def=repository, scheduled_execution_time=moment
    ) as context:
        return repository.get_schedule_def("plytix__sync__daily").evaluate_tick(context)


def tick_of_sensor(instance: dg.DagsterInstance, cursor: str | None) -> Any:
    """What the sensor does at one tick, with the accounts as partitions, as the daemon evaluates it."""
    repository = build_definitions().get_repository_def()
    with (
        dg.build_sensor_context(instance=instance, repository_def=repository, cursor=cursor) as context,
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
        assert FilesSeen.of(second.cursor).seen["other"].keys() == {str(folder / "b.json")}, "a.json is not forgotten"


PERSON, ITSELF, EARLIER = {}, launching.BY_ITSELF, launching.BY_ITSELF_EARLIER
SOON, LONG_AGO = datetime.now(UTC) + timedelta(minutes=40), datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("runs", "asks", "says"),
    [
        pytest.param([("a.json", LONG_AGO, ITSELF)], ["a.json"], "", id="calls are free again"),
        pytest.param([("a.json", LONG_AGO, EARLIER)], ["a.json"], "", id="of the release before"),
        pytest.param([("a.json", SOON, ITSELF)], [], "used up until", id="calls are used up"),
        pytest.param([("a.json", LONG_AGO, EARLIER), ("a.json", None, ITSELF)], ["b.json"], "", id="it has gone on"),
        pytest.param([("a.json", LONG_AGO, PERSON)], ["b.json"], "", id="a person's run"),
        pytest.param([("", LONG_AGO, ITSELF), ("x.json", None, PERSON)], [""], "", id="a person's run since"),
    ],
)
def test_what_waits_for_the_accounts_calls_goes_on_before_another_file_is_begun(
    place: PlytixWorld, runs: list[tuple[str, datetime | None, dict[str, str]]], asks: list[str], says: str
) -> None:
    put(folder_of(place) / "b.json", "{}", age=30)
    with place.opened() as (_, instance):
        files = {file.path: file.mark for file in mapping_files(str(folder_of(place)), Settings())}
        seen = {"other": files, "sandbox": {path: mark for path, mark in files.items() if Path(path).name == "a.json"}}
        for mapping, goes_on_at, marks in runs:
            run = job_runs.run_of(CONNECTOR, "sandbox", {"mapping": mapping})
            request = launching.request_of(run, tags=marks)
            tags = {PARTITION_TAG: "sandbox"} | dict(request.tags)
            made = instance.create_run_for_job(
                build_definitions().resolve_job_def("plytix__sync"),
                run_config=request.run_config,
                tags=tags | ({GOES_ON_TAG: goes_on_at.isoformat()} if goes_on_at else {}),
            )
            instance.report_run_canceled(made)
        data = tick_of_sensor(instance, FilesSeen(seen=seen).model_dump_json())
        assert asked(data) == [("sandbox", name) for name in asks]
        assert says in (data.skip_message or "")


def test_a_run_that_begins_with_the_hour_spent_ends_with_a_warning_and_tells_when_it_goes_on(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    with plytix_world(server, tmp_path / "place", limits=((100, 10), (40, 3600))) as place:
        place.plytix.windows.hit(40)
        done = place.sync()
        assert (done.status, done.error) == (Status.PARTIAL, "")
        assert (done.report["total_products"], done.report["links_created"], done.report["errors"]) == (20, 0, [])
        assert place.calls() == 1
        with place.opened() as (_, instance):
            run = instance.get_run_by_id(done.run_id)
            assert run is not None
            left = datetime.fromisoformat(run.tags[GOES_ON_TAG]) - datetime.now(UTC)
            assert timedelta(0) < left <= timedelta(hours=1)
            logged = instance.all_logs(done.run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
            events = [entry.dagster_event for entry in logged if entry.dagster_event is not None]
            checks = {event.asset_check_evaluation_data.check_name: event for event in events}
            told = checks["every_listing_has_a_product"].asset_check_evaluation_data
            assert not told.passed, "nobody looked"


@pytest.mark.slow
def test_a_file_in_s3_is_seen_synchronised_and_seen_again_when_it_changed(place: PlytixWorld, tmp_path: Path) -> None:
    stored = tmp_path / "s3" / "product-images" / "mappings" / "a.json"
    stored.parent.mkdir(parents=True)
    put(stored, place.mapping.read_text(), age=60)
    with embedded_s3(tmp_path / "s3") as store:
        more = {
            "PLYTIX_MAPPING_FOLDER": "s3://product-images/mappings",
            "PLYTIX_STRATEGY": "patch",
            "PLYTIX_QUALITY_SAMPLE": "0",
            "IMAGESYNC_S3_ENDPOINT_URL": store.endpoint_url,
            "IMAGESYNC_S3_ACCESS_KEY": store.access_key,
            "IMAGESYNC_S3_SECRET_KEY": store.secret_key.get_secret_value(),
        }
        with place.opened(**more) as (_, instance):
            first = tick_of_sensor(instance, None)
            assert asked(first) == [("other", "a.json"), ("sandbox", "a.json")]
            assert asked(tick_of_sensor(instance, first.cursor)) == []
        mapping = first.run_requests[1].run_config["ops"]["plytix__listings"]["config"]["mapping"]
        assert place.sync(more, mapping=mapping, account="sandbox").status is Status.COMPLETED
        place.assert_converged(place.amazon.listings)
        # By now the store looks into its folder again.
        put(stored, '{"matched": []}', age=30)
        with place.opened(**more) as (_, instance):
            assert asked(tick_of_sensor(instance, first.cursor)) == [("other", "a.json"), ("sandbox", "a.json")]


def test_a_folder_that_cannot_be_read_forgets_nothing(place: PlytixWorld) -> None:
    with place.opened() as (_, instance):
        first = tick_of_sensor(instance, None)
    with place.opened(PLYTIX_MAPPING_FOLDER="/nowhere") as (_, instance):
        data = tick_of_sensor(instance, first.cursor)
        assert "PLYTIX_MAPPING_FOLDER: /nowhere cannot be read" in data.skip_message
        assert data.cursor in (None, first.cursor)


@pytest.mark.parametrize("cursor", [None, "", "[]", '{"seen": 3}', '{"seen": {"a": 1}}', "not json"])
def test_a_broken_cursor_is_an_empty_memory(cursor: str | None) -> None:
    assert FilesSeen.of(cursor) == FilesSeen()


def test_the_memory_forgets_accounts_and_files_that_are_gone(place: PlytixWorld) -> None:
    (file,) = mapping_files(str(folder_of(place)), Settings())
    there = {file.path: file.mark}
    before = FilesSeen(seen={"gone-last-year": there, "other": {**there, "/gone.json": "1"}})
    with place.opened() as (_, instance):
        data = tick_of_sensor(instance, before.model_dump_json())
    assert asked(data) == [("sandbox", "a.json")]
    assert FilesSeen.of(data.cursor) == FilesSeen(seen={"other": there, "sandbox": there})


def test_an_account_is_chosen_by_its_alias_or_by_being_the_only_one(place: PlytixWorld) -> None:
    with place.entered():
        accounts = load_accounts(load_settings(Settings))
        assert launching.chosen_accounts(CONNECTOR, accounts, ["other"]) == ["other"]
        with pytest.raises(SettingsError, match=r"several Plytix accounts \(other, sandbox\).*--plytix-account"):
            launching.chosen_accounts(CONNECTOR, accounts, [])
        with pytest.raises(SettingsError, match="third"):
            launching.chosen_accounts(CONNECTOR, accounts, ["third"])
    with place.entered(IMAGESYNC_ACCOUNTS=""), pytest.raises(SettingsError, match="no Plytix accounts"):
        launching.chosen_accounts(CONNECTOR, load_accounts(load_settings(Settings)), [])
