"""Where Dagster keeps its records: the installation's PostgreSQL, nothing that lasts in a clone, never astray."""

import os
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster_postgres import DagsterPostgresStorage

from imagesync_pipelines.defs.instance_storage import PASSING_FOLDER, InstallationStorage
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.installation import Locations, dagster_yaml
from imagesync_pipelines_tests.places import rows_of

VARIABLE = "IMAGESYNC_DAGSTER_URL"
_RECORDED_BY_A_CHILD = """
import sys
import dagster as dg
from dagster._core.instance.ref import InstanceRef
with dg.DagsterInstance.from_ref(InstanceRef.from_dir(sys.argv[1])) as instance:
    print([run.run_id for run in instance.get_runs()])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the dagster.yaml that the package ships."""
    (tmp_path / "dagster.yaml").write_text(dagster_yaml(), encoding="utf-8")
    return tmp_path


@dg.job
def nothing() -> None:
    """A job without an op."""


def test_an_installation_keeps_dagsters_records_in_its_postgresql(
    locations: Locations, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in locations.environment().items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        storage = instance.get_ref().storage
        assert isinstance(storage, DagsterPostgresStorage)
        assert storage.postgres_url == locations.dagster_url
        assert nothing.execute_in_process(instance=instance).success
        assert instance.get_runs_count() == 1


def test_an_instance_keeps_one_connection_makes_it_anew_when_it_is_lost_and_closes_it_at_its_end(
    postgres_instance: dg.DagsterInstance, locations: Locations
) -> None:
    def connections(column: str = "pid") -> list[int]:
        others = "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return [row[0] for row in rows_of(locations.dagster_url, f"SELECT {column} FROM pg_stat_activity {others}")]

    first = nothing.execute_in_process(instance=postgres_instance)
    kept = connections()
    assert len(kept) == 1
    assert nothing.execute_in_process(instance=postgres_instance).success
    assert connections() == kept
    assert connections("pg_terminate_backend(pid, 5000)") == [True]
    assert nothing.execute_in_process(instance=postgres_instance).success
    assert len(connections()) == 1
    assert {run.run_id for run in postgres_instance.get_runs()} > {first.run_id}
    postgres_instance.dispose()
    end = time.monotonic() + 10
    while connections() and time.monotonic() < end:
        time.sleep(0.02)
    assert connections() == []


def test_a_driver_that_dagster_cannot_use_is_replaced(locations: Locations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, locations.dagster_url.replace("postgresql+psycopg2://", "postgresql://"))
    storage = InstallationStorage.from_config_value(None, {"url_variable": VARIABLE})
    assert isinstance(storage, DagsterPostgresStorage)
    assert storage.postgres_url == locations.dagster_url


def test_an_installation_without_the_address_of_its_records_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(folder))
    with pytest.raises(StorageError, match=r"IMAGESYNC_DAGSTER_URL is not set.*imagesync env"):
        InstanceRef.from_dir(str(folder)).storage  # noqa: B018 - the property is what opens it


def test_without_an_installation_a_command_and_its_children_share_records_that_go_with_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(PASSING_FOLDER, str(tmp_path / "passing"))
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder))) as instance:
        assert isinstance(instance.get_ref().storage, DagsterSqliteStorage)
        run = nothing.execute_in_process(instance=instance).run_id
        command = [sys.executable, "-c", _RECORDED_BY_A_CHILD, str(folder)]
        child = subprocess.run(command, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == str([run])


def test_the_folder_of_a_command_without_an_installation_is_gone_when_it_ends(folder: Path) -> None:
    code = _RECORDED_BY_A_CHILD + f"import os; print(os.environ[{PASSING_FOLDER!r}])"
    child = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    runs, passing = child.stdout.split()
    assert runs == "[]"
    assert not Path(passing).exists()
    assert PASSING_FOLDER not in os.environ


def test_dagster_yaml_names_the_storage_of_installations() -> None:
    custom = yaml.safe_load(dagster_yaml())["storage"]["custom"]
    assert (custom["module"], custom["class"]) == (InstallationStorage.__module__, InstallationStorage.__qualname__)
