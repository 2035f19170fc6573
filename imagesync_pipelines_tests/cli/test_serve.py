"""`imagesync serve` as people run it: the catalogue answers without any Dagster process, and stops when it is told."""

import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests
from starlette.testclient import TestClient

from imagesync_pipelines.cli import serve
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.cli.terminals import COMMAND
from imagesync_pipelines_tests.cli.test_servers import answers, free_port, wait_for
from imagesync_pipelines_tests.places import databases, entered, environment_of


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_serve_answers_on_an_empty_home_and_ends_without_a_trace(
    server: EmbeddedServer, tmp_path: Path, stop: signal.Signals
) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with databases(server) as urls:
        process = subprocess.Popen(
            [*COMMAND, "serve", "--port", str(port)], cwd=tmp_path, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, env=environment_of(tmp_path, *urls),
        )  # fmt: skip
        try:
            wait_for(lambda: answers(f"{address}/"), process, seconds=60)
            assert "No products yet" in requests.get(f"{address}/", timeout=20).text
            assert answers(f"{address}/history"), "Dagster's records are read without a webserver"
        finally:
            process.send_signal(stop)
            said, _ = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, f"Catalogue: {address}   (Ctrl-C stops it)\n")


def test_each_of_several_processes_tells_of_a_silent_daemon(
    server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "silent_daemon", lambda instance: "silent since 11:54")
    with databases(server) as urls, ExitStack() as left_open, entered(environment_of(tmp_path, *urls)):
        monkeypatch.setattr(serve, "_left_open", left_open)
        with TestClient(serve._open_app({"page_size": 7})) as site:
            assert site.get("/readyz/daemon").json()["daemon"] == "silent since 11:54"
