"""Where Dagster keeps its records: the installation's PostgreSQL, nothing that lasts in a clone, never astray."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import psycopg2.extensions  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster_postgres import DagsterPostgresStorage

from imagesync_pipelines.defs import instance_storage
from imagesync_pipelines.defs.instance_storage import PASSING_FOLDER, InstallationStorage
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.errors import DatabaseUnreachableError, StorageError, TransactionPoolerError
from imagesync_pipelines.storage.installation import Locations, dagster_yaml
from imagesync_pipelines_tests.cli.terminals import COMMAND
from imagesync_pipelines_tests.places import databases, entered, execute, opened, rows_of
from imagesync_pipelines_tests.poolers import pgbouncer, through

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


def test_dagster_copies_of_an_env_file_only_what_libraries_read_into_its_processes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run reads ours anew: a corrected password works without a restart, and the environment wins."""
    ours = "IMAGE_API_PASSWORD=the-old-one\nIMAGE_API_USERNAME=reader\nSMTP_PROXY=other\n"
    wanted = {"HTTPS_PROXY": "http://proxy:3128", "REQUESTS_CA_BUNDLE": "/ca.pem", "AWS_PROFILE": "photos"}
    libraries = "".join(f"{name}={value}\n" for name, value in wanted.items())
    (folder / ".env").write_text(f"{ours}{libraries}NO_PROXY=inside\nAWS_REGION=\n")
    for name in (*wanted, "https_proxy", "AWS_REGION", "NO_PROXY", "IMAGESYNC_ENV_FILE"):
        # Also what the test itself puts there is undone.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("IMAGE_API_USERNAME", "")
    monkeypatch.setenv("no_proxy", "")
    before = dict(os.environ)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder))) as instance:
        instance.inject_env_vars("imagesync_pipelines")
        assert {name: os.environ[name] for name in before} == before
        assert {name: os.environ[name] for name in os.environ.keys() - before.keys() - {PASSING_FOLDER}} == wanted


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


def test_what_dagsters_machinery_says_of_itself_is_not_kept(postgres_instance: dg.DagsterInstance) -> None:
    @dg.asset(required_resource_keys={"one"})
    def works() -> dg.MaterializeResult:
        return dg.MaterializeResult()

    one = dg.ResourceDefinition.hardcoded_resource(1)
    done = dg.materialize([works], instance=postgres_instance, resources={"one": one})
    kinds = [entry.dagster_event_type for entry in postgres_instance.all_logs(done.run_id)]
    assert [kind.value for kind in kinds if kind is not None] == [
        *("ASSET_MATERIALIZATION_PLANNED", "PIPELINE_START", "LOGS_CAPTURED", "STEP_START"),
        *("STEP_OUTPUT", "ASSET_MATERIALIZATION", "STEP_SUCCESS", "PIPELINE_SUCCESS"),
    ]


def test_what_a_run_cannot_do_without_is_kept(postgres_instance: dg.DagsterInstance) -> None:
    @dg.resource
    def broken() -> None:
        raise ValueError("no such resource")

    @dg.asset(required_resource_keys={"broken"})
    def works() -> dg.MaterializeResult:
        return dg.MaterializeResult()

    done = dg.materialize([works], instance=postgres_instance, resources={"broken": broken}, raise_on_error=False)
    kinds = [entry.dagster_event_type for entry in postgres_instance.all_logs(done.run_id)]
    assert dg.DagsterEventType.RESOURCE_INIT_FAILURE in kinds


def connections_of(locations: Locations, column: str = "pid") -> list[int]:
    """Of every connection to Dagster's database but the one that asks."""
    others = "WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY pid"
    return [row[0] for row in rows_of(locations.dagster_url, f"SELECT {column} FROM pg_stat_activity {others}")]


def test_an_instance_keeps_few_connections_makes_them_anew_when_they_are_lost_and_closes_them_at_its_end(
    postgres_instance: dg.DagsterInstance, locations: Locations
) -> None:
    first = nothing.execute_in_process(instance=postgres_instance)
    kept = connections_of(locations)
    assert len(kept) <= 2
    assert nothing.execute_in_process(instance=postgres_instance).success
    assert connections_of(locations) == kept
    assert set(connections_of(locations, "pg_terminate_backend(pid, 5000)")) == {True}
    assert nothing.execute_in_process(instance=postgres_instance).success
    assert len(connections_of(locations)) <= 2
    assert {run.run_id for run in postgres_instance.get_runs()} > {first.run_id}
    postgres_instance.dispose()
    end = time.monotonic() + 10
    while connections_of(locations) and time.monotonic() < end:
        time.sleep(0.02)
    assert connections_of(locations) == []


def test_a_connection_is_asked_whether_it_lasts_only_when_nobody_used_it_for_a_while(
    postgres_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage: Any = postgres_instance.run_storage
    asked: list[str] = []

    class Noted(psycopg2.extensions.cursor):
        """A cursor that tells what it is given."""

        def execute(self, statement: str, values: object = None) -> None:
            asked.append(statement)
            super().execute(statement, values)

    postgres_instance.get_runs_count()
    with storage._engine.connect() as connection:
        connection.connection.driver_connection.cursor_factory = Noted
    postgres_instance.get_runs_count()
    assert [one for one in asked if one == "SELECT 1"] == []
    assert asked
    monkeypatch.setattr(instance_storage, "ASK_AFTER", 0)
    postgres_instance.get_runs_count()
    assert [one for one in asked if one == "SELECT 1"] == ["SELECT 1"]


def test_a_process_that_was_forked_leaves_its_parents_connection_alone(
    postgres_instance: dg.DagsterInstance, locations: Locations
) -> None:
    before = postgres_instance.get_runs_count()
    kept = connections_of(locations)
    child = os.fork()
    if child == 0:
        # Nothing of pytest may run here, and no connection of the parent may be closed.
        found = postgres_instance.get_runs_count() == before and connections_of(locations) != kept
        os._exit(0 if found else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert connections_of(locations) == kept
    assert postgres_instance.get_runs_count() == before


@pytest.fixture
def role(server: EmbeddedServer) -> Iterator[str]:
    """The natural name of a role: that of our schema. It owns a database of its own, which is new; gives its URL."""
    execute(server, "CREATE ROLE imagesync LOGIN")
    execute(server, "CREATE DATABASE of_the_role OWNER imagesync")
    yield sa.make_url(server.url("of_the_role", "psycopg")).set(username="imagesync").render_as_string()
    execute(server, "DROP DATABASE of_the_role WITH (FORCE)")
    execute(server, "DROP ROLE imagesync")


def schemas_of(url: str) -> dict[str, list[str]]:
    """The schemas that have Dagster's main tables, and a table with a version."""
    found = rows_of(
        url, "SELECT relname, relnamespace::regnamespace::text FROM pg_class WHERE relkind = 'r' ORDER BY 2"
    )
    wanted = ("runs", "event_logs", "jobs", "alembic_version")
    return {name: [schema for table, schema in found if table == name] for name in wanted}


@pytest.mark.slow
def test_a_role_that_is_called_as_our_schema_works_with_our_commands_and_dagsters(role: str, tmp_path: Path) -> None:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    ours = {**kept, "IMAGESYNC_HOME": str(tmp_path / "home"), "IMAGESYNC_DATABASE_URL": role}
    dagsters = {**ours, "IMAGESYNC_DAGSTER_URL": role, "DAGSTER_HOME": str(tmp_path / "home" / "dagster")}
    migrate = [str(Path(sys.executable).with_name("dagster")), "instance", "migrate"]
    for environment, words in ((ours, [*COMMAND, "history"]), (dagsters, migrate)):
        done = subprocess.run(words, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
    assert schemas_of(role) == {
        "runs": ["dagster"], "event_logs": ["dagster"], "jobs": ["dagster"], "alembic_version": ["dagster", "imagesync"]
    }  # fmt: skip


def test_dagsters_tables_stay_where_they_are_found_whatever_schema_comes_first(
    server: EmbeddedServer, role: str, tmp_path: Path
) -> None:
    storage = DagsterPostgresStorage(role.replace("+psycopg:", "+psycopg2:"))
    run = storage.run_storage.add_run(dg.DagsterRun(job_name="nothing", run_id=str(uuid4())))
    environment = {"IMAGESYNC_ENV_FILE": os.devnull, "IMAGESYNC_HOME": str(tmp_path), "IMAGESYNC_DATABASE_URL": role}
    for _ in range(2):
        with opened(environment) as (_, instance):
            assert [one.run_id for one in instance.get_runs()] == [run.run_id]
            instance.optimize_for_webserver(statement_timeout=5000, pool_recycle=60, max_overflow=2)
            assert [one.run_id for one in instance.get_runs()] == [run.run_id]
    assert schemas_of(role)["runs"] == ["public"]


def test_a_database_that_is_dagsters_alone_has_its_tables_where_dagster_makes_them(
    postgres_instance: dg.DagsterInstance, locations: Locations
) -> None:
    assert postgres_instance.get_runs_count() == 0
    assert set(map(tuple, schemas_of(locations.dagster_url).values())) == {("public",)}


def test_who_may_make_no_schema_is_told_what_an_administrator_types(server: EmbeddedServer, role: str) -> None:
    execute(server, "ALTER DATABASE of_the_role OWNER TO postgres")
    with entered({"IMAGESYNC_DATABASE_URL": role, VARIABLE: role}), pytest.raises(StorageError) as told:
        InstallationStorage.from_config_value(None, {"url_variable": VARIABLE})
    assert str(told.value).endswith("CREATE SCHEMA dagster AUTHORIZATION imagesync")


def test_dagsters_url_through_a_pooler_of_transactions_is_refused_and_through_one_of_sessions_it_works(
    server: EmbeddedServer,
) -> None:
    with databases(server) as (_, dagsters):
        with (
            pgbouncer(server, "transaction") as pooler,
            entered({VARIABLE: through(dagsters, pooler)}),
            pytest.raises(TransactionPoolerError, match=rf"^{VARIABLE} leads through"),
        ):
            InstallationStorage.from_config_value(None, {"url_variable": VARIABLE})
        with pgbouncer(server, "session") as pooler, entered({VARIABLE: through(dagsters, pooler)}):
            storage = InstallationStorage.from_config_value(None, {"url_variable": VARIABLE})
            assert storage.run_storage.get_runs_count() == 0
            storage.run_storage.dispose()


def test_a_database_that_does_not_answer_is_told_with_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagster_postgres.utils.time.sleep", lambda _: None)  # between its five tries
    with entered({VARIABLE: "postgresql://u:hidden@127.0.0.1:1/d"}), pytest.raises(DatabaseUnreachableError) as told:
        InstallationStorage.from_config_value(None, {"url_variable": VARIABLE})
    assert re.match(rf"{VARIABLE}: the database does not answer \(.*Connection refused\)\. See", str(told.value))


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


@pytest.mark.slow
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


@pytest.mark.slow
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
