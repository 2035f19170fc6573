"""One database for all tests of a file: the clients keep nothing there but the calls they counted."""

import uuid
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.database import open_database
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.schema_accounts import rate_budget


@pytest.fixture(scope="module")
def shared_database(server: EmbeddedServer) -> Iterator[sa.Engine]:
    """A migrated database on the worker's server; it goes with the server."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    admin = sa.create_engine(server.url("postgres", "psycopg"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    engine = open_database(server.url(name, "psycopg"))
    yield engine
    engine.dispose()


@pytest.fixture
def database(shared_database: sa.Engine) -> sa.Engine:
    """The file's database, with no call counted yet."""
    with shared_database.begin() as connection:
        connection.execute(rate_budget.delete())
    return shared_database
