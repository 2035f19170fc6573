"""The head-office service as one FastAPI app, and running it in this process."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.responses import PlainTextResponse

from imagesync_pipelines.storage.database import engine_of
from imagesync_pipelines.storage.objects import S3Place, check_bucket, s3_client
from imagesync_pipelines.storage.reader import Reader
from imagesync_pipelines.web import service
from imagesync_pipelines.web.documentation import add_documentation
from imagesync_pipelines.web.gate import protect
from imagesync_pipelines.web.head_office import reading, reading_v2, reports, tokens
from imagesync_pipelines.web.head_office.answers import SAFE, add_handlers
from imagesync_pipelines.web.head_office.lane import DownloadLane
from imagesync_pipelines.web.head_office.office import POOL, HeadOffice, HeadOfficeSettings

HOST, PORT = "127.0.0.1", 8002
# Downloads under way get this many seconds when the service is asked to stop.
STOP_SECONDS = 20

DESCRIPTION = """
The head office lists the product photos of a store, gives their bytes, and takes reports of what arrived.
Get a token first: `POST /api/v1/token/`, then send it as `Authorization: Bearer ...`.
"""


def build_app(office: HeadOffice) -> FastAPI:
    """The service over one head office; its documentation is at /docs, /redoc and /openapi.json."""
    reader = Reader(office.engine.url)

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        yield
        await reader.close()

    app = FastAPI(
        title="Head office", version="1", description=DESCRIPTION, docs_url=None, redoc_url=None, lifespan=closing
    )
    app.state.office = office
    add_handlers(app)
    protect(app)
    app.add_middleware(service.AddedHeaders, headers=lambda scope: SAFE)
    if office.place is not None:
        app.add_middleware(DownloadLane, office=office, place=office.place, reader=reader)
    add_documentation(app)
    for part in (tokens, reading, reading_v2, reports):
        app.include_router(part.router)

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> PlainTextResponse:
        """The process answers; nothing else is asked."""
        return PlainTextResponse("ok")

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> PlainTextResponse:
        """Whether the database answers; a 503 as everywhere when it does not."""
        with office.engine.connect() as connection:
            connection.execute(sa.select(1))
        return PlainTextResponse("ok")

    return app


def serve(office: HeadOffice, *, host: str = HOST, port: int = PORT) -> None:
    """Answer requests until a signal ends it; to be called from the main thread.

    Raises StorageError when the bucket is not there or may not be used.
    """
    check_bucket(office.s3, office.bucket)
    how: Any = {"trusted_proxies": office.trusted_proxies, "stop_seconds": STOP_SECONDS}
    if office.settings.processes == 1 or office.place is None:
        service.serve(build_app(office), host, port, **how)
        return
    url = office.engine.url.render_as_string(hide_password=False)
    make = partial(_open_app, url, office.place, office.settings, office.jwt_secret, office.clock)
    service.serve_in_processes(make, host, port, office.settings.processes, **how)


def _open_app(
    url: str, place: S3Place, settings: HeadOfficeSettings, jwt_secret: SecretStr, clock: Callable[[], datetime]
) -> FastAPI:
    """The service over the same head office, in a process of its own. Whatever is counted or ended is in the database:
    tokens, wrong passwords, grants.
    """
    engine, client = engine_of(url, **POOL), s3_client(place)
    return build_app(HeadOffice(engine, client, place.bucket, settings, jwt_secret, clock, place=place))
