"""What a person sees when something cannot be shown, and the headers that every answer of the catalogue carries."""

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError, TimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response

from imagesync_pipelines.storage.errors import PinRefusedError, PlanMissingError
from imagesync_pipelines.web.catalogue.admin.dagster import DagsterUnreachableError
from imagesync_pipelines.web.catalogue.admin.runs import NothingToStartError
from imagesync_pipelines.web.catalogue.admin.sessions import NO_STORE, LoginNeededError
from imagesync_pipelines.web.catalogue.pages.rendering import is_fragment, render
from imagesync_pipelines.web.catalogue.queries.cursors import CursorError

# No inline script or style, nothing from another host, no page of ours inside another's frame.
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
SAFE = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
# What a page cannot be shown or done for, by the status of the answer; the message is for people.
REFUSALS: dict[type[Exception], int] = {
    CursorError: 400,
    PlanMissingError: 404,
    NothingToStartError: 409,
    PinRefusedError: 409,
    DagsterUnreachableError: 503,
}
API = "/api/"


def add_error_pages(app: FastAPI) -> None:
    """Answer errors with pages for people; an address below /api/ that is none is answered for programs."""
    app.add_exception_handler(HTTPException, _refused)
    for kind, status in REFUSALS.items():
        app.add_exception_handler(kind, partial(_said_no, status))
    app.add_exception_handler(LoginNeededError, _to_login)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(OperationalError, _no_database)
    app.add_exception_handler(TimeoutError, _no_database)
    app.add_exception_handler(Exception, _broken)


async def _refused(request: Request, error: Any) -> Response:
    if request.url.path.startswith(API):
        return await http_exception_handler(request, error)
    told = error.detail if error.detail != HTTPStatus(error.status_code).phrase else ""
    return _page(request, error.status_code, told, error.headers)


async def _said_no(status: int, request: Request, error: Exception) -> Response:
    return _page(request, status, str(error))


async def _to_login(request: Request, error: Exception) -> Response:
    """Send a person to the login, and back afterwards; what they had filled in is not sent anywhere."""
    login_path = str(request.app.url_path_for("login"))
    if is_fragment(request):
        return Response(status_code=401, headers={**NO_STORE, "HX-Redirect": login_path})
    if request.method != "GET":
        return _page(
            request, 401, "You are not signed in, or were signed out meanwhile. Nothing was changed.", NO_STORE
        )
    wanted = f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
    return RedirectResponse(f"{login_path}?{urlencode({'next': wanted})}", 303, headers=NO_STORE)


async def _not_understood(request: Request, error: Exception) -> Response:
    return _page(request, 400)


async def _no_database(request: Request, error: Exception) -> Response:
    """The database does not answer now; nothing of its error is shown."""
    return _page(request, 503, headers={"Retry-After": "5"})


async def _broken(request: Request, error: Exception) -> Response:
    """An error of ours: the server logs it, the page tells nothing of it."""
    # This answer does not pass the middleware that adds these headers.
    return _page(request, 500, headers=SAFE)


def _page(request: Request, status: int, told: str = "", headers: Mapping[str, str] | None = None) -> Response:
    return render(request, "error.html", {"status": status, "told": told}, status=status, headers=headers)
