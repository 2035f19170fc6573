"""What the API asks of every request, and its refusals as problems (RFC 9457, application/problem+json)."""

import logging
from collections.abc import Mapping, Sequence
from email.message import Message
from http import HTTPStatus
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import OperationalError, TimeoutError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from imagesync_pipelines.storage.errors import PinRefusedError
from imagesync_pipelines.web.catalogue.queries.cursors import CursorError

MEDIA_TYPE = "application/problem+json"
BUSY = {"Retry-After": "5"}
# What any call may meet: no key, no scope, wrong values, too many calls, no database.
ALWAYS = (401, 403, 422, 429, 503)
# Enough to see what is wrong, however much was sent.
MOST_WRONG, LONGEST_PLACE = 20, 200
# What a request is refused for, by the status of the answer; the message is for people.
REFUSALS: dict[type[Exception], int] = {CursorError: 422, PinRefusedError: 409}

logger = logging.getLogger("imagesync.catalogue")


class Wrong(BaseModel):
    """One value that is wrong: where it is, and what was expected. The value itself is not repeated."""

    where: str = Field(examples=["query.limit"])
    expected: str = Field(examples=["Input should be less than or equal to 500"])


class Problem(BaseModel):
    """What went wrong and what to do about it."""

    model_config = ConfigDict(title="Problem")

    type: str = "about:blank"
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["There is no product 12."])
    errors: list[Wrong] | None = Field(None, description="the wrong values of a request that was not understood")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These problems, and those that any call may meet, for the OpenAPI document."""
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    told: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": content}
        for status in sorted({*statuses, *ALWAYS})
    }
    return {**told, "default": {"description": "Any other refusal", "content": content}}


def add_handlers(app: FastAPI) -> None:
    """Make the app write every error as a problem."""
    app.add_exception_handler(HTTPException, _refused)
    for kind in REFUSALS:
        app.add_exception_handler(kind, _said_no)
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(OperationalError, _no_database)
    app.add_exception_handler(TimeoutError, _no_database)
    app.add_exception_handler(Exception, _crashed)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it was registered for
    # The framework's own refusals say no more than their status.
    told = {
        HTTPStatus.NOT_FOUND.phrase: "There is nothing at this address; /api/v1/openapi.json lists what there is.",
        HTTPStatus.METHOD_NOT_ALLOWED.phrase: f"This address does not take {request.method}.",
    }
    return _answer(error.status_code, told.get(error.detail, error.detail), error.headers or {})


def _said_no(_: Request, error: Exception) -> Response:
    status = next(status for kind, status in REFUSALS.items() if isinstance(error, kind))
    return _answer(status, str(error), {})


def _not_understood(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it was registered for
    wrong = [Wrong(where=_where(item["loc"]), expected=item["msg"]) for item in error.errors()[:MOST_WRONG]]
    return _answer(422, "The request was not understood; `errors` names what is wrong.", {}, wrong)


def _where(places: Sequence[object]) -> str:
    """Where a value is; the names of fields are the caller's and may be anything."""
    return ".".join(str(place) for place in places)[:LONGEST_PLACE].encode(errors="replace").decode()


def _no_database(_: Request, error: Exception) -> Response:
    logger.error("the database does not answer: %s", error)
    return _answer(503, "The database does not answer at the moment; try again.", BUSY)


def _crashed(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(500, "An error of ours; it was noted.", {})


def _answer(status: int, detail: str, headers: Mapping[str, str], errors: list[Wrong] | None = None) -> Response:
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, status, {"Cache-Control": "no-store", **headers}, MEDIA_TYPE)


LARGEST_BODY = 256 * 1024


def json_only(request: Request) -> None:
    """Refuse a body that does not say that it is JSON: a browser sends others across sites without asking."""
    told = Message()
    told["Content-Type"] = request.headers.get("Content-Type", "")
    if told.get_content_type() != "application/json":
        raise HTTPException(415, "Send the body as JSON, with Content-Type: application/json.")


JSON_BODY = Depends(json_only)
"""For the dependencies of a route that takes a body."""


LONGEST_SHOWN = 50


def known_only(request: Request) -> None:
    """Refuse a parameter that the address does not know: a filter that is misspelt would find everything."""
    route = request.scope["route"]
    known = {field.alias for field in route.dependant.query_params} if isinstance(route, APIRoute) else set()
    for name in request.query_params:
        if name not in known:
            shown = name[:LONGEST_SHOWN].encode(errors="replace").decode()
            told = f"It knows: {', '.join(sorted(known))}." if known else "It knows none."
            raise HTTPException(422, f"This address does not know the parameter {shown!r}. {told}")


KNOWN_QUERY = Depends(known_only)
"""For the dependencies of every route."""
