"""What a person sees when something cannot be shown."""

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler, request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError, TimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from imagesync_pipelines.web.catalogue.headers import SAFE
from imagesync_pipelines.web.catalogue.pages.rendering import render

API = "/api/"
RETRY_SECONDS = "5"


def add_error_pages(app: FastAPI) -> None:
    """Answer errors with pages for people; everything below /api/ is left to FastAPI."""
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(OperationalError, _no_database)
    app.add_exception_handler(TimeoutError, _no_database)
    app.add_exception_handler(Exception, _broken)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it was registered for
    if request.url.path.startswith(API):
        return await http_exception_handler(request, error)
    told = error.detail if error.detail != HTTPStatus(error.status_code).phrase else ""
    return _page(request, error.status_code, told, dict(error.headers or {}))


async def _not_understood(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it was registered for
    if request.url.path.startswith(API):
        return await request_validation_exception_handler(request, error)
    return _page(request, 400, "", {})


async def _no_database(request: Request, error: Exception) -> Response:
    """The database does not answer now; nothing of its error is shown."""
    if request.url.path.startswith(API):
        problem = HTTPException(503, "The database does not answer at the moment.", {"Retry-After": RETRY_SECONDS})
        return await http_exception_handler(request, problem)
    return _page(request, 503, "", {"Retry-After": RETRY_SECONDS})


async def _broken(request: Request, error: Exception) -> Response:
    """An error of ours: the server logs it, the page tells nothing of it."""
    if request.url.path.startswith(API):
        answer = await http_exception_handler(request, HTTPException(500))
    else:
        answer = _page(request, 500, "", {})
    # This answer does not pass the middleware that adds them.
    answer.headers.update(SAFE)
    return answer


def _page(request: Request, status: int, told: str, headers: dict[str, str]) -> Response:
    return render(request, "error.html", {"status": status, "told": told}, status=status, headers=headers)
