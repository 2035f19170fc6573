"""The database restarted or killed in the middle of a run, on an embedded server of its own; and the next run."""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import psutil
import pytest
import sqlalchemy as sa

from imagesync_pipelines.products import applying
from imagesync_pipelines.sandbox.image_db.server import Sandbox, image_db_sandbox
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.embedded import ensure_server, stop_server
from imagesync_pipelines.storage.errors import LockLostError
from imagesync_pipelines.storage.installation import Installation, open_installation
from imagesync_pipelines_tests.e2e.connectors import Connector, connector_settings

pytestmark = pytest.mark.slow

# Gone, or back before the run noticed: then its lock is lost.
GONE = (sa.exc.OperationalError, sa.exc.InterfaceError, LockLostError)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home with an embedded server that the tests may stop and kill."""
    folder = Path(tempfile.mkdtemp(prefix="imagesync-faults-"))
    yield folder
    stop_server(folder)
    shutil.rmtree(folder)


@pytest.fixture
def night(home: Path) -> Iterator[tuple[Connector, Sandbox]]:
    """A connector that was synchronised, and a catalogue that has changed since."""
    ensure_server(home)
    with image_db_sandbox(records=70) as sandbox, open_installation(Settings(home=home, lock_wait_seconds=20)) as place:
        _empty(place)
        connector = Connector(place, connector_settings(sandbox, home / "erp"), sandbox)
        connector.sync()
        shown = [int(image) for image in connector.table()["external_id"].unique()]
        for file_id in shown[:3]:
            sandbox.mutate("delete", file_id=file_id)
        for file_id in shown[3:12]:
            sandbox.mutate("re_export", file_id=file_id)
        for _ in range(3):
            sandbox.mutate("insert")
        yield connector, sandbox


def _empty(place: Installation) -> None:
    with place.engine.begin() as connection:
        connection.execute(
            sa.text(
                "TRUNCATE imagesync.product, imagesync.scan, imagesync.plan, imagesync.held, imagesync.removal "
                "RESTART IDENTITY CASCADE"
            )
        )


def expected(connector: Connector, sandbox: Sandbox) -> pd.DataFrame:
    """What an undisturbed run gives: the same installation, emptied and synchronised from scratch."""
    _empty(connector.place)
    connector.sync()
    return connector.table()


def stop(home: Path) -> None:
    """The server is shut down."""
    stop_server(home)


def kill(home: Path) -> None:
    """The server's process is killed, and those of its connections end with it."""
    pid = ensure_server(home).pid
    children = psutil.Process(pid).children(recursive=True)
    os.kill(pid, signal.SIGKILL)
    psutil.wait_procs([*children], timeout=10)


class Switch:
    """Ends the server at the nth step of the named work, and starts it again if told so."""

    def __init__(self, home: Path, end: Callable[[Path], None], work: str, nth: int, *, restart: bool) -> None:
        self.fired = False
        self._home, self._end, self._work, self._nth, self._restart = home, end, work, nth, restart
        self._steps = 0

    def __call__(self, work: str, done: int, total: int | None) -> None:
        """The connector's progress: called after every page and every batch."""
        if work != self._work or self.fired:
            return
        self._steps += 1
        if self._steps == self._nth:
            self.fired = True
            self._end(self._home)
            if self._restart:
                ensure_server(self._home)


@pytest.mark.parametrize("end", [stop, kill])
@pytest.mark.parametrize("work", ["pages read", "pages validated", "rows written"])
@pytest.mark.parametrize("restart", [True, False], ids=["restarted", "gone until the next run"])
def test_a_database_that_goes_away_mid_run_costs_that_run_at_most(
    home: Path,
    night: tuple[Connector, Sandbox],
    monkeypatch: pytest.MonkeyPatch,
    end: Callable[[Path], None],
    work: str,
    restart: bool,
) -> None:
    monkeypatch.setattr(applying, "ROWS_PER_BATCH", 4)
    connector, sandbox = night
    before = len(connector.stamps())
    connector.progress = switch = Switch(home, end, work, 2, restart=restart)
    try:
        connector.sync()
    except GONE:
        pass
    else:
        assert restart, "a run cannot succeed without a database"
    assert switch.fired
    ensure_server(home)
    connector.assert_one_primary_each()
    assert len(connector.stamps()) >= before - 10
    second = connector.sync()
    assert second.records.complete
    third = connector.sync()
    assert third.written == (0, 0, 0)
    found = connector.table()
    pd.testing.assert_frame_equal(found, expected(connector, sandbox))


def test_a_restart_while_pages_are_read_is_not_even_noticed(home: Path, night: tuple[Connector, Sandbox]) -> None:
    connector, sandbox = night
    connector.progress = switch = Switch(home, stop, "pages read", 2, restart=True)
    result = connector.sync()
    assert switch.fired
    assert result.records.complete
    found = connector.table()
    pd.testing.assert_frame_equal(found, expected(connector, sandbox))
