"""The server of a store's database is stopped or killed while photos are written: the next run does the rest."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.connectors.edge.store import StoreDatabase, open_store
from imagesync_pipelines.connectors.edge.store_schema import create_or_check
from imagesync_pipelines.connectors.edge.target import SERVER_GONE
from imagesync_pipelines.storage.embedded import ensure_server, stop_server
from imagesync_pipelines_tests.connectors.edge.photos import Source, photo, rows_of, run_sql, settings_of
from imagesync_pipelines_tests.connectors.edge.test_applying import plan, source_of, sync
from imagesync_pipelines_tests.connectors.edge.test_applying_histories import check_pictures

NUMBERS = range(30)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home with an embedded server that the tests may stop and kill; it syncs to disk, as in production."""
    folder = Path(tempfile.mkdtemp(prefix="imagesync-edge-"))
    yield folder
    stop_server(folder)
    shutil.rmtree(folder)


@pytest.fixture
def own_store(home: Path) -> Iterator[StoreDatabase]:
    """An empty table of photos on that server."""
    database = open_store(ensure_server(home).url("postgres", "psycopg"))
    create_or_check(database)
    run_sql(database, f"TRUNCATE {database.table}")
    yield database
    database.engine.dispose()


def stop(home: Path) -> None:
    """The server is shut down."""
    stop_server(home)


def kill(home: Path) -> None:
    """The server's process is killed, and those of its connections end with it."""
    pid = ensure_server(home).pid
    children = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs(children, timeout=10)


def ending(home: Path, source: Source, end: Callable[[Path], None], *, restart: bool) -> Source:
    """The source ends the server before its 15th photo, and starts it again if told so."""

    def before(listed: Photo) -> None:
        if len(source.opened) == 14:
            end(home)
            if restart:
                ensure_server(home)

    source.before = before
    return source


@pytest.mark.parametrize("end", [stop, kill])
@pytest.mark.parametrize("restart", [True, False], ids=["restarted", "gone until the next run"])
def test_a_server_that_goes_away_costs_one_run_at_most(
    home: Path, own_store: StoreDatabase, end: Callable[[Path], None], restart: bool
) -> None:
    photos = [photo(number) for number in NUMBERS]
    broken = ending(home, source_of(*NUMBERS), end, restart=restart)
    try:
        sync(own_store, photos, broken, policy=settings_of(concurrency=1, rows_per_commit=2))
    except SERVER_GONE:
        pass
    else:
        assert restart, "a run cannot succeed without a database"
    ensure_server(home)
    check_pictures(own_store)
    written = len(rows_of(own_store, "1"))
    assert written < len(photos) or restart
    assert sync(own_store, photos, source_of(*NUMBERS)).verified == len(photos) - written
    check_pictures(own_store)
    assert set(plan(own_store, photos).plan["change"]) == {"keep"}
