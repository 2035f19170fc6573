"""A real PgBouncer in front of a test's PostgreSQL."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.embedded import ROOT_STAND_IN, EmbeddedServer

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def pgbouncer(server: EmbeddedServer, mode: Literal["transaction", "session"], *settings: str) -> Iterator[str]:
    """The host part of URLs, `127.0.0.1:port`, that lead through a PgBouncer for the length of a `with` block.

    settings: further lines of its configuration. Without the program the test is skipped, in CI it fails.
    """
    if PROGRAM is None:
        if os.environ.get("CI"):
            pytest.fail("pgbouncer is not installed")
        pytest.skip("pgbouncer is not installed")
    with socket.socket() as free, tempfile.TemporaryDirectory(prefix="imagesync-tests-") as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        lines = (
            "[databases]", f"* = host={server.socket_folder} port=5432 user=postgres", "[pgbouncer]",
            "listen_addr = 127.0.0.1", f"listen_port = {port}", "unix_socket_dir =", "auth_type = any",
            f"pool_mode = {mode}", *settings,
        )  # fmt: skip
        configuration = Path(folder) / "pgbouncer.ini"
        configuration.write_text("\n".join(lines))
        Path(folder).chmod(0o711)
        configuration.chmod(0o644)
        # As root it does not run; only the user of the server reaches the server's socket.
        user = ["-u", ROOT_STAND_IN] if os.geteuid() == 0 else []
        command = [PROGRAM, "-q", *user, str(configuration)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                _wait_for(port)
                yield f"127.0.0.1:{port}"
            finally:
                process.send_signal(signal.SIGTERM)


def through(url: str, pooler: str) -> str:
    """The URL of a database, by way of a pooler."""
    host, port = pooler.split(":")
    through = sa.make_url(url).set(host=host, port=int(port), query={})
    return through.render_as_string(hide_password=False)


def _wait_for(port: int) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)
        else:
            return
