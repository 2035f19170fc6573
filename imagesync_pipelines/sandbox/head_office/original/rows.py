"""The rows of the original's listing: which photos a store sees, in what order, in what words (contract section 2).

What belongs here: reading head office's tables as the original does. What does not: HTTP (app.py).
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from imagesync_pipelines.sandbox.head_office.original.answers import Crashed
from imagesync_pipelines.sandbox.head_office.original.model import IMAGE_HOST, Order, Original, Stamps
from imagesync_pipelines.web.head_office import tables as t

# A `since` without a time zone is read in the server's own: seven hours off for who meant UTC.
SERVER_ZONE = ZoneInfo("Asia/Jakarta")
SHOWN_OF_CHECKSUM = 8


def since_of(text: str | None) -> datetime | None:
    """The moment that `since` means; a raw plus sign has become a space by then, which crashes as any junk does."""
    if not text:
        return None
    try:
        since = datetime.fromisoformat(text)
    except ValueError as error:
        raise Crashed from error
    return since if since.tzinfo is not None else since.replace(tzinfo=SERVER_ZONE)


def is_active_store(connection: sa.Connection, store_id: UUID) -> bool:
    """Whether there is such a store and it is active."""
    return bool(connection.scalar(sa.select(t.store.c.is_active).where(t.store.c.id == store_id)))


def photo(connection: sa.Connection, photo_id: UUID) -> sa.Row[Any] | None:
    """The row of one photo, of whatever store."""
    return connection.execute(sa.select(t.photo).where(t.photo.c.id == photo_id)).one_or_none()


def page(
    connection: sa.Connection, original: Original, store_id: UUID, since: datetime | None, limit: int, offset: int
) -> tuple[int, list[dict[str, Any]]]:
    """How many photos there are in all, and one page of them as JSON."""
    seen = t.scope().where(t.store.c.id == store_id).with_only_columns(t.photo, t.product.c.sku, t.product.c.name)
    if since is not None:
        seen = seen.where(t.photo.c.updated_at >= since)
    total = connection.scalar(sa.select(sa.func.count()).select_from(seen.subquery())) or 0
    found = connection.execute(seen.order_by(*_order(original)).limit(limit).offset(offset))
    return total, [_as_json(original, row) for row in found]


def _order(original: Original) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    shuffled = sa.func.md5(sa.cast(t.photo.c.id, sa.Text) + str(original.next_call()))
    stored: sa.ColumnElement[Any] = sa.literal_column(f"{t.photo.fullname}.ctid")
    orders: dict[Order, tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]] = {
        Order.ARBITRARY: (t.photo.c.sort_order, shuffled),
        Order.STORED: (t.photo.c.sort_order, stored),
        Order.UPDATED_AT: (t.photo.c.updated_at, shuffled),
    }
    return orders[original.switches.order]


def _as_json(original: Original, row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "product_id": str(row.product_id),
        "product_sku": row.sku,
        "product_name": row.name,
        "object_key": row.object_key,
        "filename": row.filename,
        "size": row.size,
        "content_type": row.content_type,
        "checksum": row.checksum,
        "version": row.version,
        "is_primary": row.is_primary,
        "sort_order": row.sort_order,
        "updated_at": _stamp(original, row.updated_at),
        "image_url": _image_url(original, row),
    }


def _stamp(original: Original, moment: datetime) -> str:
    written = moment.astimezone(UTC).isoformat()
    return written.replace("+00:00", "Z") if original.switches.stamps is Stamps.ZULU else written


def _image_url(original: Original, row: sa.Row[Any]) -> str | None:
    """A URL that no other machine can reach; without a checksum it changes every second."""
    if not row.object_key:
        return f"/media/product_photos/{row.filename}" if row.filename else None
    version = row.checksum[:SHOWN_OF_CHECKSUM] or str(int(original.now().timestamp()))
    return f"{IMAGE_HOST}/{original.bucket}/{row.object_key}?v={version}"
