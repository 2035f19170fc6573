"""Faults of the database and the disk, as somebody at a terminal sees them: one line, what to do, exit code 1."""

import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from PIL import Image

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.embedded import EmbeddedServer, ensure_server, stop_server
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines_tests.cli.terminals import COMMAND, Ended, call, environment_of
from imagesync_pipelines_tests.places import execute, rows_of

Shown = pytest.CaptureFixture[str]
PRODUCT = "INSERT INTO imagesync.product (kind, erp_id, sku, name) VALUES ('parent', '1', 'A1', 'Chair')"
AT_WORK = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE 'imagesync folder%'"


def assert_one_line(ended: Ended, begins: str) -> None:
    """The last line begins so, nothing is a trace, and the exit code is that of a failure."""
    assert "Traceback" not in ended.out + ended.err
    assert ended.err.splitlines()[-1].startswith(begins), ended.err
    assert ended.code == 1


def test_used_up_connections(server: EmbeddedServer, database_url: str, tmp_path: Path, capsys: Shown) -> None:
    execute(server, "CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")
    url = database_url.replace("postgres@", "crowded@")
    ended = call(None, capsys, "quarantine", "list", IMAGESYNC_HOME=str(tmp_path), IMAGESYNC_DATABASE_URL=url)
    assert_one_line(ended, "The database has no free connection left (")
    execute(server, "DROP ROLE crowded")


def test_a_disk_that_takes_no_more(database_url: str, tmp_path: Path, capsys: Shown) -> None:
    rows_of(database_url, "SET session_replication_role = replica; " + PRODUCT)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    place = {"IMAGESYNC_HOME": str(tmp_path / "home"), "IMAGESYNC_DATABASE_URL": database_url}
    assert call(None, capsys, "export", "csv", "--to", str(tmp_path / "out.csv"), **place).code == 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        ended = call(None, capsys, "export", "csv", "--to", str(tmp_path / "out.csv"), **place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_one_line(ended, "A file may not become as large as is needed")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "out.csv"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a home of its own, whose server may be killed, and one picture to synchronise."""
    made = Path(tempfile.mkdtemp(prefix="imagesync-tests-"))
    (made / "pictures").mkdir()
    Image.new("RGB", (30, 20), "red").save(made / "pictures" / "A1_1.png")
    with open_installation(Settings(home=made / "home")) as opened, opened.engine.begin() as connection:
        connection.execute(sa.text(PRODUCT))
    yield made
    stop_server(made / "home")
    shutil.rmtree(made)


@pytest.mark.long
@pytest.mark.slow
def test_a_server_that_is_killed_in_the_middle_of_a_run(folder: Path) -> None:
    variables = {"FOLDER_PATH": str(folder / "pictures"), "FOLDER_URL": "https://images.example.com"}
    environment = environment_of(None, {**variables, "IMAGESYNC_HOME": str(folder / "home")})
    server = ensure_server(folder / "home")
    words = [*COMMAND, "sync", "folder"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=environment, cwd=folder, stdout=pipe, stderr=pipe, text=True) as process:
        until = time.monotonic() + 120
        while not execute(server, AT_WORK):
            assert time.monotonic() < until
        children = psutil.Process(server.pid).children(recursive=True)
        os.kill(server.pid, signal.SIGKILL)
        psutil.wait_procs(children, timeout=10)
        out, err = process.communicate(timeout=300)
    assert_one_line(Ended(process.returncode, out, err), "The database ")
    # That it is tried again is not said again and again.
    said = [line.partition(" WARNING ")[2] for line in err.splitlines()]
    assert [line for line, following in pairwise(said) if line and line == following] == []
    again = subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
