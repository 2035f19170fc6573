"""The catalogue as one FastAPI app: its pages, the API below them, and what is answered when something is wrong.

The API is an application of its own below /api/v1, with its own errors and its own OpenAPI document.
"""

from dataclasses import replace
from functools import partial
from http import HTTPStatus
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from imagesync_pipelines.languages import _
from imagesync_pipelines.products.article_rules import RuleRefusedError
from imagesync_pipelines.quality.rules import rule_sets
from imagesync_pipelines.storage.errors import PinRefusedError, PlanMissingError
from imagesync_pipelines.storage.subscriptions import SubscriptionError
from imagesync_pipelines.sync.excluding import ExclusionRefusedError
from imagesync_pipelines.sync.undoing import UndoRefusedError
from imagesync_pipelines.upstream.answers import origin_of
from imagesync_pipelines.web.catalogue import exporting, metrics, standing, views
from imagesync_pipelines.web.catalogue.access import AccessRefusedError
from imagesync_pipelines.web.catalogue.admin import (
    articles,
    bulk,
    exclusions,
    fleet,
    held,
    ordering,
    plan_words,
    quarantine,
    runs,
    sessions,
    subscriptions,
    users,
)
from imagesync_pipelines.web.catalogue.admin.dagster import DagsterUnreachableError
from imagesync_pipelines.web.catalogue.admin.many import LARGEST_FORM, MOST_FIELDS
from imagesync_pipelines.web.catalogue.api import calls, judged, routes
from imagesync_pipelines.web.catalogue.pages import alike, history, languages, pictures, plans, products, quality
from imagesync_pipelines.web.catalogue.pages.rendering import Headers, is_fragment, make_templates, render
from imagesync_pipelines.web.catalogue.past import PastUnknownError
from imagesync_pipelines.web.catalogue.queries import CursorError
from imagesync_pipelines.web.catalogue.state import Opened, kept_for
from imagesync_pipelines.web.documentation import add_documentation
from imagesync_pipelines.web.gate import protect
from imagesync_pipelines.web.languages import Spoken
from imagesync_pipelines.web.service import AddedHeaders, answer_faults

# A run takes seconds at least, and reading its record takes milliseconds: a busy page need not read it again.
RUNS_KEPT_SECONDS, COUNTS_KEPT_SECONDS = 5.0, 60.0
QUALITY_KEPT_SECONDS = 60.0
ROUTERS = (
    products.router,
    history.router,
    plans.router,
    pictures.router,
    quality.router,
    alike.router,
    exporting.router,
    metrics.router,
    languages.router,
)
FRAMED = (products.router, history.router, plans.router, quality.router, alike.router)
ADMIN_ROUTERS = (
    *(sessions.router, products.admin_router, runs.router, plan_words.router, quarantine.router, held.router),
    *(articles.router, bulk.router, ordering.router, exclusions.router, fleet.router, subscriptions.router),
    *(users.router, views.router, alike.admin_router),
)
API_ROUTERS = (routes.router, routes.changes_router, routes.primary_router, judged.router, exporting.api_router)

COOKIE = "imagesync_session"
# A working day; who logs in in the morning does not have to do it again.
SESSION_SECONDS = 12 * 3600

# What every answer carries: no inline script or style, nothing from another host, no page of ours in another's frame.
SAFE = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# What a page cannot be shown or done for: the status of the answer, whether the message is for people, and the headers.
# The answer to what nobody foresaw does not pass the middleware that adds SAFE.
ERRORS: dict[type[Exception], tuple[int, bool, Headers]] = {
    RequestValidationError: (400, False, {}),
    CursorError: (400, True, {}),
    PlanMissingError: (404, True, {}),
    PastUnknownError: (404, True, {}),
    runs.NothingToStartError: (409, True, {}),
    PinRefusedError: (409, True, {}),
    UndoRefusedError: (409, True, {}),
    RuleRefusedError: (409, True, {}),
    AccessRefusedError: (409, True, {}),
    ExclusionRefusedError: (409, True, {}),
    SubscriptionError: (409, True, {}),
    DagsterUnreachableError: (503, True, {}),
    OperationalError: (503, False, {"Retry-After": "5"}),
    Exception: (500, False, SAFE),
}

# How starlette begins what it says of a form of more than MOST_FIELDS, with a status that says nothing of it.
_TOO_MANY_FIELDS = "Too many fields"

API = "/api/v1"
API_DESCRIPTION = """
Products, their images and their primary image, for shops, tills and ERPs. Send the key of `imagesync key add` as
`Authorization: Bearer <key>`. Answers carry an `ETag`; ask again with `If-None-Match`. Errors are
`application/problem+json`.
"""


class Api(FastAPI):
    """The API, whose document also has the shape of a problem, which no route gives back by itself."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            schemas = super().openapi()["components"]["schemas"]
            for model in (calls.Problem, calls.Wrong):
                schemas[model.__name__] = model.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas[model.__name__].pop("$defs", None)
        return super().openapi()


def build_app(opened: Opened) -> FastAPI:
    """The catalogue over what was opened."""
    app = FastAPI(
        title="Product image catalogue",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        form_limits={"max_files": 0, "max_fields": MOST_FIELDS, "max_part_size": LARGEST_FORM},
    )
    opened_app = replace(opened, read_runs=kept_for(RUNS_KEPT_SECONDS, opened.read_runs))
    app.state.opened = opened_app
    app.state.templates = make_templates()
    app.state.counts = kept_for(COUNTS_KEPT_SECONDS, partial(products.count_each, opened))
    app.state.derivatives = pictures.Derivatives(opened)
    app.state.exports = exporting.Exports(opened)
    app.state.rule_sets = kept_for(QUALITY_KEPT_SECONDS, partial(rule_sets, opened.quality))
    app.state.judged_by = kept_for(QUALITY_KEPT_SECONDS, partial(standing.judged_by, opened))
    app.state.channels = kept_for(QUALITY_KEPT_SECONDS, partial(standing.channels, opened))
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(sessions.LoginNeededError, _to_login)
    for kind in ERRORS:
        app.add_exception_handler(kind, partial(_failed, kind))
    answer_faults(app, partial(_failed, OperationalError))
    protect(app, LARGEST_FORM)
    safe = _safe(opened)
    app.add_middleware(AddedHeaders, headers=lambda scope: safe)
    app.mount(API, _build_api(opened_app, app.state.exports))
    app.mount("/static", StaticFiles(directory=str(files(__package__) / "static")), name="static")
    # Pages for everybody: who it is may have to be asked of the identity provider, which is never done while rendering.
    known = [] if opened.oidc is None else [Depends(sessions.visitor)]
    for router in ROUTERS:
        app.include_router(router, dependencies=known if router in FRAMED else [])
    # Sessions, and the pages for people who log in.
    app.add_middleware(
        SessionMiddleware,
        secret_key=opened.session_secret.get_secret_value(),
        session_cookie=COOKIE,
        max_age=SESSION_SECONDS,
        same_site="lax",
        domain=opened.settings.cookie_domain,
        https_only=opened.shared.environment == "production",
    )
    app.state.templates.env.globals.update(
        visitor=sessions.shown_visitor, csrf_token=sessions.csrf_token, told_once=sessions.told
    )
    for router in ADMIN_ROUTERS:
        app.include_router(router, dependencies=[Depends(sessions.from_our_form)])
    if opened.oidc is not None:
        from imagesync_pipelines.web.catalogue.oidc import routes as oidc

        app.include_router(oidc.router, dependencies=[Depends(sessions.from_our_form)])
        app.include_router(oidc.provider_router)
    # The first of all: what the others refuse is said in its language too.
    app.add_middleware(Spoken, setting=opened.shared.language, english=(f"{API}/",))
    return app


def _safe(opened: Opened) -> Headers:
    """SAFE, where one login opens Dagster's UI too: the form of the login may lead there."""
    if not opened.settings.cookie_domain:
        return SAFE
    name, ours = "Content-Security-Policy", "form-action 'self'"
    return {**SAFE, name: SAFE[name].replace(ours, f"{ours} {origin_of(opened.shared.webserver_url)}")}


def _build_api(opened: Opened, exports: exporting.Exports) -> FastAPI:
    """The API; its document is at openapi.json, for people at docs and redoc, and needs no key."""
    app = Api(
        title="Product images",
        version="1",
        description=API_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        servers=[{"url": API}],
    )
    app.state.opened, app.state.exports = opened, exports
    calls.add_handlers(app)
    protect(app, calls.LARGEST_BODY)
    app.add_middleware(AddedHeaders, headers=calls.told_of_budget)
    add_documentation(app)
    for router in API_ROUTERS:
        app.include_router(router, dependencies=[Depends(calls.known_only)])
    return app


async def _refused(request: Request, error: Any) -> Response:
    """A page for people; below /api/ it is answered for programs."""
    if request.url.path.startswith("/api/"):
        return calls.refused(request, error)
    if error.status_code == 413 or error.detail.startswith(_TOO_MANY_FIELDS):
        said = _("More was sent at once than is read. Go back and do one part after the other; nothing was changed.")
        return _page(request, 413, said, error.headers)
    said = error.detail if error.detail != HTTPStatus(error.status_code).phrase else ""
    return _page(request, error.status_code, said, error.headers)


async def _failed(kind: type[Exception], request: Request, error: Exception) -> Response:
    status, is_for_people, headers = ERRORS[kind]
    query = error.query if isinstance(error, runs.NothingToStartError) else ""
    return _page(request, status, str(error) if is_for_people else "", headers, query)


async def _to_login(request: Request, error: Exception) -> Response:
    """Send a person to the login, and back afterwards; what they had filled in is not sent anywhere."""
    login_path = sessions.way_in(request)
    if is_fragment(request):
        return Response(status_code=401, headers={**sessions.NO_STORE, "HX-Redirect": login_path})
    if request.method != "GET":
        said = _("You are not signed in, or were signed out meanwhile. Nothing was changed.")
        return _page(request, 401, said, sessions.NO_STORE)
    wanted = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    return RedirectResponse(f"{login_path}?{urlencode({'next': wanted})}", 303, headers=sessions.NO_STORE)


def _page(request: Request, status: int, told: str = "", headers: Headers | None = None, query: str = "") -> Response:
    context = {"status": status, "told": told, "query": query}
    return render(request, "error.html", context, status=status, headers=headers)
