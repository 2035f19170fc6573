"""What the service says: the shapes of its answers and how every refusal is written.

Token refusals have the original's bodies; every other one is
`{"status": "error", "message": ..., "detail": ...}`, where the original had four shapes.
"""

import logging
from collections.abc import Mapping
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException

TOKEN_PATHS = "/api/v1/token/"  # noqa: S105 - a path
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="api"'}
BUSY = {"Retry-After": "5"}

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


class RequestRefusedError(Exception):
    """A request that is answered with an error of the sync endpoints."""

    def __init__(
        self, status: int, message: str, detail: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = HeadOfficeProblem(message=message, detail=detail)
        self.headers = dict(headers or {})


class TokenRefusedError(Exception):
    """401: no token, or one that is not good; the caller should log in again."""

    def __init__(self, problem: TokenProblem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def add_handlers(app: FastAPI) -> None:
    """Make the app write every error in the shapes of this module."""
    app.add_exception_handler(RequestRefusedError, _refused)
    app.add_exception_handler(TokenRefusedError, _token_refused)
    app.add_exception_handler(RequestValidationError, _bad_input)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(OperationalError, _database_gone)
    app.add_exception_handler(Exception, _crashed)


def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestRefusedError)  # noqa: S101 - for the type checker
    return _problem(error.status, error.problem, error.headers)


def _token_refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TokenRefusedError)  # noqa: S101 - for the type checker
    return JSONResponse(error.problem.model_dump(exclude_none=True), 401, CHALLENGE)


def _bad_input(request: Request, error: Exception) -> JSONResponse:
    """400 that names each wrong value and what is expected; the value itself is not repeated."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - for the type checker
    if request.url.path.startswith(TOKEN_PATHS):
        return JSONResponse(_field_errors(error.errors()), 400)
    return _problem(400, HeadOfficeProblem(message="; ".join(_in_words(item) for item in error.errors())), {})


def _field_errors(errors: Any) -> dict[str, Any]:
    """The original's form for a login: field -> list of messages."""
    fields: dict[str, Any] = {}
    for item in errors:
        name = str(item["loc"][-1])
        if item["type"] == "json_invalid" or len(item["loc"]) < 2:
            return {"detail": "JSON parse error - an object was expected"}
        fields[name] = ["This field is required." if item["type"] == "missing" else "Not a valid string."]
    return fields


def _in_words(item: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in item["loc"][1:]) or "body"
    if item["type"] == "missing":
        return f"{name} is required"
    if item["type"] == "json_invalid":
        return "the body is not JSON"
    return f"{name}: {item['msg'].removeprefix('Value error, ')}"


def _no_route(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
    message = str(error.detail)
    if error.status_code == 404:
        message = f"There is no {request.url.path} here; every path ends with a slash, see /docs"
    elif error.status_code == 405:
        message = f'Method "{request.method}" not allowed.'
    return _problem(error.status_code, HeadOfficeProblem(message=message), error.headers or {})


def _database_gone(_: Request, error: Exception) -> JSONResponse:
    logger.error("the database does not answer: %s", error)
    return _problem(503, HeadOfficeProblem(message="The database does not answer; try again"), BUSY)


def _crashed(request: Request, error: Exception) -> JSONResponse:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _problem(500, HeadOfficeProblem(message="Internal server error"), {})


def _problem(status: int, problem: HeadOfficeProblem, headers: Mapping[str, str]) -> JSONResponse:
    return JSONResponse(jsonable_encoder(problem, exclude_none=True), status, dict(headers))
