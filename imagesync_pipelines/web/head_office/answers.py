"""How every refusal is written, and the shapes of refusals in the OpenAPI document.

Token refusals have the original's bodies; every other one is
`{"status": "error", "message": ..., "detail": ...}`, where the original had four shapes.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError, TimeoutError
from starlette.exceptions import HTTPException

from imagesync_pipelines.storage.faults import told
from imagesync_pipelines.web.service import answer_faults, at_fault

TOKEN_PATHS = "/api/v1/token/"  # noqa: S105 - a path
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="api"'}
BUSY = {"Retry-After": "5"}

# What every answer carries that says nothing stricter of its own: it is no page, and nothing between keeps it.
SAFE = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

logger = logging.getLogger("imagesync.head_office")


class HeadOfficeProblem(BaseModel):
    """Every refusal but those of tokens."""

    status: Literal["error"] = "error"
    message: str
    detail: str | None = None


class TokenProblem(BaseModel):
    """A refusal of a token: `code` says which."""

    detail: str
    code: str | None = None
    messages: list[dict[str, str]] | None = None


# What every sync endpoint may answer, for the OpenAPI document.
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": HeadOfficeProblem, "description": "A value is missing or wrong"},
    401: {"model": TokenProblem, "description": "No token, or one that is not good"},
    403: {"model": HeadOfficeProblem, "description": "The account may not read this store"},
    404: {"model": HeadOfficeProblem, "description": "The store is unknown or inactive, or the photo is not there"},
    "default": {"model": HeadOfficeProblem, "description": "Any other refusal"},
    503: {"model": HeadOfficeProblem, "description": "The database or the object store does not answer; try again"},
}


class V2Problem(BaseModel):
    """A refusal of the listing of V2; `code` says which."""

    error: str
    code: str
    detail: str | None = None


class RequestRefusedError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, problem: BaseModel, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, problem)
        self.status = status
        self.answer = JSONResponse(problem.model_dump(exclude_none=True), status, dict(headers or {}))


def refused(
    status: int, message: str, detail: str | None = None, headers: Mapping[str, str] | None = None
) -> RequestRefusedError:
    """The refusal of a request of the sync endpoints."""
    return RequestRefusedError(status, HeadOfficeProblem(message=message, detail=detail), headers)


def token_refused(detail: str, code: str | None = None, **messages: str) -> RequestRefusedError:
    """401: no token, or one that is not good; the caller should log in again."""
    problem = TokenProblem(detail=detail, code=code, messages=[messages] if messages else None)
    return RequestRefusedError(401, problem, CHALLENGE)


def wait_to_log_in(seconds: int) -> RequestRefusedError:
    """429, in the words of the original's framework."""
    problem = TokenProblem(detail=f"Request was throttled. Expected available in {seconds} seconds.", code="throttled")
    return RequestRefusedError(429, problem, {"Retry-After": str(seconds)})


def add_handlers(app: FastAPI) -> None:
    """Make the app write every error in the shapes of this module."""
    handlers: dict[type[Exception], Callable[..., JSONResponse]] = {
        RequestRefusedError: lambda _, error: error.answer,
        RequestValidationError: _bad_input,
        HTTPException: _no_route,
        OperationalError: database_gone,
        TimeoutError: database_gone,
        Exception: _crashed,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    answer_faults(app, database_gone)


def _bad_input(request: Request, error: RequestValidationError) -> JSONResponse:
    """400 that names each wrong value and what is expected; the value itself is not repeated."""
    if request.url.path.startswith(TOKEN_PATHS):
        return JSONResponse(_field_errors(error.errors()), 400)
    return refused(400, "; ".join(in_words(item) for item in error.errors())).answer


def _field_errors(errors: Any) -> dict[str, Any]:
    """The original's form for a login: field -> list of messages."""
    fields: dict[str, Any] = {}
    for item in errors:
        if item["type"] == "json_invalid" or len(item["loc"]) < 2:
            return {"detail": "JSON parse error - an object was expected"}
        said = "This field is required." if item["type"] == "missing" else "Not a valid string."
        fields[str(item["loc"][-1])] = [said]
    return fields


def in_words(item: Mapping[str, Any]) -> str:
    """What is wrong with one value of a request, for people; the first part of its place is left out."""
    name = ".".join(str(part) for part in item["loc"][1:]) or "body"
    if item["type"] == "missing":
        return f"{name} is required"
    if item["type"] == "json_invalid":
        return "the body is not JSON"
    return f"{name}: {item['msg'].removeprefix('Value error, ')}"


def _no_route(request: Request, error: HTTPException) -> JSONResponse:
    message = str(error.detail)
    if error.status_code == 404:
        message = f"There is no {request.url.path} here; every path ends with a slash, see /docs"
    elif error.status_code == 405:
        message = f'Method "{request.method}" not allowed.'
    return refused(error.status_code, message, headers=error.headers).answer


def database_gone(_: Request | None, error: Exception) -> JSONResponse:
    """503, and a line in the log."""
    logger.error("a fault around us: %s", told(error) or error)
    return refused(503, at_fault(error), headers=BUSY).answer


def _crashed(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    # This answer does not pass the middleware that adds them.
    return refused(500, "Internal server error", headers=SAFE).answer
