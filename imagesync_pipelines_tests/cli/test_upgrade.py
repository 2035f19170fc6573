"""`imagesync upgrade`: says what it would do, refuses while runs are under way, does it whole or not, and once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from imagesync_pipelines.storage.database import HEAD, migrations
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.liveness import alive
from imagesync_pipelines_tests.cli.terminals import call
from imagesync_pipelines_tests.places import databases, environment_of, execute, rows_of

VERSION = "SELECT version_num FROM imagesync.alembic_version"
TABLES = "SELECT schemaname FROM pg_tables WHERE tablename = 'event_logs'"
# Of Dagster's migrations the one before `add column concurrency default limit`.
BEFORE_DEFAULT_LIMIT = "6b7fb194ff9c"
# What a later migration makes as well: 0032, after four others.
IN_THE_WAY = "ALTER TABLE imagesync.alert ADD COLUMN over_at text"
EVERYTHING = """
SELECT 'column', table_name::text, column_name::text, data_type::text || column_default
  FROM information_schema.columns WHERE table_schema = 'imagesync'
UNION ALL SELECT 'function', proname, '', prosrc FROM pg_proc WHERE pronamespace = 'imagesync'::regnamespace
UNION ALL SELECT 'index', tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'imagesync'
UNION ALL SELECT 'row', sku, xmin::text, name FROM imagesync.product
UNION ALL SELECT 'version', version_num, '', '' FROM imagesync.alembic_version
ORDER BY 1, 2, 3
"""
PRODUCTS = """
INSERT INTO imagesync.product (kind, erp_id, sku, name)
SELECT 'parent', n::text, 'A' || n, 'Chair' FROM generate_series(1, 1234) n
"""


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[dict[str, str]]:
    """An installation whose database is at version 0028, with products."""
    name = f"upgraded_{tmp_path.name.replace('-', '_')}"[:60]
    execute(server, f"CREATE DATABASE {name}")
    url = server.url(name, "psycopg")
    try:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            config = migrations(None)
            config.attributes["connection"] = connection
            command.upgrade(config, "0028")
        rows_of(url, PRODUCTS)
        rows_of(url, "ANALYZE imagesync.product")
        with databases(server) as (_, dagsters):
            yield environment_of(tmp_path, url, dagsters)
    finally:
        execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def test_an_upgrade_says_what_it_does_waits_for_runs_and_keeps_the_data(
    place: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    url = place["IMAGESYNC_DATABASE_URL"]
    told = call(None, capsys, "upgrade", "--dry-run", **place)
    assert told.code == 0, told
    assert f"our database: version 0028, this program: {HEAD}" in told.out
    lines = [line.split()[0] for line in told.out.splitlines() if line.startswith("  0")]
    assert lines == [f"{number:04}" for number in range(29, int(HEAD) + 1)]
    assert "product (1,234 rows, " in told.out
    assert rows_of(url, VERSION) == [("0028",)], "a dry run does nothing"

    with alive(url, "a-run"):
        refused = call(None, capsys, "upgrade", **place)
        assert refused.code == 1
        assert "1 runs are under way" in refused.err
        assert rows_of(url, VERSION) == [("0028",)]
    done = call(None, capsys, "upgrade", **place)
    assert done.code == 0, done
    assert rows_of(url, VERSION) == [(HEAD,)]
    assert rows_of(url, "SELECT count(*) FROM imagesync.product") == [(1234,)]
    again = call(None, capsys, "upgrade", "--dry-run", **place)
    assert (again.code, again.out.count("nothing is missing")) == (0, 2)


def test_dagsters_own_migrations_are_told_and_done(place: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    url = place["IMAGESYNC_DAGSTER_URL"]
    [(schema,)] = rows_of(url, TABLES)
    [(newest,)] = rows_of(url, f"SELECT version_num FROM {schema}.alembic_version")

    def put_back(revision: str) -> None:
        rows_of(url, f"UPDATE {schema}.alembic_version SET version_num = '{revision}'")

    rows_of(url, f"ALTER TABLE {schema}.concurrency_limits DROP COLUMN using_default_limit")
    put_back(BEFORE_DEFAULT_LIMIT)
    told = call(None, capsys, "upgrade", "--dry-run", **place)
    assert told.code == 0, told
    assert f"Dagster's tables: revision {BEFORE_DEFAULT_LIMIT}" in told.out
    assert "  7e2f3204cf8e  add column concurrency default limit" in told.out
    assert rows_of(url, f"SELECT version_num FROM {schema}.alembic_version") == [(BEFORE_DEFAULT_LIMIT,)]
    done = call(None, capsys, "upgrade", **place)
    assert done.code == 0, done
    assert rows_of(url, f"SELECT version_num FROM {schema}.alembic_version") == [(newest,)]
    rows_of(url, f"SELECT using_default_limit FROM {schema}.concurrency_limits")

    put_back("of a newer Dagster")
    refused = call(None, capsys, "upgrade", **place)
    assert refused.code == 1
    assert "Dagster's tables are at revision of a newer Dagster" in refused.err
    assert "Install the newer program again" in refused.err


def test_an_upgrade_that_fails_in_its_middle_changes_nothing_and_is_done_when_it_is_typed_again(
    place: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    url = place["IMAGESYNC_DATABASE_URL"]
    place["IMAGESYNC_DAGSTER_URL"] = url
    rows_of(url, IN_THE_WAY)
    before = rows_of(url, EVERYTHING)
    failed = call(None, capsys, "upgrade", **place)
    assert failed.code == 1
    assert "Dagster's tables: none yet" in failed.out
    assert f"could not be brought from version 0028 to {HEAD}: " in failed.err
    assert "Nothing was changed" in failed.err
    assert "Traceback" not in failed.err
    assert rows_of(url, EVERYTHING) == before
    assert rows_of(url, VERSION) == [("0028",)]
    assert rows_of(url, TABLES) == [], "Dagster's come after ours"

    rows_of(url, "ALTER TABLE imagesync.alert DROP COLUMN over_at")
    done = call(None, capsys, "upgrade", **place)
    assert done.code == 0, done
    assert rows_of(url, VERSION) == [(HEAD,)]
    assert rows_of(url, "SELECT count(*) FROM imagesync.product") == [(1234,)]
    assert rows_of(url, TABLES) == [("dagster",)]


@pytest.mark.parametrize("words", [("upgrade",), ("history",), ("sync", "folder")], ids=" ".join)
def test_a_program_that_is_older_than_its_database_refuses_in_one_line_and_leaves_it_alone(
    place: dict[str, str], capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    url = place["IMAGESYNC_DATABASE_URL"]
    rows_of(url, "UPDATE imagesync.alembic_version SET version_num = '9999'")
    before = rows_of(url, EVERYTHING)
    refused = call(None, capsys, *words, **place)
    assert refused.code == 1
    [line] = [line for line in refused.err.splitlines() if "9999" in line]
    assert f"The database is at version 9999, this program knows up to {HEAD}. Install the newer program again" in line
    assert "restore the backup" in line
    assert rows_of(url, EVERYTHING) == before
