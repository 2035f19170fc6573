"""Faults of the database, the disk and this machine are told for people, however they are wrapped; mistakes are not."""

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.storage.database import engine_of
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.faults import told
from imagesync_pipelines.storage.files import write_whole
from imagesync_pipelines_tests.places import execute


@contextmanager
def raised(kind: type[BaseException] = Exception) -> Iterator[list[BaseException]]:
    """What the body raises."""
    found: list[BaseException] = []
    with pytest.raises(kind) as caught:
        yield found
    found.append(caught.value)


def wrapped(error: BaseException) -> BaseException:
    """An error as it comes out of Dagster: another one, from another one, from it."""
    try:
        try:
            raise error
        except BaseException as inner:
            raise RuntimeError("a step failed") from inner
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("code", "does", "do"),
    [
        ("53300", "has no free connection left", "raise max_connections"),
        ("53100", "has no room left on its disk", "Make room there"),
        ("57P01", "was stopped", "Start it again"),
        ("57P03", "is not ready yet", "Wait until it has started"),
        ("08006", "was cut off", "See whether the server runs"),
        ("28P01", "refuses the user", "Correct the user and the password"),
        ("3D000", "is not there", "Correct its name"),
        ("25006", "takes no changes", "Name the primary"),
        ("42501", "does not let its user do this", "An administrator"),
    ],
)
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_what_the_server_says_is_told_with_what_to_do(
    server: EmbeddedServer, driver: str, code: str, does: str, do: str
) -> None:
    engine = sa.create_engine(server.url("postgres", driver), poolclass=sa.NullPool)
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'what it said' USING ERRCODE = '{code}'; END $$"
    with raised() as found, engine.connect() as connection:
        connection.execute(sa.text(raising))
    for error in (found[0], wrapped(found[0])):
        sentence = told(error, "The store")
        assert sentence is not None
        assert sentence.startswith(f"The store {does} (what it said")
        assert do in sentence
        assert "RAISE" not in sentence


@pytest.mark.parametrize("statement", ["SELECT no_such_column", "SELECT 1/0", "INSERT INTO no_such_table VALUES (1)"])
def test_a_mistake_of_ours_is_not_told_as_a_fault(server: EmbeddedServer, statement: str) -> None:
    engine = sa.create_engine(server.url("postgres", "psycopg"), poolclass=sa.NullPool)
    with raised() as found, engine.connect() as connection:
        connection.execute(sa.text(statement))
    assert told(found[0]) is None


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("y"), FileNotFoundError(errno.ENOENT, "no", "f")], ids=repr
)
def test_other_errors_are_none_of_it(error: Exception) -> None:
    assert told(wrapped(error)) is None


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_refused_log_in_is_told_by_its_reason(server: EmbeddedServer, driver: str) -> None:
    for url, does in (
        (f"postgresql+{driver}://nobody@127.0.0.1:1/none", "does not answer"),
        (server.url("no_such_database", driver), "is not there"),
        (server.url("postgres", driver).replace("postgres@", "nobody_we_know@"), "refuses the user"),
    ):
        with raised() as found:
            sa.create_engine(url).connect()
        assert f"The database {does} (" in str(told(found[0]))


def test_used_up_connections_and_a_stopped_server_are_told(server: EmbeddedServer) -> None:
    execute(server, "CREATE ROLE only_one LOGIN CONNECTION LIMIT 1")
    url = server.url("postgres", "psycopg").replace("postgres@", "only_one@")
    engine = engine_of(url)
    with engine.connect() as held:
        with raised() as found:
            sa.create_engine(url).connect()
        assert "has no free connection left" in str(told(found[0]))
        execute(server, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'only_one'")
        with raised() as found:
            held.execute(sa.text("SELECT 1"))
        assert "was stopped" in str(told(found[0]))
    engine.dispose()
    execute(server, "DROP ROLE only_one")


def test_a_connection_that_is_closed_is_told(server: EmbeddedServer) -> None:
    connection = psycopg.connect(server.url("postgres", "psycopg").replace("+psycopg", ""))
    connection.close()
    with raised(psycopg.OperationalError) as found:
        connection.execute("SELECT 1")
    assert "The database was cut off (the connection is closed)" in str(told(found[0]))


def test_a_file_that_finds_no_room_is_told_with_its_name_and_leaves_nothing(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with raised(OSError) as found:
            write_whole(UPath(tmp_path / "plan"), bytes(5000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "may not become as large" in str(told(wrapped(found[0])))
    assert list(tmp_path.iterdir()) == []
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/plan")
    assert told(wrapped(full)) == (
        "The disk is full (/data/plan). Make room there. What was written is kept; run again afterwards."
    )
