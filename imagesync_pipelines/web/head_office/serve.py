"""Running the head-office service in this process."""

import signal

import uvicorn

from imagesync_pipelines.storage.objects import ensure_bucket
from imagesync_pipelines.web.head_office.app import build_app
from imagesync_pipelines.web.head_office.office import HeadOffice

HOST, PORT = "127.0.0.1", 8002
# Downloads under way get this many seconds when the service is asked to stop.
STOP_SECONDS = 20


def serve(office: HeadOffice, *, host: str = HOST, port: int = PORT) -> None:
    """Answer requests until SIGINT or SIGTERM; to be called from the main thread.

    Raises ObjectStoreError when the bucket is neither there nor can be made. Transport encryption is the proxy's.
    """
    ensure_bucket(office.s3, office.bucket)
    config = uvicorn.Config(
        build_app(office),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    # uvicorn stops at a signal and then sends it again: by default that would end this process at once, and leave the
    # embedded object store running.
    before = {kind: signal.signal(kind, lambda *_: None) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        uvicorn.Server(config).run()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
