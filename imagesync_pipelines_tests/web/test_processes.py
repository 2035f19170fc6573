"""Several processes on one port: all answer, one that ends is replaced, and none is left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import psutil
import pytest
import requests

from imagesync_pipelines.connectors.edge.store import open_store, write_with_bytes
from imagesync_pipelines.connectors.edge.store_schema import create_or_check
from imagesync_pipelines_tests.connectors.edge.photos import START, photo, picture

SECONDS = 90
PROGRAM = """
from functools import partial
from imagesync_pipelines.web import edge_photos, service
if __name__ == "__main__":
    make = partial(edge_photos.open_app, {url!r}, missing="404", base_url="")
    service.serve_in_processes(make, "127.0.0.1", {port}, 2)
"""


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def photos(database_url: str) -> Iterator[tuple[psutil.Process, str]]:
    """A photo server of two processes, and the address of a photo."""
    database = open_store(database_url)
    create_or_check(database)
    with database.engine.begin() as connection:
        write_with_bytes(connection, database.table, [(photo(1), picture(1))], START)
    database.engine.dispose()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = subprocess.Popen([sys.executable, "-c", PROGRAM.format(url=database_url, port=port)])
    process = psutil.Process(started.pid)
    try:
        until(lambda: len(workers(process)) == 2)
        yield process, f"http://127.0.0.1:{port}/photos/{photo(1).photo_id}"
    finally:
        for one in [*process.children(recursive=True), process] if process.is_running() else []:
            one.kill()
        started.wait()


def workers(process: psutil.Process) -> list[psutil.Process]:
    """The processes that answer; beside them multiprocessing has one of its own."""
    return [one for one in process.children(recursive=True) if "spawn_main" in _command(one)]


def _command(process: psutil.Process) -> str:
    """How it was started; nothing of one that is no more."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def shown(url: str) -> bool:
    try:
        return requests.get(url, timeout=SECONDS).content == picture(1)
    except requests.ConnectionError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_one_that_ends_is_replaced_and_all_end_with_the_first(
    photos: tuple[psutil.Process, str], how: signal.Signals
) -> None:
    process, url = photos
    until(lambda: shown(url))
    ended = workers(process)[0]
    ended.kill()
    until(lambda: len([one for one in workers(process) if one.pid != ended.pid]) == 2)
    until(lambda: shown(url))
    left = workers(process)
    os.kill(process.pid, how)
    assert psutil.wait_procs(left, timeout=SECONDS)[1] == []
    until(lambda: not shown(url))
