"""Running the image database's stand-in for people: from the command line, and changing it as a night would.

What belongs here: the blocking call and what it tells the terminal. What does not: the server itself (server.py).
"""

import signal
import threading
from collections.abc import Callable
from pathlib import Path

from imagesync_pipelines.sandbox.image_db.catalogue import RECORDS
from imagesync_pipelines.sandbox.image_db.mutation import Mutation
from imagesync_pipelines.sandbox.image_db.night import pass_a_night
from imagesync_pipelines.sandbox.image_db.server import Sandbox, image_db_sandbox
from imagesync_pipelines.sandbox.serving import LOOPBACK

PORT, MEDIA_PORT = 8801, 8802


def demo_changes(sandbox: Sandbox) -> list[Mutation]:
    """Let a believable night pass at the image database and give what changed; see night.py."""
    return pass_a_night(sandbox.mutator, sandbox.catalogue)


def serve(
    announce: Callable[[str], None],
    *,
    port: int = PORT,
    media_port: int = MEDIA_PORT,
    seed: int = 1,
    records: int = RECORDS,
    latency: float = 0.0,
    nights: int = 0,
    erp_folder: Path | None = None,
) -> None:
    """Run the stand-in until SIGINT or SIGTERM; to be called from the main thread.

    `announce` is given the lines for the terminal: URLs, credentials, ERP files. Fixed ports keep the media URLs the
    same after a restart; `nights` nights of changes have passed at the start. Raises ServingError when a port is taken.
    """
    stop = threading.Event()
    before = {kind: signal.signal(kind, lambda *_: stop.set()) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        with image_db_sandbox(seed=seed, records=records, port=port, media_port=media_port, latency=latency) as sandbox:
            for _ in range(nights):
                demo_changes(sandbox)
            announce(f"IMAGE_API_URL={sandbox.url}")
            announce(f"IMAGE_API_USERNAME={sandbox.username}")
            announce(f"IMAGE_API_PASSWORD={sandbox.password}")
            announce(f"# pictures: {sandbox.media_url}  control: {sandbox.url.removesuffix('api/')}__sandbox__/state")
            announce(f"IMAGESYNC_ALLOWED_IMAGE_HOSTS={LOOPBACK}")
            if erp_folder is not None:
                parents, variants = sandbox.write_erp_csv(erp_folder)
                announce(f"ERP_PARENTS_FILE={parents}")
                announce(f"ERP_VARIANTS_FILE={variants}")
            stop.wait()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
