"""The head-office service as one FastAPI app."""

from fastapi import FastAPI

from imagesync_pipelines.web.head_office import download, health, listing, status, tokens
from imagesync_pipelines.web.head_office.answers import add_handlers
from imagesync_pipelines.web.head_office.limits import BodyLimit
from imagesync_pipelines.web.head_office.office import HeadOffice

DESCRIPTION = """
The head office lists the product photos of a store, gives their bytes, and takes reports of what arrived.
Get a token first: `POST /api/v1/token/`, then send it as `Authorization: Bearer ...`.
"""


def build_app(office: HeadOffice) -> FastAPI:
    """The service over one head office; its documentation is at /docs and /openapi.json."""
    app = FastAPI(title="Head office", version="1", description=DESCRIPTION, redirect_slashes=False)
    app.state.office = office
    app.add_middleware(BodyLimit)
    add_handlers(app)
    for part in (tokens, listing, download, status, health):
        app.include_router(part.router)
    return app
