"""Dagster instances for these tests: one in memory, one on the real PostgreSQL of the installation."""

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import dagster as dg
import pytest

from imagesync_pipelines.storage.installation import Locations


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance in memory, empty."""
    with dg.DagsterInstance.ephemeral() as ephemeral:
        yield ephemeral


@pytest.fixture
def postgres_instance(locations: Locations, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance as in production: the shipped dagster.yaml on the installation's PostgreSQL, empty."""
    for name, value in locations.environment().items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.from_config(os.fspath(locations.dagster_home)) as opened:
        yield opened


@dataclass
class Receiver:
    """A real HTTP server that keeps what apprise posts to it; its URL holds a secret."""

    port: int
    secret: str = "canary-51c9"
    status: int = 200
    messages: list[dict[str, str]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"json://user:{self.secret}@127.0.0.1:{self.port}/hook"

    def titles(self) -> list[str]:
        return [message["title"] for message in self.messages]


@pytest.fixture
def receiver(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Who alerts go to, by the settings of this installation, whose database is empty."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(received.status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received = Receiver(server.server_port)
    monkeypatch.setenv("IMAGESYNC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("IMAGESYNC_DATABASE_URL", database_url)
    monkeypatch.setenv("IMAGESYNC_ALERT_URLS", received.url)
    monkeypatch.setenv("IMAGESYNC_WEBSERVER_URL", "https://dagster.example/")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield received
    server.shutdown()
    thread.join()
    server.server_close()
