"""The dagster.yaml files for several hosts: by Dagster's own schemas, alike where nothing differs, without a secret."""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._config import process_config, resolve_to_config_type
from dagster._core.storage.compute_log_manager import ComputeIOType

from imagesync_pipelines.defs import scaling
from imagesync_pipelines.defs.celery_launcher import CheckedCeleryRunLauncher
from imagesync_pipelines.defs.compute_logs import InstallationComputeLogs
from imagesync_pipelines.defs.liveness import close_dead_runs
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.installation import Locations, open_locations
from imagesync_pipelines_tests.generated import ROOT
from imagesync_pipelines_tests.object_stores import SERVERS
from imagesync_pipelines_tests.places import entered
from imagesync_pipelines_tests.test_root_files import instance_errors, read_yaml

FILES = ("celery", "kubernetes", "docker")
BLOCKS = ("run_launcher", "run_coordinator", "compute_logs")
CELERY = ROOT / "deploy" / "dagster" / "celery.yaml"


@dg.job
def some_job() -> None:
    """Does nothing."""


def block_errors(block: dict[str, Any]) -> list[str]:
    """What a class that is named in a dagster.yaml has against its settings."""
    kind = getattr(import_module(block["module"]), block["class"])
    return [
        one.message for one in process_config(resolve_to_config_type(kind.config_type()), block["config"]).errors or ()
    ]


def variables(value: object) -> set[str]:
    """The variables that a document takes values from."""
    if isinstance(value, dict):
        named = {value["env"]} if set(value) == {"env"} else set()
        return named.union(*map(variables, value.values()))
    return set().union(*map(variables, value)) if isinstance(value, list) else set()


@pytest.fixture(params=FILES)
def document(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A file, with its variables set."""
    read = read_yaml(f"deploy/dagster/{request.param}.yaml")
    for name in variables(read):
        monkeypatch.setenv(name, "something")
    return read


def test_dagster_and_each_class_accept_what_the_file_says(document: dict[str, Any]) -> None:
    assert instance_errors(document) == []
    assert [error for name in BLOCKS for error in block_errors(document[name])] == []


def test_a_misspelt_setting_of_a_launcher_is_found(document: dict[str, Any]) -> None:
    launcher = document["run_launcher"]
    assert block_errors({**launcher, "config": {**launcher["config"], "imagee": "x"}})


def test_what_is_not_about_hosts_is_as_on_one_host(document: dict[str, Any]) -> None:
    one = read_yaml("dagster.yaml")
    alike = ("storage", "run_retries", "retention", "sensors", "schedules", "backfills", "telemetry", "nux")
    assert {name: document[name] for name in alike} == {name: one[name] for name in alike}
    assert document["concurrency"]["pools"] == one["concurrency"]["pools"]
    assert document["run_monitoring"]["max_runtime_seconds"] == one["run_monitoring"]["max_runtime_seconds"]
    assert document["run_coordinator"]["config"]["dequeue_interval_seconds"] == 1


def test_the_instance_and_its_parts_are_made_from_the_file_that_the_setting_names(
    locations: Locations, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        **locations.environment(),
        "IMAGESYNC_DAGSTER_YAML": str(CELERY),
        "IMAGESYNC_STORAGE_URL": "s3://kept/images",
        "IMAGESYNC_CELERY_BROKER": "memory://",
        "IMAGESYNC_CELERY_BACKEND": "cache+memory://",
    }
    monkeypatch.setattr("imagesync_pipelines.storage.installation.check_root", lambda root: None)
    with entered(settings):
        made = open_locations(load_settings(Settings))
        assert (made.dagster_home / "dagster.yaml").read_text(encoding="utf-8") == CELERY.read_text(encoding="utf-8")
        assert made.environment()["IMAGESYNC_DAGSTER_YAML"] == str(CELERY)
        with dg.DagsterInstance.from_config(os.fspath(made.dagster_home)) as instance:
            assert isinstance(instance.run_launcher, CheckedCeleryRunLauncher)
            assert instance.run_monitoring_enabled
            queue = instance.get_concurrency_config().run_queue_config
            assert queue is not None
            assert queue.max_concurrent_runs == 8
            assert scaling.refusals(instance, load_settings(Settings)) == []
            instance.run_launcher.slots = lambda: 6
            assert "is 8, and the workers that answer have 6 slots" in (scaling.slots_missing(instance) or "")
            instance.run_launcher.slots = lambda: 8
            assert scaling.slots_missing(instance) is None
            found = scaling.refusals(instance, Settings(database_url=None, storage_url=None))
            assert [line.partition(":")[0] for line in found] == ["IMAGESYNC_DATABASE_URL", "IMAGESYNC_STORAGE_URL"]
            for local in ("file:///data", "/data"):
                assert len(scaling.refusals(instance, load_settings(Settings, storage_url=local))) == 1


@pytest.mark.parametrize("name", ["kubernetes", "docker"])
def test_where_the_launcher_cannot_be_made_it_is_judged_by_its_class(
    name: str, locations: Locations, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = str(ROOT / "deploy" / "dagster" / f"{name}.yaml")
    monkeypatch.delenv("IMAGESYNC_IMAGE", raising=False)
    monkeypatch.setattr("imagesync_pipelines.storage.installation.check_root", lambda root: None)
    with entered(locations.environment(), IMAGESYNC_DAGSTER_YAML=file, IMAGESYNC_STORAGE_URL="s3://kept/images"):
        made = open_locations(load_settings(Settings))
        with dg.DagsterInstance.from_config(os.fspath(made.dagster_home)) as instance:
            with pytest.raises(Exception, match="IMAGESYNC_"):
                instance.run_launcher  # noqa: B018 - it is made when it is asked for
            assert scaling.refusals(instance, load_settings(Settings)) == []
            assert len(scaling.refusals(instance, Settings(database_url=None, storage_url=None))) == 2
            assert scaling.slots_missing(instance) is None
            instance.create_run_for_job(some_job, status=dg.DagsterRunStatus.STARTING)
            assert close_dead_runs(instance, database, lambda seconds: None) == []


def test_a_dagster_yaml_that_is_not_there_is_told(locations: Locations, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, database_url=locations.database_url, dagster_yaml=tmp_path / "no.yaml")
    with pytest.raises(SettingsError, match=r"^IMAGESYNC_DAGSTER_YAML: .*no\.yaml cannot be read"):
        open_locations(settings)


def test_runs_on_this_host_need_nothing_and_have_no_slots(postgres_instance: dg.DagsterInstance) -> None:
    assert scaling.refusals(postgres_instance, Settings(database_url=None, storage_url=None)) == []
    assert scaling.slots_missing(postgres_instance) is None


def test_new_connections_are_counted_whoever_makes_them(database_url: str) -> None:
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)

    def some_come(seconds: float) -> None:
        for _ in range(10):
            with engine.connect() as connection:
                connection.execute(sa.text("SELECT 1"))

    assert 1.0 <= scaling.connections_per_second(engine, 5.0, some_come) <= 3.0


@pytest.mark.parametrize("store", SERVERS)
def test_what_a_run_on_one_host_prints_is_read_on_another(store: str, tmp_path: Path) -> None:
    key = ["a-run", "compute_logs", "a-step"]
    with SERVERS[store](tmp_path / "objects") as place:
        shared = {
            "IMAGESYNC_STORAGE_URL": f"s3://{place.bucket}/kept",
            "IMAGESYNC_S3_ENDPOINT_URL": place.endpoint_url,
            "IMAGESYNC_S3_ACCESS_KEY": place.access_key,
            "IMAGESYNC_S3_SECRET_KEY": place.secret_key.get_secret_value(),
        }
        with entered(shared, IMAGESYNC_HOME=str(tmp_path / "one")):
            here = InstallationComputeLogs.from_config_value(None, {"upload_interval": 30})
            with here.open_log_stream(key, ComputeIOType.STDERR) as stream:
                stream.write("said on one host")
        with entered(shared, IMAGESYNC_HOME=str(tmp_path / "another")):
            there = InstallationComputeLogs.from_config_value(None, {"upload_interval": 30})
            assert (there.get_log_data(key).stderr or b"").decode() == "said on one host"
    for manager in (here, there):
        manager.dispose()


def test_logs_of_several_hosts_without_a_bucket_are_refused() -> None:
    with (
        entered({"IMAGESYNC_STORAGE_URL": "file:///data"}),
        pytest.raises(SettingsError, match="IMAGESYNC_STORAGE_URL"),
    ):
        InstallationComputeLogs.from_config_value(None, {"upload_interval": 30})
