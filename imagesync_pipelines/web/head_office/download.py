"""The bytes of one photo, streamed from the object store.

Better than the original: no more than a chunk of an object is in memory,
Content-Length is the object's own, there are ETag, 304, Range and HEAD, and a missing object is a 404 that names it.
"""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from fastapi import APIRouter, Header, Response
from fastapi.responses import StreamingResponse

from imagesync_pipelines.storage.objects import error_code
from imagesync_pipelines.web.head_office.answers import BUSY, REFUSALS, refused
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tables import account, account_store, photo, scope, store
from imagesync_pipelines.web.head_office.tokens import Caller, Office, admit
from imagesync_pipelines.web.service import disposition, names_etag

CHUNK_BYTES = 512 * 1024
_ONE_RANGE = re.compile(r"bytes=(\d+-\d*|-\d+)")
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+")
_NO_OBJECT = frozenset({"NoSuchKey", "404", "NotFoundError"})
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    **REFUSALS,
    200: {"description": "The photo's bytes", "content": {"image/*": _BINARY}},
    206: {"description": "A part of the photo's bytes", "content": {"image/*": _BINARY}},
    304: {"description": "Not changed: the ETag is the one that was sent"},
    416: {"description": "The range lies behind the end"},
}
# A photo and everybody's right to it in one read, made once: most downloads are allowed. `admit` says why one is not.
_READABLE = (
    scope()
    .with_only_columns(photo)
    .join(account, account.c.id == sa.bindparam("caller"))
    .outerjoin(account_store, (account_store.c.account_id == account.c.id) & (account_store.c.store_id == store.c.id))
    .where(store.c.id == sa.bindparam("store"), photo.c.id == sa.bindparam("photo"))
    .where(store.c.is_active, account.c.is_active, account.c.all_stores | account_store.c.store_id.is_not(None))
)

router = APIRouter(prefix="/api/v1/sync/product-photos", tags=["photos"])


@router.get("/{photo_id}/download/", responses=_ANSWERS, response_class=StreamingResponse)
def download(
    office: Office,
    caller: Caller,
    photo_id: UUID,
    store_id: UUID,
    if_none_match: Annotated[str | None, Header()] = None,
    byte_range: Annotated[str | None, Header(alias="Range", description="one range of bytes, to resume")] = None,
    if_range: Annotated[str | None, Header()] = None,
) -> Response:
    """Download a photo. Compare the MD5 of what arrives with the listed checksum: the headers are the listing's."""
    row = _find(office, caller, photo_id, store_id)
    headers = _headers(row)
    etag = headers.get("ETag")
    if etag is not None and names_etag(if_none_match or "", etag):
        return Response(status_code=304, headers=headers)
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


@router.head("/{photo_id}/download/", include_in_schema=False)
def head(office: Office, caller: Caller, photo_id: UUID, store_id: UUID) -> Response:
    """The headers of a download without its bytes."""
    row = _find(office, caller, photo_id, store_id)
    answer = _from_store(office, row, office.s3.head_object)
    return Response(headers={**_headers(row), "Content-Length": str(answer["ContentLength"])})


def _find(office: HeadOffice, caller: UUID, photo_id: UUID, store_id: UUID) -> sa.Row:
    """The photo's row, when this account may read the store and the store sees the photo."""
    # Reads that need no transaction around them: half of the round trips.
    with office.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        row = connection.execute(_READABLE, {"caller": caller, "store": store_id, "photo": photo_id}).first()
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
        if code in _NO_OBJECT:
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


def _headers(row: sa.Row) -> dict[str, str]:
    media_type = row.content_type if _MEDIA_TYPE.fullmatch(row.content_type) else "application/octet-stream"
    headers = {
        "Content-Type": media_type,
        "Content-Disposition": disposition("attachment", row.filename),
        "X-Checksum": row.checksum,
        "X-Version": str(row.version),
        "X-Content-Type-Options": "nosniff",
        "Accept-Ranges": "bytes",
    }
    if row.checksum:
        headers["ETag"] = f'"{row.checksum}"'
    return headers
