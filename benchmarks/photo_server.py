"""The photo server of a store, served as it is in earnest, of whichever tree is on the path."""

import json
import sys

from imagesync_pipelines.connectors.edge.store import open_store
from imagesync_pipelines.web import service
from imagesync_pipelines.web.edge_photos import build_app


def main(url: str, port: int) -> None:
    """Serve until the process is ended."""
    service.serve(build_app(open_store(url)), "127.0.0.1", port)


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
