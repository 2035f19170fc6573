"""The catalogue as one FastAPI app."""

from dataclasses import replace
from functools import partial
from importlib.resources import files

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from imagesync_pipelines.web.catalogue import exporting, metrics
from imagesync_pipelines.web.catalogue.admin.app import add_admin
from imagesync_pipelines.web.catalogue.api.app import PATH as API
from imagesync_pipelines.web.catalogue.api.app import build_api
from imagesync_pipelines.web.catalogue.derivatives import Derivatives
from imagesync_pipelines.web.catalogue.errors import SAFE, add_error_pages
from imagesync_pipelines.web.catalogue.exporting import Exports
from imagesync_pipelines.web.catalogue.pages import history, pictures, plans, products
from imagesync_pipelines.web.catalogue.pages.rendering import make_templates
from imagesync_pipelines.web.catalogue.state import Opened, kept_for
from imagesync_pipelines.web.service import AddedHeaders

# A run takes seconds at least, and reading its record takes milliseconds: a busy page need not read it again.
RUNS_KEPT_SECONDS, COUNTS_KEPT_SECONDS = 5.0, 60.0
ROUTERS = (
    products.router,
    history.router,
    plans.router,
    pictures.router,
    exporting.router,
    metrics.router,
)


def build_app(opened: Opened) -> FastAPI:
    """The catalogue over what was opened. There is no page of API documentation here that asks another host."""
    app = FastAPI(title="Product image catalogue", version="1", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.opened = replace(opened, read_runs=kept_for(RUNS_KEPT_SECONDS, opened.read_runs))
    app.state.templates = make_templates()
    app.state.counts = kept_for(COUNTS_KEPT_SECONDS, partial(products.count_each, opened))
    app.state.derivatives = Derivatives(opened)
    app.add_middleware(AddedHeaders, headers=lambda scope: SAFE)
    add_error_pages(app)
    api = build_api(app.state.opened)
    app.state.exports = api.state.exports = Exports(opened)
    app.mount(API, api)
    app.mount("/static", StaticFiles(directory=str(files(__package__) / "static")), name="static")
    for router in ROUTERS:
        app.include_router(router)
    add_admin(app, app.state.opened)
    return app
