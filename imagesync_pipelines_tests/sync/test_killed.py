"""kill -9 of a real process, once per stage: the second run ends where an uninterrupted one does."""

import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from imagesync_pipelines_tests.sync.killed import EFFECTS, TABLES, WANTED


def child(kind: str, url: str, stage: str) -> int:
    command = [sys.executable, "-m", "imagesync_pipelines_tests.sync.killed", kind, url, stage]
    return subprocess.run(command, cwd=Path(__file__).parents[2], timeout=60, check=False).returncode


def query(url: str, sql: str) -> list[tuple]:
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "stage", "open_after", "effects_after"),
    [
        pytest.param("remote", "before intent", [], 2, id="remote: before the intent"),
        pytest.param("remote", "between intent and call", [("g2",)], 2, id="remote: between intent and call"),
        pytest.param("remote", "between call and outcome", [("g2",)], 4, id="remote: between call and outcome"),
        pytest.param("remote", "after outcome", [], 4, id="remote: after the outcome"),
        pytest.param("database", "before commit", [], 2, id="database: before the commit"),
        pytest.param("database", "after commit", [], 4, id="database: after the commit"),
    ],
)
def test_a_killed_run_loses_and_doubles_nothing(
    database_url: str, kind: str, stage: str, open_after: list[tuple[str]], effects_after: int
) -> None:
    query(database_url, TABLES)
    assert child(kind, database_url, stage) == -signal.SIGKILL
    assert query(database_url, "SELECT grp FROM open_intent") == open_after
    assert query(database_url, "SELECT count(*) FROM effect") == [(effects_after,)]

    assert child(kind, database_url, "none") == 0
    assert query(database_url, "SELECT key, change FROM effect ORDER BY key") == list(EFFECTS)
    assert query(database_url, "SELECT * FROM ledger ORDER BY key") == sorted(WANTED)
    assert query(database_url, "SELECT grp FROM open_intent") == []
    if kind == "remote":
        assert query(database_url, "SELECT * FROM far ORDER BY key") == sorted(WANTED)

    assert child(kind, database_url, "none") == 0
    assert query(database_url, "SELECT count(*) FROM effect") == [(len(EFFECTS),)], "a third run writes nothing"
