"""Changing what stores see: one transaction that leaves the traces an incremental reader needs.

A photo that leaves a store's scope gets a row in `photo_deletion`; one that enters it gets a new `updated_at`, so that
`since` finds it. Changes run one after the other, so a later stamp is never committed before an earlier one: a reader
whose cursor is the largest `updated_at` it saw misses nothing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tables import WRITE_LOCK, photo, photo_deletion, product, scope

_before = sa.table("scope_before", sa.column("store_id"), sa.column("photo_id"), sa.column("product_id"))


@dataclass(frozen=True)
class PhotoChange:
    """An open change: its connection, and the stamp for the rows it writes."""

    connection: sa.Connection
    stamp: datetime


@contextmanager
def changing(office: HeadOffice, products: sa.ColumnElement[bool]) -> Iterator[PhotoChange]:
    """One transaction that changes rows around some products; `products` is a condition on the product table.

    On leaving, the photos that entered and left the scope of each store are worked out and noted. Nothing is kept when
    the body raises.
    """
    seen = scope().where(products).subquery()
    with office.engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITE_LOCK})
        stamp = office.clock()
        connection.execute(
            sa.text(
                "CREATE TEMPORARY TABLE scope_before (store_id uuid, photo_id uuid, product_id uuid) ON COMMIT DROP"
            )
        )
        connection.execute(sa.insert(_before).from_select(["store_id", "photo_id", "product_id"], sa.select(seen)))
        yield PhotoChange(connection, stamp)
        _note_left(connection, seen, stamp)
        _note_entered(connection, seen, stamp)


def _note_left(connection: sa.Connection, seen: sa.Subquery, stamp: datetime) -> None:
    still = sa.select(seen.c.photo_id).where(
        seen.c.store_id == _before.c.store_id, seen.c.photo_id == _before.c.photo_id
    )
    left = sa.select(_before, sa.literal(stamp, sa.DateTime(timezone=True))).where(~still.exists())
    columns = ["store_id", "photo_id", "product_id", "deleted_at"]
    statement = insert(photo_deletion).from_select(columns, left)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["store_id", "photo_id"], set_={"deleted_at": statement.excluded.deleted_at}
        )
    )


def _note_entered(connection: sa.Connection, seen: sa.Subquery, stamp: datetime) -> None:
    was = sa.select(_before.c.photo_id).where(
        seen.c.store_id == _before.c.store_id, seen.c.photo_id == _before.c.photo_id
    )
    entered = sa.select(seen.c.store_id, seen.c.photo_id).where(~was.exists())
    key = sa.tuple_(photo_deletion.c.store_id, photo_deletion.c.photo_id)
    photos = entered.subquery()
    connection.execute(
        photo.update().where(photo.c.id.in_(sa.select(photos.c.photo_id)), photo.c.updated_at != stamp)
        .values(updated_at=stamp)
    )  # fmt: skip
    connection.execute(photo_deletion.delete().where(key.in_(entered)))


def of_products(product_ids: Sequence[UUID]) -> sa.ColumnElement[bool]:
    """The condition for a change of these products, however many they are."""
    return product.c.id == any_of(product_ids)


def any_of(ids: Sequence[UUID]) -> sa.ColumnElement[bool]:
    """Ids as one array parameter: a list of single parameters ends at 65,535."""
    return sa.any_(sa.literal(list(ids), sa.ARRAY(sa.Uuid)))
