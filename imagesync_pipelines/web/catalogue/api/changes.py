"""Changes since: what a system that keeps a copy has to ask for again.

A product counts as changed when it, one of its images, or a product that it may borrow images from changed. Moments are
those of the transactions that wrote; a moment is given out only when every transaction that began before it has ended,
so that nobody who goes on from there misses one that ended late.
"""

from datetime import UTC, datetime
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime
from starlette.responses import Response

from imagesync_pipelines.web.catalogue.api.calls import NOT_MODIFIED, Reader, answered, documented
from imagesync_pipelines.web.catalogue.api.products import Cursor
from imagesync_pipelines.web.catalogue.models import LARGEST_ID, ChangePage, ImageChange
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.catalogue.queries import CursorError, decode_cursor, encode_cursor

router = APIRouter(tags=["changes"])

MOST_CHANGES = 1000


@router.get("/changes", response_model=ChangePage, responses={**NOT_MODIFIED, **documented()})
def changes(
    request: Request,
    opened: Here,
    _: Reader,
    since: Annotated[AwareDatetime | None, Query(description="changes of then or later; without it all")] = None,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=MOST_CHANGES)] = 500,
) -> Response:
    """Products that changed, the earliest change first; removed images and fallback included.

    With a cursor `since` is not looked at.
    """
    page = changes_since(opened.engine, since, cursor, limit)
    return answered(request, page, page.next_cursor if page.has_more else None)


BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

# A second: between taking its moment and showing it here a transaction is nowhere. Five minutes: who has not written by
# then only reads, as an export does.
_SETTLED = sa.text("""
SELECT least(min(xact_start), clock_timestamp() - interval '1 second')
  FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
   AND (backend_xid IS NOT NULL OR xact_start > clock_timestamp() - interval '5 minutes')
""")

# A page looks at a stretch of time with so many writes, and no further: what is read first takes no longer for it.
_STRETCH = 5000
_UNTIL = sa.text("""
SELECT at
  FROM ((SELECT last_synced AS at FROM imagesync.product_image
          WHERE last_synced > :since AND last_synced < :settled ORDER BY 1 LIMIT :stretch)
         UNION ALL
        (SELECT removed_at FROM imagesync.image_removal
          WHERE removed_at > :since AND removed_at < :settled ORDER BY 1 LIMIT :stretch)
         UNION ALL
        (SELECT updated_at FROM imagesync.product
          WHERE updated_at > :since AND updated_at < :settled ORDER BY 1 LIMIT :stretch)) AS every
 ORDER BY at OFFSET :stretch - 1 LIMIT 1
""")

_CHANGES = sa.text("""
WITH touched AS (
    SELECT product_id, max(at) AS at
      FROM (SELECT product_id, last_synced AS at FROM imagesync.product_image
             WHERE last_synced >= :since AND last_synced < :settled AND last_synced <= :until
             UNION ALL
            SELECT product_id, removed_at FROM imagesync.image_removal
             WHERE removed_at >= :since AND removed_at < :settled AND removed_at <= :until
             UNION ALL
            SELECT id, updated_at FROM imagesync.product
             WHERE updated_at >= :since AND updated_at < :settled AND updated_at <= :until) AS every
     GROUP BY product_id
), newest AS (
    -- A product that changed again behind this stretch is told there.
    SELECT product_id, at FROM touched
     WHERE NOT EXISTS (SELECT FROM imagesync.product_image later WHERE later.product_id = touched.product_id
                          AND later.last_synced > :until AND later.last_synced < :settled)
       AND NOT EXISTS (SELECT FROM imagesync.image_removal later WHERE later.product_id = touched.product_id
                          AND later.removed_at > :until AND later.removed_at < :settled)
       AND NOT EXISTS (SELECT FROM imagesync.product later WHERE later.id = touched.product_id
                          AND later.updated_at > :until AND later.updated_at < :settled)
), shown AS (
    SELECT product_id, at FROM newest
     UNION ALL
    SELECT borrower.id, at FROM newest JOIN imagesync.product borrower ON borrower.parent_id = newest.product_id
     UNION ALL
    SELECT lender.parent_id, at FROM newest JOIN imagesync.product lender ON lender.id = newest.product_id
     WHERE lender.parent_id IS NOT NULL
     UNION ALL
    SELECT borrower.id, at
      FROM newest JOIN imagesync.product lender ON lender.id = newest.product_id
      JOIN imagesync.product borrower ON borrower.base_sku = lender.sku
), latest AS (
    SELECT product_id, max(at) AS at FROM shown GROUP BY product_id
)
SELECT product_id, sku, at, left_erp_at
  FROM latest JOIN imagesync.product ON id = product_id
 WHERE (at, product_id) > (:since, :last)
 ORDER BY at, product_id
 LIMIT :limit
""")


def changes_since(engine: sa.Engine, since: datetime | None, cursor: str | None, limit: int) -> ChangePage:
    """Products changed at `since` or later, or after a cursor; all of them with neither.

    Raises CursorError for text that is no cursor of changes.
    """
    begin, last = decode_cursor(cursor, (datetime, int)) if cursor else (since or BEGINNING, 0)
    if not 0 <= last <= LARGEST_ID:
        raise CursorError("This is no cursor of changes; begin again with `since`.")
    with engine.connect() as connection:
        settled = connection.execute(_SETTLED).scalar_one()
        values = {"since": begin, "last": last, "settled": settled, "limit": limit + 1}
        until = connection.execute(_UNTIL, {**values, "stretch": _STRETCH}).scalar()
        rows = connection.execute(_CHANGES, {**values, "until": settled if until is None else until}).all()
    given = [ImageChange(**row._mapping, changed_at=row.at.astimezone(UTC)) for row in rows[:limit]]
    if until is not None and len(rows) <= limit:
        # The stretch is through: the next page begins behind it.
        begin, last = until.astimezone(UTC), LARGEST_ID
    elif given:
        begin, last = given[-1].changed_at, given[-1].product_id
    has_more = until is not None or len(rows) > limit
    return ChangePage(items=given, has_more=has_more, next_cursor=encode_cursor([begin, last]))
