"""The API as an application of its own below /api/v1, with its own errors and its own OpenAPI document."""

from typing import Any

from fastapi import Depends, FastAPI

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


class Api(FastAPI):
    """The application, whose document also has the shape of a problem, which no route gives back by itself."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            schemas = super().openapi()["components"]["schemas"]
            for model in (Problem, Wrong):
                schemas[model.__name__] = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas[model.__name__].pop("$defs", None)
        return super().openapi()


def build_api(opened: Opened) -> FastAPI:
    """The API over what was opened; its document is at openapi.json and needs no key."""
    app = Api(
        title="Product images",
        version="1",
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        servers=[{"url": PATH}],
        redirect_slashes=False,
    )
    app.state.opened = opened
    app.add_middleware(BodyLimit, largest=LARGEST_BODY)
    app.add_middleware(AddedHeaders, headers=told_of_budget)
    add_handlers(app)
    for router in ROUTERS:
        app.include_router(router, dependencies=[Depends(known_only)])
    return app
