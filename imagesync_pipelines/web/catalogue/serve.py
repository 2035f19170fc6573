"""Running the catalogue until it is stopped."""

import signal

import uvicorn

from imagesync_pipelines.web.catalogue.app import build_app
from imagesync_pipelines.web.catalogue.state import Opened

STOP_SECONDS = 5


def serve(opened: Opened) -> None:
    """Answer requests at CATALOGUE_HOST and CATALOGUE_PORT until a signal ends it; open answers are finished first.

    To be called from the main thread. Transport encryption is the proxy's.
    """
    config = uvicorn.Config(
        build_app(opened),
        host=opened.settings.host,
        port=opened.settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    # uvicorn stops at a signal and then sends it again: by default that would end this process at once, and leave the
    # embedded database running.
    before = {kind: signal.signal(kind, lambda *_: None) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        uvicorn.Server(config).run()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
