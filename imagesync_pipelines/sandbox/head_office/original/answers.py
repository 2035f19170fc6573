"""How the original answers: its four shapes of an error, its JSON, and how it reads a body (contract sections 1 and 2).

What belongs here: bodies and status codes that all its routes share. What does not: the routes (app.py).
"""

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from imagesync_pipelines.sandbox.faults import SERVER_ERROR

NOT_FOUND = (
    '\n<!doctype html>\n<html lang="en">\n<head>\n  <title>Not Found</title>\n</head>\n<body>\n'
    "  <h1>Not Found</h1><p>The requested resource was not found on this server.</p>\n</body>\n</html>\n"
)


@dataclass
class Refused(Exception):  # noqa: N818 -- it is an answer, not a failure of the sandbox
    """A request that is answered with an error; raised anywhere below a route."""

    status: int
    body: dict[str, Any]


class Crashed(Exception):  # noqa: N818 -- it plays the original's crash
    """What the original does not catch: a page of HTML with status 500."""


def as_json(status: int, body: object, **headers: str) -> Response:
    """A JSON answer; every 401 names the scheme."""
    named = {"WWW-Authenticate": 'Bearer realm="api"'} if status == 401 else {}
    return Response(orjson.dumps(body), status, {**named, **headers}, "application/json")


def v1_error(status: int, message: str, detail: str | None = None) -> Refused:
    """An error in the shape of the V1 routes."""
    return Refused(status, {"status": "error", "message": message, **({} if detail is None else {"detail": detail})})


def crash_page() -> Response:
    """Django's page for an error that nobody caught."""
    return HTMLResponse(SERVER_ERROR, 500)


def not_found_page() -> Response:
    """Django's page for a URL that has no route."""
    return HTMLResponse(NOT_FOUND, 404)


async def body_of(request: Request) -> Any:
    """The body as Django REST framework reads it: JSON or a form; an empty one is an empty object."""
    content = await request.body()
    content_type = request.headers.get("content-type", "")
    media_type = content_type.split(";")[0].strip().lower()
    if not content:
        return {}
    if media_type == "application/x-www-form-urlencoded":
        return dict(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True))
    if media_type != "application/json":
        raise Refused(415, {"detail": f'Unsupported media type "{content_type}" in request.'})
    try:
        return json.loads(content.decode())
    except ValueError as error:
        raise Refused(400, {"detail": f"JSON parse error - {error}"}) from error
