"""What every call of the API shares: its key and how often it may call, how it is answered, and refused.

Refusals are problems (RFC 9457, application/problem+json).
"""

import hashlib
import logging
import math
from collections.abc import Callable, Mapping
from email.message import Message
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import OperationalError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import Response
from starlette.types import Scope

from imagesync_pipelines.storage.errors import PinRefusedError
from imagesync_pipelines.storage.faults import told
from imagesync_pipelines.storage.rate_budget import Window, left, take
from imagesync_pipelines.web.catalogue.access import ApiKey, KeyScope, find_key
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.catalogue.past import PastUnknownError
from imagesync_pipelines.web.catalogue.queries import CursorError
from imagesync_pipelines.web.gate import is_known
from imagesync_pipelines.web.service import answer_faults, at_fault

MEDIA_TYPE = "application/problem+json"
WINDOW_SECONDS = 60
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="api"'}
LARGEST_BODY = 256 * 1024
# What any call may meet: no key, no scope, wrong values, too many calls, no database.
ALWAYS = (401, 403, 422, 429, 503)
# Enough to see what is wrong, however much was sent.
MOST_WRONG, LONGEST_PLACE, LONGEST_NAME = 20, 200, 50
# What a request is refused for, by the status of the answer; the message is for people.
REFUSALS: dict[type[Exception], int] = {CursorError: 422, PinRefusedError: 409, PastUnknownError: 404}
# Every caller asks again each time, and gets 304 as long as nothing changed.
CACHING = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "Unchanged since the answer with the ETag that If-None-Match names"}
}

logger = logging.getLogger("imagesync.catalogue")

# Only for the OpenAPI document: the header is read below, to answer every mistake with a problem.
_scheme = HTTPBearer(auto_error=False, description="A key of `imagesync key add`")


def needs(scope: KeyScope) -> Callable[..., ApiKey]:
    """A dependency that gives the key of a request: one that has this scope and calls left."""

    def caller(request: Request, opened: Here, _: Annotated[object, Depends(_scheme)]) -> ApiKey:
        now = opened.clock()
        word, _, text = request.headers.get("Authorization", "").partition(" ")
        key = find_key(opened.engine, text.strip(), now) if word.lower() == "bearer" else None
        if key is None:
            raise HTTPException(
                401, "No API key, or one that is not valid: send Authorization: Bearer <key>.", CHALLENGE
            )
        budget, windows = f"catalogue:key:{key.id}", (Window(opened.settings.rate_limit, WINDOW_SECONDS),)
        wait = math.ceil(take(opened.engine, budget, windows, now.timestamp()))
        (state,) = left(opened.engine, budget, windows, now.timestamp())
        request.state.told = {
            "RateLimit-Limit": str(opened.settings.rate_limit),
            "RateLimit-Remaining": str(0 if wait else state.left),
            "RateLimit-Reset": str(wait or WINDOW_SECONDS),
        }
        if wait:
            raise HTTPException(429, f"This key has made its calls; try again in {wait} s.", {"Retry-After": str(wait)})
        if scope not in key.scopes:
            raise HTTPException(
                403, f"This key does not have the scope {scope}; it has: {', '.join(sorted(key.scopes))}."
            )
        return key

    return caller


Reader = Annotated[ApiKey, Depends(needs(KeyScope.READ))]
"""A route's parameter of this type lets in keys that may read."""


def told_of_budget(scope: Scope) -> Mapping[str, str]:
    """What is left of the calls of the request's key, as headers; none without a key."""
    told: Mapping[str, str] = scope["state"].get("told", {})
    return told


def json_only(request: Request) -> None:
    """Refuse a body that does not say that it is JSON: a browser sends others across sites without asking."""
    told = Message()
    told["Content-Type"] = request.headers.get("Content-Type", "")
    if told.get_content_type() != "application/json":
        raise HTTPException(415, "Send the body as JSON, with Content-Type: application/json.")


def known_only(request: Request) -> None:
    """Refuse a parameter that the address does not know: a filter that is misspelt would find everything."""
    route = request.scope["route"]
    known = {field.alias for field in route.dependant.query_params} if isinstance(route, APIRoute) else set()
    for name in request.query_params:
        if name not in known:
            told = f"It knows: {', '.join(sorted(known))}." if known else "It knows none."
            raise HTTPException(422, f"This address does not know the parameter {_shown(name, LONGEST_NAME)!r}. {told}")


def is_wanted(request: Request, there: BaseModel | None) -> None:
    """Refuse a change with 412 unless what is there (None: nothing) is what If-Match or If-None-Match ask for."""
    is_known(request, None if there is None else _tag_of(there.model_dump_json().encode()))


def _tag_of(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def answered(request: Request, model: BaseModel, next_cursor: str | None = None) -> Response:
    """The model as JSON with its ETag, or 304 to a reader who has it; next_cursor: where a list goes on (Link)."""
    body = model.model_dump_json().encode()
    tag = _tag_of(body)
    headers = {**CACHING, "ETag": tag}
    if next_cursor is not None:
        following = request.url.include_query_params(cursor=next_cursor)
        # Without the host: the caller may know us by another name.
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    if request.method == "GET" and is_known(request, tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


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
    app.add_exception_handler(StarletteHTTPException, refused)
    for kind, status in REFUSALS.items():
        app.add_exception_handler(kind, partial(_said_no, status))
    app.add_exception_handler(RequestValidationError, _not_understood)
    app.add_exception_handler(OperationalError, _no_database)
    answer_faults(app, _no_database)
    app.add_exception_handler(Exception, _crashed)


def refused(request: Request, error: Any) -> Response:
    """A refusal as a problem."""
    # The framework's own refusals say no more than their status.
    told = {
        HTTPStatus.NOT_FOUND.phrase: "There is nothing at this address; /api/v1/openapi.json lists what there is.",
        HTTPStatus.METHOD_NOT_ALLOWED.phrase: f"This address does not take {request.method}.",
    }
    return _problem(error.status_code, told.get(error.detail, error.detail), error.headers or {})


def _said_no(status: int, _: Request, error: Exception) -> Response:
    return _problem(status, str(error))


def _not_understood(_: Request, error: Any) -> Response:
    wrong = [
        Wrong(where=_shown(".".join(map(str, item["loc"])), LONGEST_PLACE), expected=item["msg"])
        for item in error.errors()[:MOST_WRONG]
    ]
    return _problem(422, "The request was not understood; `errors` names what is wrong.", errors=wrong)


def _shown(name: str, longest: int) -> str:
    """The beginning of a name that is the caller's and may be anything."""
    return name[:longest].encode(errors="replace").decode()


def _no_database(_: Request, error: Exception) -> Response:
    logger.error("a fault around us: %s", told(error) or error)
    return _problem(503, f"{at_fault(error)}.", {"Retry-After": "5"})


def _crashed(request: Request, error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _problem(500, "An error of ours; it was noted.")


def _problem(
    status: int, detail: str, headers: Mapping[str, str] | None = None, errors: list[Wrong] | None = None
) -> Response:
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=errors)
    body = problem.model_dump_json(exclude_none=True)
    return Response(body, status, {"Cache-Control": "no-store", **(headers or {})}, MEDIA_TYPE)
