"""The catalogue in a process of its own, of whichever tree is on the path: what asks it is then another process."""

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from benchmarks.catalogue_world import settings_of
from imagesync_pipelines.sandbox.server import bind, running
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.sync.job_runs import PastRun
from imagesync_pipelines.web.catalogue.app import build_app
from imagesync_pipelines.web.catalogue.state import open_catalogue


def serve(home: Path) -> None:
    """Serve the installation in `home`."""
    with open_installation(settings_of(home)) as place:
        listener = bind()
        with running((build_app(open_catalogue(place, _no_runs)), listener)):
            print(listener.getsockname()[1], flush=True)
            threading.Event().wait()


def _no_runs(limit: int, connector: str | None) -> Sequence[PastRun]:
    return []


if __name__ == "__main__":
    serve(Path(json.loads(sys.argv[1])["home"]))
