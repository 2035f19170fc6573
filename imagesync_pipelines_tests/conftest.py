"""What every test may use: a real PostgreSQL, one per pytest worker, and a fresh migrated database per test."""

import gc
import os
import shutil
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import hypothesis
import pytest
import sqlalchemy as sa
from dagster._core.execution import compute_logs
from dagster._core.execution.plan.active import ActiveExecution
from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.database import open_database
from imagesync_pipelines.storage.embedded import EmbeddedServer, ensure_server, stop_server
from imagesync_pipelines.storage.installation import Locations, open_locations
from imagesync_pipelines_tests.places import dagster_database
from imagesync_pipelines_tests.reusing import TEMPLATE, execute, pool

# A slow machine is no fault of an example; CI judges a change, so it tries the same examples every time.
_CALM = {"max_examples": 50, "deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile("default", **_CALM)
hypothesis.settings.register_profile("ci", **_CALM, derandomize=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Python's own are 700, 10, 10.
GARBAGE = (50_000, 10, 10)

OUR_VARIABLES = (
    "IMAGESYNC_", "IMAGE_API_", "IMAGE_DB_", "ERP_", "EDGE_", "HO_", "PLYTIX_", "AMAZON_", "CATALOGUE_", "MOYSKLAD_",
    "FOLDER_", "QUALITY_", "DAGSTER_HOME", "OTEL_",
)  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """While tests are imported nothing becomes garbage, and what was imported stays: a fifth was the search for it.

    Then it is looked for less often: a run makes many objects, and hardly a ring of them that only the search frees.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(*GARBAGE)
        gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest is begun first, on every worker: xdist gives each of them an equal part of the list."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    long = [item for item in items if item.get_closest_marker("long")]
    others = [item for item in items if not item.get_closest_marker("long")]
    size = len(items) // workers
    items.clear()
    for nth in range(workers):
        first = long[nth::workers]
        items += [*first, *others[: size - len(first)]]
        del others[: size - len(first)]
    items += others


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test sees this machine's settings, language or home: the variables go, `.env` and `.imagesync` are far."""
    for name in list(os.environ):
        if name.startswith(OUR_VARIABLES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
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


@pytest.fixture(scope="session", autouse=True)
def _no_power_cut() -> Iterator[None]:
    """Nothing here has to survive one, so nobody waits for a disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _shown_at_the_end() -> Iterator[None]:
    """What a run of this process prints is shown when it ends: to show it meanwhile takes four processes a run."""

    @contextmanager
    def shown(path: str, stream: TextIO) -> Iterator[tuple[None, None]]:
        yield None, None
        stream.write(Path(path).read_text(encoding="utf-8", errors="replace"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compute_logs, "tail_to_stream", shown)
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
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        execute(server, f"ALTER SYSTEM SET {setting} = off")
    execute(server, "SELECT pg_reload_conf()")
    execute(server, f"CREATE DATABASE {TEMPLATE}")
    open_database(server.url(TEMPLATE, "psycopg")).dispose()
    yield server
    stop_server(home)
    shutil.rmtree(home)


@pytest.fixture
def database_url(server: EmbeddedServer) -> Iterator[str]:
    """The URL (driver psycopg) of a database with our tables, empty."""
    with pool(server, TEMPLATE).one() as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[sa.Engine]:
    """An engine on a fresh database with our tables, empty."""
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def locations(server: EmbeddedServer, database_url: str, tmp_path: Path) -> Iterator[Locations]:
    """An installation of its own: fresh databases on the worker's server, ours and Dagster's, a home in tmp_path."""
    with dagster_database(server) as url:
        yield open_locations(Settings(home=tmp_path / "home", database_url=database_url, dagster_url=url))
