"""Running Amazon's stand-in for people: from the command line, until it is stopped.

What belongs here: the blocking call and what it tells the terminal. What does not: the server itself (server.py).
"""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

from imagesync_pipelines.sandbox.amazon.mapping import demo_mapping, write_mapping
from imagesync_pipelines.sandbox.amazon.server import amazon_sandbox

PORT, TOKEN_PORT, IMAGES_PORT = 8807, 8808, 8809


def serve(
    announce: Callable[[str], None],
    *,
    port: int = PORT,
    token_port: int = TOKEN_PORT,
    images_port: int = IMAGES_PORT,
    mapping: Path | None = None,
) -> None:
    """Run the stand-in with the demo's listings until SIGINT or SIGTERM; to be called from the main thread.

    `announce` is given the lines for the terminal. The demo's mapping file is written to `mapping`. Raises ServingError
    when a port is taken.
    """
    stop = threading.Event()
    before = {kind: signal.signal(kind, lambda *_: stop.set()) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        with amazon_sandbox(port=port, token_port=token_port, images_port=images_port) as sandbox:
            if mapping is not None:
                write_mapping(demo_mapping(), mapping)
                announce(f"# mapping file: {mapping}")
            announce(f"# Amazon of the sandbox: catalogue {sandbox.url}, images {sandbox.images_url}")
            announce(f"# tokens: {sandbox.token_url} for {sandbox.client_id}; secret: {sandbox.client_secret}")
            announce(f"# refresh token: {sandbox.refresh_token}")
            stop.wait()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
