"""Running head office's stand-in for people: from the command line, until it is stopped.

What belongs here: the blocking call and what it tells the terminal. What does not: the server itself (server.py).
"""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

from imagesync_pipelines.sandbox.head_office.control import ROOT
from imagesync_pipelines.sandbox.head_office.server import head_office_sandbox

PORT = 8803


def serve(
    announce: Callable[[str], None],
    *,
    database_url: str,
    folder: Path,
    port: int = PORT,
    photos: int = 150,
    stores: int = 2,
    seed: int = 1,
    original: bool = False,
) -> None:
    """Run the stand-in until SIGINT or SIGTERM; to be called from the main thread.

    `announce` is given the lines for the terminal: the section for IMAGESYNC_ACCOUNTS, and where to steer. The ids of
    the stores are the same after a restart. Raises ServingError when the port is taken.
    """
    stop = threading.Event()
    before = {kind: signal.signal(kind, lambda *_: stop.set()) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        with head_office_sandbox(
            database_url, photos=photos, stores=stores, seed=seed, original=original, folder=folder, port=port
        ) as sandbox:
            announce(
                f"# head office of the sandbox; its password: {sandbox.password}; control: {sandbox.url}{ROOT}state"
            )
            announce("[edge.head_office]")
            announce(f'url = "{sandbox.url}"')
            announce(f'username = "{sandbox.username}"')
            announce('password = "env:HEAD_OFFICE_PASSWORD"')
            for nth, store in enumerate(sandbox.stores, start=1):
                announce(f"[edge.stores.store{nth}]")
                announce(f'store_id = "{store}"')
            stop.wait()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
