"""The catalogue, or the photo server of a store, in a process of its own: what asks it is then another process."""

import json
import sys
import threading
from collections.abc import Sequence

from starlette.types import ASGIApp

from benchmarks.catalogue_world import open_photos, settings_of
from imagesync_pipelines.sandbox.server import bind, running
from imagesync_pipelines.storage.installation import Installation, open_installation
from imagesync_pipelines.sync.job_runs import PastRun
from imagesync_pipelines.web.catalogue.app import build_app
from imagesync_pipelines.web.catalogue.state import open_catalogue
from imagesync_pipelines.web.edge_photos import build_app as build_photos


def serve(home: str, photos: bool) -> None:
    """Serve the installation in `home`."""
    with open_installation(settings_of(home)) as place:
        listener = bind()
        with running((_app(place, photos), listener)):
            print(listener.getsockname()[1], flush=True)
            threading.Event().wait()


def _app(place: Installation, photos: bool) -> ASGIApp:
    return build_photos(open_photos(place)) if photos else build_app(open_catalogue(place, _no_runs))


def _no_runs(limit: int, connector: str | None) -> Sequence[PastRun]:
    return []


if __name__ == "__main__":
    serve(**json.loads(sys.argv[1]))
