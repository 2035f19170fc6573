"""The pages for people who log in, put together."""

from urllib.parse import urlencode

from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import RedirectResponse, Response

from imagesync_pipelines.web.catalogue.admin import login, product, quarantine, runs, unmatched
from imagesync_pipelines.web.catalogue.admin.sessions import (
    NO_STORE,
    LoginNeededError,
    csrf_token,
    from_our_form,
    shown_visitor,
    told,
)
from imagesync_pipelines.web.catalogue.pages.rendering import is_fragment, render
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.service import BodyLimit

ROUTERS = (login.router, product.router, runs.router, quarantine.router, unmatched.router)

COOKIE = "imagesync_session"
# A working day; who logs in in the morning does not have to do it again.
SESSION_SECONDS = 12 * 3600
# The longest form is the list of SKUs to synchronise.
LARGEST_FORM = 256 * 1024


def add_admin(app: FastAPI, opened: Opened) -> None:
    """Add login, roles and the admin pages to the application; its templates are there already."""
    app.add_middleware(BodyLimit, largest=LARGEST_FORM)
    app.add_middleware(
        SessionMiddleware,
        secret_key=opened.session_secret.get_secret_value(),
        session_cookie=COOKIE,
        max_age=SESSION_SECONDS,
        same_site="lax",
        https_only=opened.shared.environment == "production",
    )
    app.add_exception_handler(LoginNeededError, _to_login)
    app.state.templates.env.globals.update(visitor=shown_visitor, csrf_token=csrf_token, told_once=told)
    ours = APIRouter(include_in_schema=False, dependencies=[Depends(from_our_form)])
    for router in ROUTERS:
        ours.include_router(router)
    app.include_router(ours)


async def _to_login(request: Request, error: Exception) -> Response:
    """Send a person to the login, and back afterwards; what they had filled in is not sent anywhere."""
    login_path = str(request.app.url_path_for("login"))
    if is_fragment(request):
        return Response(status_code=401, headers={**NO_STORE, "HX-Redirect": login_path})
    if request.method != "GET":
        sentence = "You are not signed in, or were signed out meanwhile. Nothing was changed."
        return render(request, "error.html", {"status": 401, "told": sentence}, status=401, headers=NO_STORE)
    wanted = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    return RedirectResponse(f"{login_path}?{urlencode({'next': wanted})}", 303, headers=NO_STORE)
