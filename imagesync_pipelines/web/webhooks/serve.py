"""Running the endpoints that take what others send until they are stopped."""

import uvicorn

from imagesync_pipelines.web.webhooks.app import Endpoints, build_app

STOP_SECONDS = 5


def serve(endpoints: Endpoints, host: str, port: int) -> None:
    """Take requests on host and port until a signal ends it. No line is logged per call: the URL holds the secret."""
    config = uvicorn.Config(
        build_app(endpoints),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    uvicorn.Server(config).run()
