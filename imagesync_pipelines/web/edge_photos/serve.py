"""Running the photo server of a store until it is stopped."""

import uvicorn
from starlette.applications import Starlette


def serve(app: Starlette, host: str, port: int) -> None:
    """Serve the application on host and port until a signal ends it; open answers are finished first."""
    uvicorn.run(app, host=host, port=port, access_log=False, server_header=False, timeout_graceful_shutdown=5)
