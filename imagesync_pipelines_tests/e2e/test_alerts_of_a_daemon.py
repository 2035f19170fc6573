"""A real daemon tells a real mail server and a real HTTP receiver: of what failed while both were away, and its end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

import imagesync_pipelines
from imagesync_pipelines.defs.launching import LOCATION
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.cli.terminals import shell
from imagesync_pipelines_tests.cli.test_servers import free_port
from imagesync_pipelines_tests.places import databases, environment_of, rows_of

SECRET = "canary-2f81"
PACKAGE = Path(imagesync_pipelines.__file__).parent.parent
WAITING = "SELECT count(*) FROM imagesync.alert WHERE due_at IS NOT NULL AND attempts > 0"


class MailBox:
    """Keeps every mail that the server takes."""

    def __init__(self) -> None:
        self.mails: list[Message] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - its name
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content))
        return "250 OK"


@contextmanager
def receiving(smtp_port: int, http_port: int) -> Iterator[tuple[list[Message], list[dict[str, str]]]]:
    """A mail server and an HTTP receiver, and what each got."""
    box, posts = MailBox(), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the terminal."""

    mail = Controller(
        box, hostname="127.0.0.1", port=smtp_port, auth_require_tls=False,
        authenticator=lambda *_: AuthResult(success=True),
    )  # fmt: skip
    mail.start()
    with ThreadingHTTPServer(("127.0.0.1", http_port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield box.mails, posts
        finally:
            server.shutdown()
            thread.join()
            mail.stop()


@contextmanager
def daemon(environment: dict[str, str], folder: Path) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """A daemon on these definitions, where runs look for them; gives a function that waits until something is true."""
    program = Path(sys.executable).parent / "dagster-daemon"
    module = {"module_name": "imagesync_pipelines_tests.e2e.quick_definitions", "location_name": LOCATION}
    (folder / "workspace.yaml").write_text(json.dumps({"load_from": [{"python_module": module}]}))
    environment = {**environment, "PYTHONPATH": str(PACKAGE)}
    with (folder / "daemon.log").open("w") as log:
        process = subprocess.Popen(
            [program, "run", "-w", "workspace.yaml"], env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

        def wait_for(what: Callable[[], bool]) -> None:
            deadline = time.monotonic() + 240
            while not what():
                said = (folder / "daemon.log").read_text()[-4000:]
                assert process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.3)

        try:
            yield wait_for
        finally:
            process.terminate()
            process.wait(timeout=60)
            # Its code server, as systemd does it: one that started runs does not always end by itself.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.long
@pytest.mark.slow
def test_a_failure_reaches_mail_and_http_once_they_are_there_and_so_does_its_end(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    smtp_port, http_port = free_port(), free_port()
    targets = (
        f"mailto://me:{SECRET}@127.0.0.1:{smtp_port}/?from=imagesync@shop.example&to=op@shop.example&mode=insecure "
        f"json://me:{SECRET}@127.0.0.1:{http_port}/hook"
    )
    with databases(server) as urls:
        more = {
            "IMAGESYNC_ALERT_URLS": targets,
            "FOLDER_PATH": str(tmp_path / "pictures"),
            "FOLDER_URL": "https://images.shop.example",
        }
        environment = {**environment_of(tmp_path, *urls), **more}
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        exported = shell(None, tmp_path, "env", **environment).out
        home = next(line.split("=", 1)[1] for line in exported.splitlines() if "DAGSTER_HOME=" in line)
        whole = {**kept, **environment, "DAGSTER_HOME": home.strip("'")}
        seen = "SELECT count(*) FROM job_ticks WHERE status = 'SKIPPED' AND tick_body LIKE '%run_failure_alert%'"
        with daemon(whole, tmp_path) as wait_for:
            wait_for(lambda: rows_of(urls[1], seen)[0][0] > 0)
            assert shell(None, tmp_path, "sync", "folder", **environment).code == 1
            wait_for(lambda: rows_of(urls[0], WAITING)[0][0] == 1)
            with receiving(smtp_port, http_port) as (mails, posts):
                assert shell(None, tmp_path, "alert", "test", **environment).code == 0
                mails.clear()
                posts.clear()
                rows_of(urls[0], "UPDATE imagesync.alert SET due_at = now() WHERE due_at IS NOT NULL")
                wait_for(lambda: len(mails) == 1 and len(posts) == 1)
                assert posts[0]["title"].startswith("imagesync: folder__sync failed")
                assert "no target could be reached before" in posts[0]["message"]
                assert mails[0]["Subject"] == posts[0]["title"]
                (tmp_path / "pictures").mkdir()
                rows_of(urls[0], "INSERT INTO imagesync.product (kind, erp_id, sku) VALUES ('parent', '1', '1')")
                assert shell(None, tmp_path, "sync", "folder", **environment).code != 1
                wait_for(lambda: len(mails) == 2 and len(posts) == 2)
                assert posts[1]["title"] == f"imagesync: over: {posts[0]['title'].removeprefix('imagesync: ')}"
                assert mails[1]["Subject"] == posts[1]["title"]
                assert SECRET not in json.dumps(posts) + "".join(mail.as_string() for mail in mails)
        assert rows_of(urls[0], "SELECT count(*) FROM imagesync.alert") == [(0,)]
        assert SECRET not in (tmp_path / "daemon.log").read_text()
