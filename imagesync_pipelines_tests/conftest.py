"""What every test may use: a real PostgreSQL, one per pytest worker, and a fresh migrated database per test."""

import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import hypothesis
import pytest
import sqlalchemy as sa
from dagster._core.execution.plan.active import ActiveExecution
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.database import open_database
from imagesync_pipelines.storage.embedded import EmbeddedServer, ensure_server, stop_server
from imagesync_pipelines.storage.installation import Locations, open_locations
from imagesync_pipelines_tests.reusing import make_as_new, shape_of

# A slow machine is no fault of an example; CI judges a change, so it tries the same examples every time.
_CALM = {"max_examples": 50, "deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("default", **_CALM)
hypothesis.settings.register_profile("ci", **_CALM, derandomize=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

TEMPLATE = "imagesync_template"
OUR_VARIABLES = (
    "IMAGESYNC_", "IMAGE_API_", "IMAGE_DB_", "ERP_", "EDGE_", "HO_", "PLYTIX_", "AMAZON_", "CATALOGUE_", "MOYSKLAD_",
    "FOLDER_", "DAGSTER_HOME", "OTEL_",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees this machine's settings or home: the variables go, and `.env` and `.imagesync` are out of reach."""
    for name in list(os.environ):
        if name.startswith(OUR_VARIABLES):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session", autouse=True)
def _cheap_passwords() -> Iterator[None]:
    """Argon2 at its least cost: a hash, and a log-in with it, takes a third of a second of both cores otherwise."""
    cheap = PasswordHash((Argon2Hasher(time_cost=1, memory_cost=8, parallelism=1),))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PasswordHash, "recommended", lambda: cheap)
        yield


@pytest.fixture(scope="session", autouse=True)
def _tries_again_at_once() -> Iterator[None]:
    """A step that broke is tried again as always, and without the pause that its RetryPolicy asks for (5 to 30 s)."""
    mark = ActiveExecution.mark_up_for_retry
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ActiveExecution, "mark_up_for_retry", lambda self, step, at_time=None: mark(self, step))
        yield


@pytest.fixture(autouse=True)
def _no_server_goes_on(_own_settings: None) -> Iterator[None]:
    """A server that a test forgets spins on its closed socket and takes the time of all tests after it."""
    before = set(threading.enumerate())
    yield
    left = [one.name for one in threading.enumerate() if one not in before and "serve_forever" in one.name]
    assert left == []


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """The PostgreSQL of this pytest worker, with a migrated template database in it."""
    home = Path(tempfile.mkdtemp(prefix="imagesync-tests-"))
    server = ensure_server(home)
    # Nothing here has to survive a power cut.
    for setting in ("fsync", "full_page_writes"):
        _execute(server, f"ALTER SYSTEM SET {setting} = off")
    _execute(server, "SELECT pg_reload_conf()")
    _execute(server, f"CREATE DATABASE {TEMPLATE}")
    open_database(server.url(TEMPLATE, "psycopg")).dispose()
    yield server
    stop_server(home)
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def spare_databases(server: EmbeddedServer) -> tuple[str, list[str]]:
    """The shape of a new database with our tables, and the names of those that tests have left."""
    return shape_of(server.url(TEMPLATE, "psycopg")), []


@pytest.fixture
def database_url(server: EmbeddedServer, spare_databases: tuple[str, list[str]]) -> Iterator[str]:
    """The URL (driver psycopg) of a database with our tables, empty."""
    with new_database(server, *spare_databases) as url:
        yield url


@contextmanager
def new_database(server: EmbeddedServer, shape: str, spare: list[str]) -> Iterator[str]:
    """A database with our tables for as long as the caller needs it, empty."""
    if spare:
        name = spare.pop()
    else:
        name = f"test_{uuid.uuid4().hex[:12]}"
        _execute(server, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    yield server.url(name, "psycopg")
    if make_as_new(server.url(name, "psycopg"), shape):
        spare.append(name)
    else:
        _drop(server, name)


@pytest.fixture
def database(database_url: str) -> Iterator[sa.Engine]:
    """An engine on a fresh database with our tables, empty."""
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def locations(server: EmbeddedServer, database_url: str, tmp_path: Path) -> Iterator[Locations]:
    """An installation of its own: fresh databases on the worker's server, ours and Dagster's, a home in tmp_path."""
    name = f"test_dagster_{uuid.uuid4().hex[:12]}"
    _execute(server, f"CREATE DATABASE {name}")
    yield open_locations(
        Settings(home=tmp_path / "home", database_url=database_url, dagster_url=server.url(name, "psycopg2"))
    )
    _drop(server, name)


def _execute(server: EmbeddedServer, statement: str) -> None:
    engine = sa.create_engine(server.url("postgres", "psycopg"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text(statement))


def _drop(server: EmbeddedServer, name: str) -> None:
    # A test may stop or break the server; its database is gone with it.
    with suppress(sa.exc.OperationalError):
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")
