"""Doctor on an installation of its own: nothing set up, a wrong setting, odd databases, the Dagster asset."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus, ScheduleInstigatorData
from sqlalchemy import make_url

from imagesync_pipelines.defs.build import build_definitions
from imagesync_pipelines.defs.doctor import own_tables, schedules_off
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.database import HEAD
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.sync.health import State
from imagesync_pipelines_tests.cli.terminals import Ended, call
from imagesync_pipelines_tests.defs.test_watching import state_of
from imagesync_pipelines_tests.generated import ROOT
from imagesync_pipelines_tests.places import databases, entered, environment_of, execute, opened, rows_of
from imagesync_pipelines_tests.poolers import pgbouncer, through

Shown = pytest.CaptureFixture[str]
ON, OFF = InstigatorStatus.DECLARED_IN_CODE, InstigatorStatus.STOPPED


def states(ended: Ended) -> dict[tuple[str, str], str]:
    """The state of every line, by part and question."""
    return {(one["part"], one["check"]): one["state"] for one in json.loads(ended.out)["findings"]}


def test_where_nothing_is_set_up_it_says_what_comes_next_and_makes_nothing(tmp_path: Path, capsys: Shown) -> None:
    ended = call(None, capsys, "doctor")
    assert (ended.code, ended.err) == (0, "")
    assert "Nothing is set up yet, and nothing is wrong." in ended.out
    assert "imagesync demo" in ended.out
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_setting_is_a_line(capsys: Shown) -> None:
    ended = call(None, capsys, "doctor", IMAGESYNC_DECODE_CHILDREN="many")
    assert ended.code == 1
    assert "IMAGESYNC_DECODE_CHILDREN: " in ended.out
    wrong = call(None, capsys, "doctor", "--json", FOLDER_SCHEDULE="daily", IMAGESYNC_ACCOUNTS="gone.toml")
    assert states(wrong)["the accounts file", "read"] == "wrong"
    wrong = call(None, capsys, "doctor", "--json", FOLDER_SCHEDULE="daily")
    assert states(wrong)["folder", "settings"] == "wrong"


def test_a_connector_that_lost_its_password_is_not_taken_for_one_that_is_not_in_use(capsys: Shown) -> None:
    begun = {"IMAGE_API_URL": "http://127.0.0.1:9/api/", "IMAGE_API_USERNAME": "reader", "IMAGE_API_PASSWORD": ""}
    found = states(call(None, capsys, "doctor", "--json", **begun))
    assert found["image_db source", "answers"] == "wrong"


@pytest.mark.parametrize(
    ("schedules", "others", "warned"),
    [
        pytest.param({}, {}, [], id="no daemon has noted anything"),
        pytest.param({"cleanup__daily": ON}, {}, ["folder"], id="set up after the code server started"),
        pytest.param({"cleanup__daily": ON, "folder__sync__hourly": OFF}, {}, ["folder"], id="off by hand"),
        pytest.param({"cleanup__daily": ON, "folder__sync__hourly": ON}, {}, [], id="on"),
        pytest.param({"cleanup__daily": ON}, {"IMAGESYNC_SANDBOX": "true"}, [], id="nothing is to start by itself"),
        pytest.param({"cleanup__daily": ON}, {"FOLDER_SCHEDULE": "daily"}, [], id="its settings are wrong"),
        pytest.param({"cleanup__daily": ON}, {"FOLDER_PATH": ""}, [], id="it lacks something"),
    ],
)
def test_a_connector_of_which_nothing_starts_although_it_is_set_up_is_a_warning(
    schedules: dict[str, InstigatorStatus],
    others: dict[str, str],
    warned: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"FOLDER_PATH": str(tmp_path), "FOLDER_URL": "https://images.example", **others}.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        for name, status in schedules.items():
            origin, data = state_of(name).origin, ScheduleInstigatorData("0 * * * *")
            instance.add_instigator_state(InstigatorState(origin, InstigatorType.SCHEDULE, status, data))
        found = list(schedules_off(instance, load_settings(Settings)))
    assert [(one.part, one.state) for one in found] == [(name, State.WARNING) for name in warned]
    assert all("Restart the code server" in one.todo for one in found)
    assert {one.said for one in found} <= {
        "it is set up, but none of its schedules is on: the code server started before that, or somebody switched them "
        "off by hand"
    }


def test_a_database_that_cannot_be_used_as_it_is(server: EmbeddedServer, tmp_path: Path, capsys: Shown) -> None:
    with databases(server) as (ours, dagsters):
        place = environment_of(tmp_path, ours, dagsters)
        assert states(call(None, capsys, "doctor", "--json", **place))["database", "tables"] == "ok"
        for version, state, code in (("0029", "warning", 3), ("9999", "wrong", 1), (HEAD, "ok", 0)):
            rows_of(ours, f"UPDATE imagesync.alembic_version SET version_num = '{version}'")
            ended = call(None, capsys, "doctor", "--json", **place)
            assert (states(ended)["database", "tables"], ended.code) == (state, code)
        assert rows_of(ours, "SELECT version_num FROM imagesync.alembic_version") == [(HEAD,)]

        gone = {**place, "IMAGESYNC_DATABASE_URL": ours.replace("/test_", "/gone_")}
        ended = call(None, capsys, "doctor", "--json", **gone)
        assert (states(ended)["database", "answers"], ended.code) == ("wrong", 1)
        assert states(ended)["Dagster's database", "answers"] == "ok", "one database keeps no other from being asked"
        with pgbouncer(server, "transaction") as pooler:
            pooled = {**place, "IMAGESYNC_DATABASE_URL": through(ours, pooler)}
            ended = call(None, capsys, "doctor", "--json", **pooled)
            assert states(ended)["database", "answers"] == "wrong"
            assert "pooler of transactions" in ended.out


def test_tables_of_an_earlier_dagster_are_a_warning(server: EmbeddedServer, tmp_path: Path) -> None:
    with databases(server) as (ours, dagsters), opened(environment_of(tmp_path, ours, dagsters)) as (_, instance):
        [found] = own_tables(instance, load_settings(Settings))
        assert (found.check, found.state) == ("tables", State.FINE)
        [(schema,)] = rows_of(dagsters, "SELECT schemaname FROM pg_tables WHERE tablename = 'event_logs'")
        rows_of(dagsters, f"UPDATE {schema}.alembic_version SET version_num = '7e2f3204cf8e'")
        [found] = own_tables(instance, load_settings(Settings))
        assert found.state is State.WARNING
        assert found.said.startswith("2 migrations of Dagster's are missing: use longtext on")
        assert "imagesync upgrade" in found.todo
        rows_of(dagsters, f"UPDATE {schema}.alembic_version SET version_num = 'of a newer Dagster'")
        with pytest.raises(StorageError, match="Install the newer program again"):
            list(own_tables(instance, load_settings(Settings)))


def test_the_launcher_is_the_one_that_the_settings_name_now(
    server: EmbeddedServer, tmp_path: Path, capsys: Shown
) -> None:
    with databases(server) as (ours, dagsters):
        place = environment_of(tmp_path, ours, dagsters)
        call(None, capsys, "env", **place)
        with entered(place), dg.DagsterInstance.from_config(str(tmp_path / "home" / "dagster")):
            pass
        assert ("launcher", "several hosts") not in states(call(None, capsys, "doctor", "--json", **place))
        elsewhere = str(ROOT / "deploy" / "dagster" / "docker.yaml")
        found = states(call(None, capsys, "doctor", "--json", **place, IMAGESYNC_DAGSTER_YAML=elsewhere))
        assert found["launcher", "several hosts"] == "wrong"


def test_a_user_who_may_not_read_our_tables_is_a_line(server: EmbeddedServer, tmp_path: Path, capsys: Shown) -> None:
    execute(server, "CREATE ROLE doctors_guest LOGIN")
    try:
        with databases(server) as (ours, dagsters):
            url = make_url(ours).set(username="doctors_guest").render_as_string(hide_password=False)
            place = environment_of(tmp_path, url, dagsters)
            ended = call(None, capsys, "doctor", "--json", **place)
            rights = "USAGE ON SCHEMA imagesync", "SELECT ON imagesync.alembic_version"
            rows_of(ours, "; ".join(f"GRANT {right} TO doctors_guest" for right in rights))
            some = states(call(None, capsys, "doctor", "--json", **place))
        assert ended.code == 1
        found = states(ended)
        assert (found["database", "rights"], found["database", "tables"]) == ("wrong", "wrong")
        assert found["Dagster's database", "answers"] == "ok", "one database keeps no other from being asked"
        assert (some["database", "tables"], some["storage", "account"]) == ("ok", "wrong")
    finally:
        execute(server, "DROP ROLE doctors_guest")


def test_an_empty_database_stays_empty(server: EmbeddedServer, tmp_path: Path, capsys: Shown) -> None:
    execute(server, "CREATE DATABASE doctors_empty")
    try:
        url = server.url("doctors_empty", "psycopg")
        ended = call(None, capsys, "doctor", "--json", IMAGESYNC_HOME=str(tmp_path), IMAGESYNC_DATABASE_URL=url)
        assert (states(ended)["database", "tables"], ended.code) == ("off", 0)
        assert rows_of(url, "SELECT nspname FROM pg_namespace WHERE nspname IN ('imagesync', 'dagster')") == []
    finally:
        execute(server, "DROP DATABASE doctors_empty WITH (FORCE)")


@pytest.mark.slow
def test_the_asset_shows_the_findings_as_a_table_and_its_check_fails(server: EmbeddedServer, tmp_path: Path) -> None:
    job = build_definitions().resolve_job_def("doctor_job")
    with databases(server) as (ours, dagsters):
        place = environment_of(tmp_path, ours, dagsters)
        with entered(place, FOLDER_PATH=str(tmp_path / "gone"), FOLDER_URL="https://images.example"):
            instance: Any
            with dg.instance_for_test() as instance:
                result = job.execute_in_process(instance=instance)
    (event,) = result.get_asset_materialization_events()
    table = event.materialization.metadata["findings"]
    assert isinstance(table, dg.TableMetadataValue)
    assert ("folder", "answers", "wrong") in {
        (one.data["part"], one.data["check"], one.data["state"]) for one in table.records
    }
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "folder, answers:" in str(check.description)
