"""What changed, in the order in which it was committed: what a system that keeps a copy has to ask for again.

A product counts as changed when it, its pin, one of its images or a product of its family changed, when it shows
another product's images than before, and when those changed. Moments are those of the transactions that wrote; a moment
is given out only when every transaction that began before it has ended, so that nobody who goes on from there misses
one that ended late.
"""

from datetime import UTC, datetime

import sqlalchemy as sa

from imagesync_pipelines.web.catalogue import models, queries

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
          WHERE updated_at > :since AND updated_at < :settled ORDER BY 1 LIMIT :stretch)
         UNION ALL
        (SELECT changed_at FROM imagesync.shown_image
          WHERE changed_at > :since AND changed_at < :settled ORDER BY 1 LIMIT :stretch)) AS every
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
    SELECT borrower.product_id, at
      FROM newest JOIN imagesync.shown_image borrower ON borrower.owner_id = newest.product_id
     UNION ALL
    SELECT borrower.product_id, at
      FROM newest JOIN imagesync.shown_image borrower ON borrower.own_first_id = newest.product_id
                                                      AND borrower.own_first_id <> borrower.owner_id
     UNION ALL
    -- Whose images are shown, or a person's choice: it concerns nobody else.
    SELECT product_id, changed_at FROM imagesync.shown_image
     WHERE changed_at >= :since AND changed_at < :settled AND changed_at <= :until
), latest AS (
    SELECT product_id, max(at) AS at FROM shown GROUP BY product_id
)
SELECT product_id, sku, at, left_erp_at
  FROM latest JOIN imagesync.product ON id = product_id
 WHERE (at, product_id) > (:since, :last)
 ORDER BY at, product_id
 LIMIT :limit
""")


def from_now_on(connection: sa.Connection) -> str:
    """The cursor after everything that is known to be committed."""
    settled = connection.execute(_SETTLED).scalar_one()
    return queries.encode_cursor([settled.astimezone(UTC), 0])


def changes_since(engine: sa.Engine, since: datetime | None, cursor: str | None, limit: int) -> models.ChangePage:
    """Products changed at `since` or later, or after a cursor; all of them with neither.

    Raises CursorError for text that is no cursor of changes.
    """
    begin, last = queries.decode_cursor(cursor, (datetime, int)) if cursor else (since or BEGINNING, 0)
    if not 0 <= last <= models.LARGEST_ID:
        raise queries.CursorError("This is no cursor of changes; begin again with `since`.")
    with engine.connect() as connection:
        settled = connection.execute(_SETTLED).scalar_one()
        values = {"since": begin, "last": last, "settled": settled, "limit": limit + 1}
        until = connection.execute(_UNTIL, {**values, "stretch": _STRETCH}).scalar()
        rows = connection.execute(_CHANGES, {**values, "until": settled if until is None else until}).all()
    given = [models.ImageChange(**row._mapping, changed_at=row.at.astimezone(UTC)) for row in rows[:limit]]
    if until is not None and len(rows) <= limit:
        # The stretch is through: the next page begins behind it.
        begin, last = until.astimezone(UTC), models.LARGEST_ID
    elif given:
        begin, last = given[-1].changed_at, given[-1].product_id
    has_more = until is not None or len(rows) > limit
    return models.ChangePage(items=given, has_more=has_more, next_cursor=queries.encode_cursor([begin, last]))
