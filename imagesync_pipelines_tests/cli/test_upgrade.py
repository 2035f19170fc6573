"""`imagesync upgrade`: says what it would do, refuses while runs are under way, does it, and does it once."""

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
    assert (again.code, "nothing is missing" in again.out) == (0, True)
