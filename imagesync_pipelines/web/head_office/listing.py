"""The listing of a store's photos, page by page.

As the original: envelope, fields, inclusive `since`. Better: a total order,
a limit that is cut, clear refusals, `deleted_ids` (with `since`) and `server_time`; an old client can ignore the two.
"""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote
from uuid import UUID

import sqlalchemy as sa
from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer

from imagesync_pipelines.web.head_office.answers import REFUSALS
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tables import photo, photo_deletion, product, scope, store
from imagesync_pipelines.web.head_office.tokens import Caller, Office, admit

LARGEST_OFFSET = 2**53

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
    """Read `since`: ISO 8601 with its time zone. Raises ValueError with what to do."""
    text = str(value)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        hint = "; a + has to be sent as %2B, or send Z" if " " in text else ""
        raise ValueError(f"not a time like 2026-02-03T10:00:00Z{hint}") from None
    if moment.tzinfo is None:
        raise ValueError("name its time zone, as in 2026-02-03T10:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("out of the range of times") from None


Since = Annotated[
    datetime, BeforeValidator(parse_since), Query(description="only photos changed at this time or later; ISO 8601")
]


@router.get("/", responses=REFUSALS, response_model_exclude_unset=True)
def list_photos(
    office: Office,
    caller: Caller,
    store_id: UUID,
    since: Since | None = None,
    limit: Annotated[
        int | None, Query(description="photos on a page; cut to what the server allows, 1 at least")
    ] = None,
    offset: Annotated[int, Query(ge=0, le=LARGEST_OFFSET, description="photos to skip")] = 0,
) -> ListingAnswer:
    """List the photos of a store, ordered by `updated_at` and `id`.

    Read on at `next_offset` until it is null. A scan is complete when `total` did not change and every id came once;
    scan again when it did not.
    """
    asked = office.settings.default_limit if limit is None else limit
    size = max(1, min(asked, office.settings.max_limit))
    # One snapshot for everything on a page.
    with office.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        admit(connection, caller, store_id)
        rows, total = _page(connection, store_id, since, size, offset)
        more = offset + size < total
        listing = PhotoListing(
            photos=[
                ListedPhoto(**row, image_url=image_url(office, row["object_key"], row["checksum"])) for row in rows
            ],
            total=total,
            has_more=more,
            next_offset=offset + size if more else None,
            server_time=office.clock(),
        )
        if since is not None:
            listing.deleted_ids = _deleted(connection, store_id, since)
    return ListingAnswer(status="success", data=listing)


def _page(
    connection: sa.Connection, store_id: UUID, since: datetime | None, size: int, offset: int
) -> tuple[list[dict[str, Any]], int]:
    """The rows of a page and the number of rows of all pages."""
    seen = scope().where(store.c.id == store_id)
    if since is not None:
        seen = seen.where(photo.c.updated_at >= since)
    columns = [column for column in photo.c if column.name != "product_id"]
    page = seen.add_columns(*columns, product.c.sku.label("product_sku"), product.c.name.label("product_name"))
    page = page.order_by(photo.c.updated_at, photo.c.id).limit(size).offset(offset)
    rows = [dict(row) for row in connection.execute(page).mappings()]
    # The page ends before its limit, so it ends the listing: nothing is left to count.
    if len(rows) < size and (rows or offset == 0):
        return rows, offset + len(rows)
    count = sa.select(sa.func.count()).select_from(seen.subquery())
    return rows, connection.execute(count).scalar_one()


def _deleted(connection: sa.Connection, store_id: UUID, since: datetime) -> list[UUID]:
    """What the store lost since then; never a photo that it sees now, however that came about."""
    seen = scope().where(store.c.id == store_id, photo.c.id == photo_deletion.c.photo_id).correlate(photo_deletion)
    lost = sa.select(photo_deletion.c.photo_id).where(
        photo_deletion.c.store_id == store_id, photo_deletion.c.deleted_at >= since, ~seen.exists()
    )
    return list(connection.execute(lost.order_by(photo_deletion.c.deleted_at, photo_deletion.c.photo_id)).scalars())


def image_url(office: HeadOffice, object_key: str, checksum: str) -> str | None:
    """Where a browser finds the picture; None without an object. The same bytes always have the same URL."""
    if not object_key:
        return None
    base = office.settings.public_url or f"{office.s3.meta.endpoint_url}/{office.bucket}"
    version = f"?v={checksum[:8]}" if checksum else ""
    return f"{base.rstrip('/')}/{quote(object_key)}{version}"
