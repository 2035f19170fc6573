"""Head office as it was first built: the V1 routes with their bugs (contract sections 1 to 4).

What belongs here: the routes, in what order they look at what, headers and envelopes. What does not: the rows of a
listing (rows.py), tokens (tokens.py). Every bug here is one that the contract reports.
"""

from collections.abc import Awaitable, Callable
from email.header import Header
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from imagesync_pipelines.sandbox.head_office.original import rows
from imagesync_pipelines.sandbox.head_office.original.answers import (
    Crashed,
    Refused,
    as_json,
    body_of,
    crash_page,
    not_found_page,
    v1_error,
)
from imagesync_pipelines.sandbox.head_office.original.model import MissingObject, Original
from imagesync_pipelines.storage.objects import error_code

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
READING, WRITING = ("GET", "HEAD"), ("POST",)
DEFAULT_LIMIT = 100
ROOT = "/api/v1/sync/product-photos/"

Handler = Callable[[Original, Request, Any], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


def original_app(original: Original) -> Starlette:
    """The app; a missing slash or a photo id that is no UUID finds no route, as in the original."""

    async def not_found(request: Request, error: Exception) -> Response:
        return not_found_page()

    app = Starlette(
        routes=[
            Route("/api/v1/token/", _open(original, _log_in), methods=METHODS),
            Route("/api/v1/token/refresh/", _open(original, _renew), methods=METHODS),
            Route(ROOT, _guarded(original, READING, _listing), methods=METHODS),
            Route(ROOT + "status/", _guarded(original, WRITING, _status), methods=METHODS),
            Route(ROOT + "{photo_id:uuid}/download/", _guarded(original, READING, _download), methods=METHODS),
        ],
        exception_handlers={404: not_found},
    )
    app.router.redirect_slashes = False
    return app


def _open(original: Original, handler: Handler) -> Endpoint:
    """A route that needs no token."""
    return _endpoint(original, WRITING, handler, with_token=False)


def _guarded(original: Original, methods: tuple[str, ...], handler: Handler) -> Endpoint:
    """A route that needs a token, which is looked at before the method."""
    return _endpoint(original, methods, handler, with_token=True)


def _endpoint(original: Original, methods: tuple[str, ...], handler: Handler, *, with_token: bool) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            if with_token:
                await run_in_threadpool(original.tokens.user_of, request.headers.get("authorization"))
            if request.method not in methods:
                raise Refused(405, {"detail": f'Method "{request.method}" not allowed.'})
            body = await body_of(request) if request.method == "POST" else None
            return await run_in_threadpool(handler, original, request, body)
        except Refused as refused:
            return as_json(refused.status, refused.body)
        except Crashed:
            return crash_page()

    return endpoint


def _log_in(original: Original, request: Request, body: Any) -> Response:
    return as_json(200, original.tokens.log_in(body))


def _renew(original: Original, request: Request, body: Any) -> Response:
    return as_json(200, original.tokens.renew(body))


def _listing(original: Original, request: Request, body: Any) -> Response:
    """One page: limits are not clamped, so `limit=0` never gets on."""
    query = request.query_params
    with original.engine.connect() as connection:
        store_id = _store(connection, query.get("store_id"))
        since = rows.since_of(query.get("since"))
        limit, offset = _number(query.get("limit"), DEFAULT_LIMIT), _number(query.get("offset"), 0)
        if limit < 0 or offset < 0:
            raise Crashed
        total, photos = rows.page(connection, original, store_id, since, limit, offset)
    has_more = offset + limit < total
    return as_json(
        200,
        {
            "status": "success",
            "data": {
                "photos": photos,
                "total": total,
                "has_more": has_more,
                "next_offset": offset + limit if has_more else None,
            },
        },
    )


def _download(original: Original, request: Request, body: Any) -> Response:
    """The object, whole in memory; what the headers say of it comes from the table. The store is not looked up."""
    if not request.query_params.get("store_id"):
        raise v1_error(400, "store_id is required")
    with original.engine.connect() as connection:
        photo = rows.photo(connection, request.path_params["photo_id"])
    if photo is None:
        raise v1_error(404, "Photo not found")
    if not photo.object_key:
        raise v1_error(404, "No image data available")
    content = _object(original, photo.object_key)
    headers = {
        # Longer bodies are cut at the size of the table; of shorter ones the end never comes.
        "Content-Length": str(photo.size),
        "Content-Disposition": _header(f'attachment; filename="{photo.filename}"'),
        "X-Checksum": photo.checksum,
        "X-Version": str(photo.version),
    }
    return Response(content[: photo.size], 200, headers, photo.content_type)


def _object(original: Original, key: str) -> bytes:
    try:
        content: bytes = original.s3.get_object(Bucket=original.bucket, Key=key)["Body"].read()
    except (ClientError, BotoCoreError) as error:
        if original.switches.missing_object is MissingObject.PAGE:
            raise Crashed from error
        raise v1_error(500, "Internal server error", f"Failed to download image: {_said(error, key)}") from error
    return content


def _said(error: Exception, key: str) -> str:
    """The words of head office's own client for the object store."""
    if not isinstance(error, ClientError):
        return str(error)
    code = error_code(error)
    message = "Object does not exist" if code == "NoSuchKey" else "refused"
    return f"S3 operation failed; code: {code}, message: {message}, resource: {key}"


def _header(value: str) -> str:
    """A header as Django writes it: Latin-1 raw, anything else as one encoded word, a line break is a crash."""
    if "\n" in value or "\r" in value:
        raise Crashed
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return Header(value, "utf-8", maxlinelen=10**6).encode()
    return value


def _status(original: Original, request: Request, body: Any) -> Response:
    """A batch of reports: nothing is checked and nothing kept."""
    if not isinstance(body, dict):
        raise Crashed
    if not body.get("store_id"):
        raise v1_error(400, "store_id is required")
    batch = body.get("sync_batch", [])
    if not isinstance(batch, list):
        raise Crashed
    return as_json(200, {"status": "success", "message": f"Sync status updated for {len(batch)} photos"})


def _store(connection: sa.Connection, asked: str | None) -> UUID:
    """The active store that is asked for; a text that is no UUID is a 500, caught by a catch-all."""
    if not asked:
        raise v1_error(400, "store_id is required")
    try:
        store_id = UUID(asked)
    except ValueError as error:
        raise v1_error(500, "Internal server error", f"['“{asked}” is not a valid UUID.']") from error
    if not rows.is_active_store(connection, store_id):
        raise v1_error(404, "Store not found")
    return store_id


def _number(text: str | None, default: int) -> int:
    """A whole number, or the original's crash."""
    if text is None:
        return default
    try:
        return int(text)
    except ValueError as error:
        raise Crashed from error
