"""`imagesync alert …`: of each target it is said whether a message went out, by its kind only."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.alerts import Alert, note_alert
from imagesync_pipelines_tests.cli.terminals import call

SECRET = "canary-77ab"


@pytest.fixture
def there() -> Iterator[str]:
    """A target that answers; its URL holds a secret."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"json://me:{SECRET}@127.0.0.1:{server.server_port}/hook"
        server.shutdown()
        thread.join()


def test_of_each_target_it_is_said_whether_it_went_out(there: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = call(None, capsys, "alert", "test", IMAGESYNC_ALERT_URLS=there)
    assert (done.code, done.out) == (0, "target 1 of IMAGESYNC_ALERT_URLS (json): sent\n")
    away = f"json://me:{SECRET}@127.0.0.1:9/x"
    done = call(None, capsys, "alert", "test", IMAGESYNC_ALERT_URLS=f"{there} {away} nosuch://{SECRET}")
    assert (done.code, done.out.splitlines()) == (
        1,
        [
            "target 1 of IMAGESYNC_ALERT_URLS (json): sent",
            "target 2 of IMAGESYNC_ALERT_URLS (json) was not reached",
            "target 3 of IMAGESYNC_ALERT_URLS is not understood by apprise",
        ],
    )
    assert SECRET not in done.out + done.err


def test_without_a_target_it_says_what_to_set(capsys: pytest.CaptureFixture[str]) -> None:
    done = call(None, capsys, "alert", "test")
    assert done.code == 1
    assert "IMAGESYNC_ALERT_URLS: empty" in done.err


def test_what_is_not_over_is_listed(database: sa.Engine, database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    note_alert(database, Alert("edge", "north", "x", "imagesync: it failed", "b", "l"), datetime.now(UTC), timedelta(0))
    done = call(None, capsys, "alert", "list", IMAGESYNC_DATABASE_URL=database_url)
    assert done.code == 0
    for part in ("1 alert", "edge/north", "it failed"):
        assert part in done.out
