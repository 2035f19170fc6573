"""Head office as it was first built: the routes of V1 and the listing of V2, with their bugs (docs/contracts/edge.md).

Every bug here is one that the contract reports.
"""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.header import Header
from functools import partial
from itertools import count
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from imagesync_pipelines.sandbox.faults import NOT_FOUND_PAGE, SERVER_ERROR
from imagesync_pipelines.sandbox.head_office.logins import (
    OfficeCrashError,
    OfficeRefusalError,
    OfficeTokens,
    as_json,
    body_of,
    v1_error,
)
from imagesync_pipelines.storage.objects import S3Client, error_code
from imagesync_pipelines.web.head_office import tables as t

# The endpoint that the original puts into image_url: nobody but head office itself can reach it.
IMAGE_HOST = "http://localhost:9000"


# In which order a listing comes: by sort_order, which is 0 nearly everywhere, with equal rows shuffled for every call;
# by sort_order, with equal rows as the database has stored them (whatever is written moves to the end); by time, with
# rows of the same time shuffled for every call.
Order = Literal["arbitrary", "stored", "updated_at"]
Stamps = Literal["offset", "zulu"]  # how the zone of `updated_at` is written: +00:00 or Z
MissingObject = Literal["json", "page"]  # how the 500 of a missing object looks


@dataclass
class OriginalSwitches:
    """How the original behaves where the sources differ; may be changed while it runs."""

    order: Order = "arbitrary"
    stamps: Stamps = "offset"
    missing_object: MissingObject = "json"


@dataclass
class OriginalOffice:
    """The parts of a running original."""

    engine: sa.Engine
    s3: S3Client
    bucket: str
    tokens: OfficeTokens
    now: Callable[[], datetime]
    switches: OriginalSwitches
    calls: Iterator[int] = field(default_factory=count)  # numbers of calls, for shuffling


# A `since` without a time zone is read in the server's own: seven hours off for who meant UTC.
SERVER_ZONE = ZoneInfo("Asia/Jakarta")
SHOWN_OF_CHECKSUM = 8


COPIED = ("object_key", "filename", "size", "content_type", "checksum", "version", "is_primary", "sort_order")


def since_of(text: str | None) -> datetime | None:
    """The moment that `since` means; a raw plus sign has become a space by then, which crashes as any junk does."""
    if not text:
        return None
    try:
        since = datetime.fromisoformat(text)
    except ValueError as error:
        raise OfficeCrashError from error
    return since if since.tzinfo is not None else since.replace(tzinfo=SERVER_ZONE)


def page(
    connection: sa.Connection,
    original: OriginalOffice,
    store_id: UUID,
    since: datetime | None,
    limit: int,
    offset: int,
    order: Order | None = None,
) -> tuple[int, list[dict[str, Any]]]:
    """How many photos there are in all, and one page of them as JSON; the order is the switch's where none is named."""
    seen = t.scope().where(t.store.c.id == store_id).with_only_columns(t.photo, t.product.c.sku, t.product.c.name)
    if since is not None:
        seen = seen.where(t.photo.c.updated_at >= since)
    total = connection.scalar(sa.select(sa.func.count()).select_from(seen.subquery())) or 0
    found = connection.execute(
        seen.order_by(*_order(original, order or original.switches.order)).limit(limit).offset(offset)
    )
    return total, [_as_json(original, row) for row in found]


def _order(original: OriginalOffice, order: Order) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    shuffled = sa.func.md5(sa.cast(t.photo.c.id, sa.Text) + str(next(original.calls)))
    stored: sa.ColumnElement[Any] = sa.literal_column(f"{t.photo.fullname}.ctid")
    orders: dict[Order, tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]] = {
        "arbitrary": (t.photo.c.sort_order, shuffled),
        "stored": (t.photo.c.sort_order, stored),
        "updated_at": (t.photo.c.updated_at, shuffled),
    }
    return orders[order]


def _as_json(original: OriginalOffice, row: sa.Row[Any]) -> dict[str, Any]:
    written = row.updated_at.astimezone(UTC).isoformat()
    return {
        "id": str(row.id),
        "product_id": str(row.product_id),
        "product_sku": row.sku,
        "product_name": row.name,
        **{name: getattr(row, name) for name in COPIED},
        "updated_at": written.replace("+00:00", "Z") if original.switches.stamps == "zulu" else written,
        "image_url": _image_url(original, row),
    }


def _image_url(original: OriginalOffice, row: sa.Row[Any]) -> str | None:
    """A URL that no other machine can reach; without a checksum it changes every second."""
    if not row.object_key:
        return f"/media/product_photos/{row.filename}" if row.filename else None
    version = row.checksum[:SHOWN_OF_CHECKSUM] or str(int(original.now().timestamp()))
    return f"{IMAGE_HOST}/{original.bucket}/{row.object_key}?v={version}"


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
READING, WRITING = ("GET", "HEAD"), ("POST",)
DEFAULT_LIMIT = 100
ROOT = "/api/v1/sync/product-photos/"

Handler = Callable[[OriginalOffice, Request, Any], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


def original_app(original: OriginalOffice) -> Starlette:
    """The app; a missing slash or a photo id that is no UUID finds no route, as in the original."""

    async def not_found(request: Request, error: Exception) -> Response:
        return HTMLResponse(NOT_FOUND_PAGE, 404)

    def route(path: str, methods: tuple[str, ...], handler: Handler, *, with_token: bool = True) -> Route:
        return Route(path, _endpoint(original, methods, handler, with_token=with_token), methods=METHODS)

    app = Starlette(
        routes=[
            route("/api/v1/token/", WRITING, partial(_tokens, original.tokens.log_in), with_token=False),
            route("/api/v1/token/refresh/", WRITING, partial(_tokens, original.tokens.renew), with_token=False),
            route(ROOT, (*READING, *WRITING), _either_listing),
            route(ROOT + "status/", WRITING, _status),
            route(ROOT + "{photo_id:uuid}/download/", READING, _download),
        ],
        exception_handlers={404: not_found},
    )
    app.router.redirect_slashes = False
    return app


def _endpoint(original: OriginalOffice, methods: tuple[str, ...], handler: Handler, *, with_token: bool) -> Endpoint:
    """A route's endpoint: a token that is needed is looked at before the method."""

    async def endpoint(request: Request) -> Response:
        try:
            if with_token:
                await run_in_threadpool(original.tokens.user_of, request.headers.get("authorization"))
            if request.method not in methods:
                raise OfficeRefusalError(405, {"detail": f'Method "{request.method}" not allowed.'})
            body = await body_of(request) if request.method == "POST" else None
            return await run_in_threadpool(handler, original, request, body)
        except OfficeRefusalError as refused:
            return as_json(refused.status, refused.body)
        except OfficeCrashError:
            return HTMLResponse(SERVER_ERROR, 500)

    return endpoint


def _tokens(give: Callable[[Any], dict[str, str]], original: OriginalOffice, request: Request, body: Any) -> Response:
    return as_json(200, give(body))


def _listing(original: OriginalOffice, request: Request, body: Any) -> Response:
    """One page: limits are not clamped, so `limit=0` never gets on."""
    query = request.query_params
    with original.engine.connect() as connection:
        store_id = _store(connection, query.get("store_id"))
        since = since_of(query.get("since"))
        limit, offset = _number(query.get("limit"), DEFAULT_LIMIT), _number(query.get("offset"), 0)
        if limit < 0 or offset < 0:
            raise OfficeCrashError
        total, photos = page(connection, original, store_id, since, limit, offset)
    following = offset + limit if offset + limit < total else None
    data = {"photos": photos, "total": total, "has_more": following is not None, "next_offset": following}
    return as_json(200, {"status": "success", "data": data})


def _either_listing(original: OriginalOffice, request: Request, body: Any) -> Response:
    """V1 is asked with GET, V2 with POST."""
    if request.method != "POST":
        return _listing(original, request, body)
    try:
        return as_json(200, _second_listing(original, body))
    except OfficeRefusalError:
        raise
    except Exception as error:  # noqa: BLE001 - as V2 does
        crashed = {"error": "Internal server error", "code": "INTERNAL_ERROR", "detail": str(error)}
        return as_json(500, crashed)


def _second_listing(original: OriginalOffice, body: Any) -> dict[str, Any]:
    """A page of V2. A brand_id is not looked at, and deletions are told nowhere."""
    limit, offset = int(body.get("limit", DEFAULT_LIMIT)), int(body.get("offset", 0))
    company_id, store_id = body.get("company_id"), body.get("store_id")
    for name, value in (("company_id", company_id), ("store_id", store_id)):
        if not value:
            raise _v2_error(400, f"{name} is required in request body", f"MISSING_{name.upper()}")
    with original.engine.connect() as connection:
        here = (t.store.c.id == UUID(store_id), t.store.c.company_id == UUID(company_id), t.store.c.is_active)
        store = connection.execute(sa.select(t.store).where(*here)).one_or_none()
        if store is None:
            said = "Store not found or does not belong to the specified company"
            raise _v2_error(404, said, "STORE_NOT_FOUND")
        since = body.get("updated_since")
        try:
            after = since_of(since.replace("Z", "+00:00")) if since else None
        except (OfficeCrashError, AttributeError):
            raise _v2_error(400, "Invalid updated_since format", "INVALID_DATE_FORMAT") from None
        if limit < 0 or offset < 0:
            raise ValueError("Negative indexing is not supported.")
        total, photos = page(connection, original, store.id, after, limit, offset, "updated_at")
    has_more = offset + limit < total
    return {
        "photos": photos,
        "deleted_ids": [],
        "sync_timestamp": original.now().isoformat(),
        "total": total,
        "has_more": has_more,
        "next_offset": offset + limit if has_more else None,
        "filter": {"company_id": str(company_id), "store_id": str(store_id)},
        "store": {"id": str(store.id), "code": store.code, "name": store.name},
    }


def _v2_error(status: int, error: str, code: str) -> OfficeRefusalError:
    return OfficeRefusalError(status, {"error": error, "code": code})


def _download(original: OriginalOffice, request: Request, body: Any) -> Response:
    """The object, whole in memory; what the headers say of it comes from the table. The store is not looked up."""
    if not request.query_params.get("store_id"):
        raise v1_error(400, "store_id is required")
    with original.engine.connect() as connection:
        query = sa.select(t.photo).where(t.photo.c.id == request.path_params["photo_id"])
        photo = connection.execute(query).one_or_none()
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


def _object(original: OriginalOffice, key: str) -> bytes:
    try:
        content: bytes = original.s3.get_object(Bucket=original.bucket, Key=key)["Body"].read()
    except (ClientError, BotoCoreError) as error:
        if original.switches.missing_object == "page":
            raise OfficeCrashError from error
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
        raise OfficeCrashError
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return Header(value, "utf-8", maxlinelen=10**6).encode()
    return value


def _status(original: OriginalOffice, request: Request, body: Any) -> Response:
    """A batch of reports: nothing is checked and nothing kept."""
    if not isinstance(body, dict):
        raise OfficeCrashError
    if not body.get("store_id"):
        raise v1_error(400, "store_id is required")
    batch = body.get("sync_batch", [])
    if not isinstance(batch, list):
        raise OfficeCrashError
    return as_json(200, {"status": "success", "message": f"Sync status updated for {len(batch)} photos"})


def _store(connection: sa.Connection, asked: str | None) -> UUID:
    """The active store that is asked for; a text that is no UUID is a 500, caught by a catch-all."""
    if not asked:
        raise v1_error(400, "store_id is required")
    try:
        store_id = UUID(asked)
    except ValueError as error:
        raise v1_error(500, "Internal server error", f"['“{asked}” is not a valid UUID.']") from error
    if not connection.scalar(sa.select(t.store.c.is_active).where(t.store.c.id == store_id)):
        raise v1_error(404, "Store not found")
    return store_id


def _number(text: str | None, default: int) -> int:
    if text is None:
        return default
    try:
        return int(text)
    except ValueError as error:
        raise OfficeCrashError from error
