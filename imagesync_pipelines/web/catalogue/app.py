"""The catalogue as one FastAPI app."""

from dataclasses import replace
from functools import partial
from importlib.resources import files

from fastapi import Depends, FastAPI
from starlette.middleware.sessions import SessionMiddleware
from starlette.staticfiles import StaticFiles

from imagesync_pipelines.web.catalogue import exporting, metrics
from imagesync_pipelines.web.catalogue.admin import login, product, quarantine, runs
from imagesync_pipelines.web.catalogue.admin.sessions import csrf_token, from_our_form, shown_visitor, told
from imagesync_pipelines.web.catalogue.api.app import PATH as API
from imagesync_pipelines.web.catalogue.api.app import build_api
from imagesync_pipelines.web.catalogue.derivatives import Derivatives
from imagesync_pipelines.web.catalogue.errors import SAFE, add_error_pages
from imagesync_pipelines.web.catalogue.exporting import Exports
from imagesync_pipelines.web.catalogue.pages import history, pictures, plans, products
from imagesync_pipelines.web.catalogue.pages.rendering import make_templates
from imagesync_pipelines.web.catalogue.state import Opened, kept_for
from imagesync_pipelines.web.service import AddedHeaders, BodyLimit

# A run takes seconds at least, and reading its record takes milliseconds: a busy page need not read it again.
RUNS_KEPT_SECONDS, COUNTS_KEPT_SECONDS = 5.0, 60.0
ROUTERS = (products.router, history.router, plans.router, pictures.router, exporting.router, metrics.router)
ADMIN_ROUTERS = (login.router, product.router, runs.router, quarantine.router)

COOKIE = "imagesync_session"
# A working day; who logs in in the morning does not have to do it again.
SESSION_SECONDS = 12 * 3600
# The longest form is the list of SKUs to synchronise.
LARGEST_FORM = 256 * 1024


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
    # Sessions, and the pages for people who log in.
    app.add_middleware(BodyLimit, largest=LARGEST_FORM)
    app.add_middleware(
        SessionMiddleware,
        secret_key=opened.session_secret.get_secret_value(),
        session_cookie=COOKIE,
        max_age=SESSION_SECONDS,
        same_site="lax",
        https_only=opened.shared.environment == "production",
    )
    app.state.templates.env.globals.update(visitor=shown_visitor, csrf_token=csrf_token, told_once=told)
    for router in ADMIN_ROUTERS:
        app.include_router(router, dependencies=[Depends(from_our_form)])
    return app
