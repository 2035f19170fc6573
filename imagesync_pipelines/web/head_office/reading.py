"""What a store reads: the listing of its photos, page by page, and the bytes of one, streamed from the object store.

As the original: envelope, fields, inclusive `since`. Better: a total order, a limit that is cut, clear refusals,
`deleted_ids` (with `since`) and `server_time`, which an old client can ignore. Of a download no more than a chunk is in
memory, its Content-Length is the object's, there are ETag, 304, Range, HEAD; a missing object is a 404 that names it.
"""

import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer

from imagesync_pipelines.storage.objects import error_code, lacks_object
from imagesync_pipelines.web.gate import is_head, is_known
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.answers import BUSY, REFUSALS, refused
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tokens import Caller, Office, Owner, admit
from imagesync_pipelines.web.service import disposition

LARGEST_OFFSET = 2**53
CHUNK_BYTES = 512 * 1024
_ONE_RANGE = re.compile(r"bytes=([0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})")
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+")
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    **REFUSALS,
    200: {"description": "The photo's bytes", "content": {"image/*": _BINARY}},
    206: {"description": "A part of the photo's bytes", "content": {"image/*": _BINARY}},
    307: {
        "description": "Only for stores that read the bucket themselves: the bytes are at Location, for a minute and "
        "without a token; ETag, X-Checksum and X-Version are those of the photo",
        "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
    },
    304: {"description": "Not changed: the ETag is the one that was sent"},
    416: {"description": "The range lies behind the end"},
}
_GRANT = t.account_store
# A photo and everybody's right to it in one read, made once: most downloads are allowed. `admit` says why one is not.
READABLE = (
    t.scope()
    .with_only_columns(t.photo)
    .join(t.account, t.account.c.id == sa.bindparam("caller"))
    .outerjoin(_GRANT, (_GRANT.c.account_id == t.account.c.id) & (_GRANT.c.store_id == t.store.c.id))
    .where(t.store.c.id == sa.bindparam("store"), t.photo.c.id == sa.bindparam("photo"))
    .where(t.store.c.is_active, t.account.c.is_active, t.account.c.generation == sa.bindparam("generation"))
    .where(t.account.c.all_stores | _GRANT.c.store_id.is_not(None))
)

router = APIRouter(prefix="/api/v1/sync/product-photos", tags=["photos"])


def in_utc(moment: datetime) -> str:
    """A moment as this API writes it: always UTC, six digits of a second, Z."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


Moment = Annotated[datetime, PlainSerializer(in_utc, return_type=str)]


class ListedPhoto(BaseModel):
    """A photo; `checksum` is the MD5 of its bytes, '' (with `size` 0) when the head office has none."""

    id: UUID
    product_id: UUID
    product_sku: str
    product_name: str
    object_key: str
    filename: str
    size: int = Field(description="bytes")
    content_type: str
    checksum: str
    version: int
    is_primary: bool
    sort_order: int
    updated_at: Moment
    image_url: str | None = Field(description="for browsers; changes with the bytes. Edges use the download endpoint")


class PhotoListing(BaseModel):
    """One page; `total` counts the photos of all pages."""

    photos: list[ListedPhoto]
    total: int
    has_more: bool
    next_offset: int | None
    deleted_ids: list[UUID] | None = Field(
        default=None,
        description="only with `since`, on every page: photos that this store had and has no more since then, because "
        "they were deleted or replaced or their product or brand is not shown any more",
    )
    server_time: Moment = Field(description="the head office's clock when it answered")


class ListingAnswer(BaseModel):
    """The envelope of a page."""

    status: Literal["success"] = "success"
    data: PhotoListing


def parse_since(value: object) -> object:
    """Read `since`: ISO 8601, with or without a time zone. Raises ValueError with what to do."""
    text = str(value)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        hint = "; a + has to be sent as %2B, or send Z" if " " in text else ""
        raise ValueError(f"not a time like 2026-02-03T10:00:00Z{hint}") from None


def in_zone(office: HeadOffice, moment: datetime) -> datetime:
    """The moment in UTC, read in the office's zone where it names none. Raises ValueError when it has none in UTC."""
    try:
        zoned = moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(office.settings.timezone))
        return zoned.astimezone(UTC)
    except OverflowError:
        raise ValueError("out of the range of times") from None


Since = Annotated[
    datetime,
    BeforeValidator(parse_since),
    Query(description="only photos changed at this time or later; ISO 8601, without a zone in HO_TIMEZONE"),
]
Limit = Annotated[int | None, Query(description="photos on a page; cut to what the server allows, 1 at least")]
Offset = Annotated[int, Query(ge=0, le=LARGEST_OFFSET, description="photos to skip")]


@router.get("/", responses=REFUSALS, response_model_exclude_unset=True)
def list_photos(
    office: Office, caller: Caller, store_id: UUID, since: Since | None = None, limit: Limit = None, offset: Offset = 0
) -> ListingAnswer:
    """List the photos of a store, ordered by `updated_at` and `id`.

    Read on at `next_offset` until it is null. A scan is complete when `total` did not change and every id came once;
    scan again when it did not.
    """
    asked = office.settings.default_limit if limit is None else limit
    size = max(1, min(asked, office.settings.max_limit))
    try:
        after = None if since is None else in_zone(office, since)
    except ValueError as error:
        raise refused(400, f"since: {error}") from None
    return ListingAnswer(status="success", data=read_page(office, caller, store_id, after, size, offset))


def read_page(
    office: HeadOffice, caller: Owner, store_id: UUID, since: datetime | None, size: int, offset: int
) -> PhotoListing:
    """A page of a store's photos, with everything on it of one moment. Raises what `admit` raises."""
    with office.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        admit(connection, caller, store_id)
        rows, total = _page(connection, store_id, since, size, offset)
        more = offset + size < total
        photos = [ListedPhoto(**row, image_url=image_url(office, row["object_key"], row["checksum"])) for row in rows]
        listing = PhotoListing(
            photos=photos,
            total=total,
            has_more=more,
            next_offset=offset + size if more else None,
            server_time=office.clock(),
        )
        if since is not None:
            listing.deleted_ids = _deleted(connection, store_id, since)
    return listing


def _page(
    connection: sa.Connection, store_id: UUID, since: datetime | None, size: int, offset: int
) -> tuple[list[dict[str, Any]], int]:
    """The rows of a page and the number of rows of all pages."""
    seen = t.scope().where(t.store.c.id == store_id)
    if since is not None:
        seen = seen.where(t.photo.c.updated_at >= since)
    columns = [column for column in t.photo.c if column.name != "product_id"]
    page = seen.add_columns(*columns, t.product.c.sku.label("product_sku"), t.product.c.name.label("product_name"))
    page = page.order_by(t.photo.c.updated_at, t.photo.c.id).limit(size).offset(offset)
    rows = [dict(row) for row in connection.execute(page).mappings()]
    # The page ends before its limit, so it ends the listing: nothing is left to count.
    if len(rows) < size and (rows or offset == 0):
        return rows, offset + len(rows)
    count = sa.select(sa.func.count()).select_from(seen.subquery())
    return rows, connection.execute(count).scalar_one()


def _deleted(connection: sa.Connection, store_id: UUID, since: datetime) -> list[UUID]:
    """What the store lost since then; never a photo that it sees now, however that came about."""
    lost = t.photo_deletion
    seen = t.scope().where(t.store.c.id == store_id, t.photo.c.id == lost.c.photo_id).correlate(lost)
    query = sa.select(lost.c.photo_id).where(lost.c.store_id == store_id, lost.c.deleted_at >= since, ~seen.exists())
    return list(connection.scalars(query.order_by(lost.c.deleted_at, lost.c.photo_id)))


def image_url(office: HeadOffice, object_key: str, checksum: str) -> str | None:
    """Where a browser finds the picture; None without an object. The same bytes always have the same URL."""
    if not object_key:
        return None
    base = office.settings.public_url or f"{office.s3.meta.endpoint_url}/{office.bucket}"
    version = f"?v={checksum[:8]}" if checksum else ""
    return f"{base.rstrip('/')}/{quote(object_key)}{version}"


@router.get("/{photo_id}/download/", responses=_ANSWERS, response_class=StreamingResponse)
def download(
    request: Request,
    office: Office,
    caller: Caller,
    photo_id: UUID,
    store_id: UUID,
    byte_range: Annotated[str | None, Header(alias="Range", description="one range of bytes, to resume")] = None,
    if_range: Annotated[str | None, Header()] = None,
    redirect: Annotated[bool, Query(description="false: the bytes themselves, never where they are")] = True,
) -> Response:
    """Download a photo. Compare the MD5 of what arrives with the listed checksum: the headers are the listing's."""
    # What is asked for in its plain form has been answered before (lane.py).
    return send(request, office, caller, photo_id, store_id, byte_range, if_range)


def send(
    request: Request,
    office: HeadOffice,
    caller: Owner,
    photo_id: UUID,
    store_id: UUID,
    byte_range: str | None = None,
    if_range: str | None = None,
) -> Response:
    """The answer with a photo's bytes, or a part of them, for an account and a store."""
    row = _find(office, caller, photo_id, store_id)
    headers = photo_headers(row)
    etag = headers.get("ETag")
    if is_known(request, etag):
        return Response(status_code=304, headers=headers)
    if is_head(request):
        length = _from_store(office, row, office.s3.head_object)["ContentLength"]
        return Response(headers={**headers, "Content-Length": str(length)})
    wanted: dict[str, str] = {}
    # Several ranges, or one of another photo: the whole is answered, as RFC 9110 allows.
    if byte_range is not None and _ONE_RANGE.fullmatch(byte_range) and (if_range is None or if_range == etag):
        wanted["Range"] = byte_range
    answer = _from_store(office, row, office.s3.get_object, **wanted)
    headers["Content-Length"] = str(answer["ContentLength"])
    status = 200
    if "ContentRange" in answer:
        status = 206
        headers["Content-Range"] = answer["ContentRange"]
    if answer["ContentLength"] <= CHUNK_BYTES:
        return Response(_one_chunk(answer["Body"]), status, headers)
    return StreamingResponse(_chunks(answer["Body"]), status, headers)


def _find(office: HeadOffice, caller: Owner, photo_id: UUID, store_id: UUID) -> sa.Row:
    """The photo's row, when this account may read the store and the store sees the photo."""
    # Reads that need no transaction around them: half of the round trips.
    with office.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        asked = {"caller": caller.id, "generation": caller.generation, "store": store_id, "photo": photo_id}
        row = connection.execute(READABLE, asked).first()
        if row is None:
            admit(connection, caller, store_id)
            raise refused(404, "Photo not found")
    if not row.object_key:
        raise refused(404, "No image data available", f"photo {photo_id} was never uploaded")
    return row


def _from_store(office: HeadOffice, row: sa.Row, call: Any, **wanted: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = call(Bucket=office.bucket, Key=row.object_key, **wanted)
    except ClientError as error:
        code = error_code(error)
        if lacks_object(office.s3, office.bucket, error):
            raise refused(
                404, "Image data is missing in the object store", f"NoSuchKey: photo {row.id}, object {row.object_key}"
            ) from error
        if code == "InvalidRange" or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") == 416:
            length = _from_store(office, row, office.s3.head_object)["ContentLength"]
            what, where = f"The photo has {length} bytes; the range lies behind its end", f"bytes */{length}"
            raise refused(416, what, headers={"Content-Range": where}) from error
        raise refused(503, "The object store refuses", f"{code}: object {row.object_key}", BUSY) from error
    except BotoCoreError as error:
        raise refused(503, "The object store does not answer; try again", headers=BUSY) from error
    return answer


def _one_chunk(body: Any) -> bytes:
    """A small object at once: a stream would change threads for every chunk, which costs more than the bytes."""
    with closing(body):
        try:
            content: bytes = body.read()
        except BotoCoreError as error:
            raise refused(503, "The object store broke off; try again", headers=BUSY) from error
    return content


def _chunks(body: Any) -> Iterator[bytes]:
    """The object's bytes as they arrive; the connection to the store goes back when the reader leaves."""
    with closing(body):
        yield from body.iter_chunks(CHUNK_BYTES)


def photo_headers(row: Any) -> dict[str, str]:
    """What is said of a photo beside its bytes; row: has the columns content_type, filename, checksum and version."""
    media_type = row.content_type if _MEDIA_TYPE.fullmatch(row.content_type) else "application/octet-stream"
    headers = {
        "Content-Type": media_type,
        "Content-Disposition": disposition("attachment", row.filename),
        "X-Checksum": row.checksum,
        "X-Version": str(row.version),
        "Cache-Control": "private, no-cache",
        "Accept-Ranges": "bytes",
    }
    if row.checksum:
        headers["ETag"] = f'"{row.checksum}"'
    return headers
