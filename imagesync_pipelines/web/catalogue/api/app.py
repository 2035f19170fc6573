"""The API as an application of its own below /api/v1, with its own errors and its own OpenAPI document."""

from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi

from imagesync_pipelines.web.catalogue import exporting
from imagesync_pipelines.web.catalogue.api import changes, products
from imagesync_pipelines.web.catalogue.api.calls import (
    LARGEST_BODY,
    Problem,
    Wrong,
    add_handlers,
    known_only,
    told_of_budget,
)
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.service import AddedHeaders, BodyLimit

PATH = "/api/v1"
ROUTERS = (products.router, changes.router, products.primary_router, exporting.api_router)

DESCRIPTION = """
Products, their images and their primary image, for shops, tills and ERPs. Send the key of `imagesync key add` as
`Authorization: Bearer <key>`. Answers carry an `ETag`; ask again with `If-None-Match`. Errors are
`application/problem+json`.
"""


def build_api(opened: Opened) -> FastAPI:
    """The API over what was opened; its document is at openapi.json and needs no key."""
    app = FastAPI(
        title="Product images",
        version="1",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    app.state.opened = opened
    app.add_middleware(BodyLimit, largest=LARGEST_BODY)
    app.add_middleware(AddedHeaders, headers=told_of_budget)
    add_handlers(app)
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(known_only)])
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document with the shape of a problem, which no route gives back by itself."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            servers=[{"url": PATH}],
        )
        schemas = document["components"]["schemas"]
        for model in (Problem, Wrong):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            schema.pop("$defs", None)
            schemas[model.__name__] = schema
        app.openapi_schema = document
    return app.openapi_schema
