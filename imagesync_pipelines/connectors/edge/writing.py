"""The statements that write photos into a store's table.

Bytes go as binary parameters through psycopg's pipeline; metadata alone goes as one set-based statement.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.model import Photo

_KEPT = (
    "product_id", "object_key", "filename", "size", "content_type", "checksum", "version", "is_primary", "sort_order",
    "updated_at",
)  # fmt: skip
_TYPES = {
    "photo_id": "uuid", "product_id": "uuid", "size": "integer", "version": "integer", "is_primary": "boolean",
    "sort_order": "integer", "updated_at": "timestamptz",
}  # fmt: skip
_DONE = "sync_status = 'synced', sync_error = NULL"

_WITH_BYTES = f"""
INSERT INTO {{table}} (id, {", ".join(_KEPT)}, image_binary, last_sync_at, sync_status, sync_error)
VALUES (%s, {", ".join(["%s"] * len(_KEPT))}, %b, %s, 'synced', NULL)
    ON CONFLICT (id) DO UPDATE
   SET {", ".join(f"{name} = EXCLUDED.{name}" for name in (*_KEPT, "image_binary", "last_sync_at"))}, {_DONE}
"""  # noqa: S608 - names are constants of this module

_LISTED = f"""
  FROM unnest({", ".join(f"CAST(:{name} AS {_TYPES.get(name, 'text')}[])" for name in ("photo_id", *_KEPT))})
       AS w (id, {", ".join(_KEPT)})
"""

# Rows whose picture is not what the listing says are left out, so that nothing counts as synced that was not hashed.
_WITHOUT_BYTES = f"""
UPDATE {{table}} t SET {", ".join(f"{name} = w.{name}" for name in _KEPT)}, last_sync_at = :moment, {_DONE}
{_LISTED}
 WHERE t.id = w.id AND md5(t.image_binary) = w.checksum
RETURNING t.id::text
"""  # noqa: S608 - names are constants of this module

# The new id may be there already, pending and without a picture.
_MAKE_ROOM = "DELETE FROM {table} WHERE id = ANY(CAST(:ids AS uuid[])) AND image_binary IS NULL"

_RENAME = """
UPDATE {table} t SET id = w.after
  FROM unnest(CAST(:before AS uuid[]), CAST(:after AS uuid[])) AS w (before, after)
 WHERE t.id = w.before
"""

# The checksum tells what is there from now on, so that the next plan fetches the listed bytes.
_DOUBT = """
UPDATE {table} SET checksum = md5(image_binary), sync_status = 'pending', sync_error = :reason
 WHERE id = ANY(CAST(:ids AS uuid[]))
"""

_FAIL = """
UPDATE {table} t SET sync_status = w.status, sync_error = w.reason
  FROM unnest(CAST(:ids AS uuid[]), CAST(:statuses AS text[]), CAST(:reasons AS text[])) AS w (id, status, reason)
 WHERE t.id = w.id
"""

_ADD = f"""
INSERT INTO {{table}} (id, {", ".join(_KEPT)}, sync_status)
SELECT w.*, 'pending' {_LISTED}
    ON CONFLICT (id) DO NOTHING
"""

_PENDING = "UPDATE {table} SET sync_status = 'pending' WHERE id = ANY(CAST(:ids AS uuid[]))"

_REMOVE = "DELETE FROM {table} WHERE id = ANY(CAST(:ids AS uuid[]))"

DOUBTED = "the stored picture is not what its checksum says; it is fetched again"


def write_with_bytes(
    connection: sa.Connection, table: str, photos: Sequence[tuple[Photo, bytes]], moment: datetime
) -> None:
    """Write photos with their pictures, as synced at `moment`."""
    if not photos:
        return
    driver: psycopg.Connection[Any] | None = connection.connection.driver_connection
    if driver is None:
        raise TypeError("the connection is closed")
    statement = _WITH_BYTES.format(table=table)
    with driver.cursor() as cursor:
        cursor.executemany(statement, ((*_values(photo), body, moment) for photo, body in photos))


def write_without_bytes(
    connection: sa.Connection, table: str, photos: Sequence[Photo], moment: datetime
) -> frozenset[str]:
    """Write what is listed of photos whose pictures are there already, as synced; returns the ids that were written.

    Every stored picture is hashed first. One that is not what the listing says becomes pending with the reason DOUBTED.
    """
    if not photos:
        return frozenset()
    values = {**_columns(photos), "moment": moment}
    written = frozenset(connection.scalars(sa.text(_WITHOUT_BYTES.format(table=table)), values))
    doubted = [photo.photo_id for photo in photos if photo.photo_id not in written]
    if doubted:
        connection.execute(sa.text(_DOUBT.format(table=table)), {"ids": doubted, "reason": DOUBTED})
    return written


def rename(connection: sa.Connection, table: str, ids: Sequence[tuple[str, str]]) -> None:
    """Give rows, picture and all, new ids: pairs of the id before and after."""
    if ids:
        before, after = zip(*ids, strict=True)
        connection.execute(sa.text(_MAKE_ROOM.format(table=table)), {"ids": list(after)})
        statement = sa.text(_RENAME.format(table=table))
        connection.execute(statement, {"before": list(before), "after": list(after)})


def note_unwritten(connection: sa.Connection, table: str, photos: Sequence[tuple[Photo, str, str]]) -> None:
    """Note status and reason of photos that could not be fetched; a picture that is there stays as it is."""
    if photos:
        connection.execute(sa.text(_ADD.format(table=table)), _columns([row[0] for row in photos]))
        _, statuses, reasons = zip(*photos, strict=True)
        values = {"ids": [row[0].photo_id for row in photos], "statuses": list(statuses), "reasons": list(reasons)}
        connection.execute(sa.text(_FAIL.format(table=table)), values)


def note_failed(connection: sa.Connection, table: str, ids: Sequence[str], reason: str) -> None:
    """Note why photos could not be written; those that are not there are not added."""
    values = {"ids": list(ids), "statuses": ["failed"] * len(ids), "reasons": [reason] * len(ids)}
    connection.execute(sa.text(_FAIL.format(table=table)), values)


def remove(connection: sa.Connection, table: str, ids: Sequence[str]) -> None:
    """Remove photos."""
    if ids:
        connection.execute(sa.text(_REMOVE.format(table=table)), {"ids": list(ids)})


def mark_pending(connection: sa.Connection, table: str, photos: Sequence[Photo]) -> None:
    """Add photos that are not there, without a picture, and make all of them pending; the rest of a row stays."""
    if not photos:
        return
    connection.execute(sa.text(_ADD.format(table=table)), _columns(photos))
    connection.execute(sa.text(_PENDING.format(table=table)), {"ids": [photo.photo_id for photo in photos]})


def _values(photo: Photo) -> tuple[Any, ...]:
    return (photo.photo_id, *(getattr(photo, name) for name in _KEPT))


def _columns(photos: Sequence[Photo]) -> dict[str, list[Any]]:
    """One list per column, as unnest takes them."""
    return {name: [getattr(photo, name) for photo in photos] for name in ("photo_id", *_KEPT)}
