"""The S3 servers that whatever uses one is tried with: the embedded one (rclone), and one of other makers (moto)."""

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.objects import S3Place, embedded_s3, s3_client


@contextmanager
def moto_s3(_: Path) -> Iterator[S3Place]:
    """moto's server, which keeps objects in memory and takes any keys; with a bucket that is nobody else's."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        bucket = f"photos-{uuid.uuid4().hex[:12]}"
        place = S3Place(f"http://{host}:{port}", "k" * 20, SecretStr("s" * 40), "us-east-1", bucket)
        s3_client(place).create_bucket(Bucket=bucket)
        yield place
    finally:
        server.stop()


SERVERS: Mapping[str, Callable[[Path], AbstractContextManager[S3Place]]] = {"rclone": embedded_s3, "moto": moto_s3}
"""By name: given an empty folder, a store with a bucket for the length of a `with` block."""


def settings_at(place: S3Place, **more: object) -> Settings:
    """The settings that name a store."""
    return Settings(
        s3_endpoint_url=place.endpoint_url,
        s3_access_key=place.access_key,
        s3_secret_key=place.secret_key,
        s3_bucket=place.bucket,
        **more,  # type: ignore[arg-type]
    )
