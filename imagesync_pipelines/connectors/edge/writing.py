"""The statements that write photos into a store's table.

Bytes go as binary parameters through psycopg's pipeline; metadata alone goes as one set-based statement.
"""

from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

import psycopg
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.model import Photo

DOUBTED = "the stored picture is not what its checksum says; it is fetched again"

_KEPT = (
    "product_id", "object_key", "filename", "size", "content_type", "checksum", "version", "is_primary", "sort_order",
    "updated_at",
)  # fmt: skip
_TYPES = {
    "photo_id": "uuid", "product_id": "uuid", "size": "integer", "version": "integer", "is_primary": "boolean",
    "sort_order": "integer", "updated_at": "timestamptz",
}  # fmt: skip
_values_of = attrgetter("photo_id", *_KEPT)
_DONE = "sync_status = 'synced', sync_error = NULL"
_NAMED = "WHERE id = ANY(CAST(:ids AS uuid[]))"
_LISTED = f"""
  FROM unnest({", ".join(f"CAST(:{name} AS {_TYPES.get(name, 'text')}[])" for name in ("photo_id", *_KEPT))})
       AS w (id, {", ".join(_KEPT)})
"""
_WITH_BYTES = f"""
INSERT INTO {{table}} (id, {", ".join(_KEPT)}, image_binary, last_sync_at, sync_status, sync_error)
VALUES (%s, {", ".join(["%s"] * len(_KEPT))}, %b, %s, 'synced', NULL)
    ON CONFLICT (id) DO UPDATE
   SET {", ".join(f"{name} = EXCLUDED.{name}" for name in (*_KEPT, "image_binary", "last_sync_at"))}, {_DONE}
"""  # noqa: S608 - names are constants of this module
# Rows whose picture is not what the listing says are left out, so that nothing counts as synced that was not hashed.
_WITHOUT_BYTES = f"""
UPDATE {{table}} t SET {", ".join(f"{name} = w.{name}" for name in _KEPT)}, last_sync_at = :moment, {_DONE}
{_LISTED}
 WHERE t.id = w.id AND md5(t.image_binary) = w.checksum
RETURNING t.id::text
"""  # noqa: S608 - names are constants of this module
_ADD = f"""
INSERT INTO {{table}} (id, {", ".join(_KEPT)}, sync_status)
SELECT w.*, 'pending' {_LISTED}
    ON CONFLICT (id) DO NOTHING
"""
_NOTE = """
UPDATE {table} t SET sync_status = w.status, sync_error = w.reason
  FROM unnest(CAST(:ids AS uuid[]), CAST(:statuses AS text[]), CAST(:reasons AS text[])) AS w (id, status, reason)
 WHERE t.id = w.id
"""
_RENAME = """
UPDATE {table} t SET id = w.after
  FROM unnest(CAST(:before AS uuid[]), CAST(:after AS uuid[])) AS w (before, after)
 WHERE t.id = w.before
"""


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
        cursor.executemany(statement, ((*_values_of(photo), body, moment) for photo, body in photos))


def write_without_bytes(
    connection: sa.Connection, table: str, photos: Sequence[Photo], moment: datetime
) -> frozenset[str]:
    """Write what is listed of photos whose pictures are there already, as synced; returns the ids that were written.

    Every stored picture is hashed first. One that is not what the listing says becomes pending with the reason DOUBTED.
    """
    if not photos:
        return frozenset()
    written = frozenset(_execute(connection, _WITHOUT_BYTES, table, **_columns(photos), moment=moment).scalars())
    doubted = [photo.photo_id for photo in photos if photo.photo_id not in written]
    if doubted:
        # The checksum tells what is there from now on, so that the next plan fetches the listed bytes.
        doubt = "UPDATE {table} SET checksum = md5(image_binary), sync_status = 'pending', sync_error = :reason "
        _execute(connection, doubt + _NAMED, table, ids=doubted, reason=DOUBTED)
    return written


def rename(connection: sa.Connection, table: str, ids: Sequence[tuple[str, str]]) -> None:
    """Give rows, picture and all, new ids: pairs of the id before and after."""
    if ids:
        before, after = map(list, zip(*ids, strict=True))
        # The new id may be there already, pending and without a picture.
        _execute(connection, f"DELETE FROM {{table}} {_NAMED} AND image_binary IS NULL", table, ids=after)  # noqa: S608
        _execute(connection, _RENAME, table, before=before, after=after)


def note_unwritten(connection: sa.Connection, table: str, photos: Sequence[tuple[Photo, str, str]]) -> None:
    """Note status and reason of photos that could not be fetched; a picture that is there stays as it is."""
    if photos:
        listed, statuses, reasons = map(list, zip(*photos, strict=True))
        columns = _columns(listed)
        _execute(connection, _ADD, table, **columns)
        _execute(connection, _NOTE, table, ids=columns["photo_id"], statuses=statuses, reasons=reasons)


def note_failed(connection: sa.Connection, table: str, ids: Sequence[str], reason: str) -> None:
    """Note why photos could not be written; those that are not there are not added."""
    failed = f"UPDATE {{table}} SET sync_status = 'failed', sync_error = :reason {_NAMED}"  # noqa: S608
    _execute(connection, failed, table, ids=ids, reason=reason)


def remove(connection: sa.Connection, table: str, ids: Sequence[str]) -> None:
    """Remove photos."""
    if ids:
        _execute(connection, f"DELETE FROM {{table}} {_NAMED}", table, ids=ids)  # noqa: S608


def mark_pending(connection: sa.Connection, table: str, photos: Sequence[Photo]) -> None:
    """Add photos that are not there, without a picture, and make all of them pending; the rest of a row stays."""
    if photos:
        columns = _columns(photos)
        _execute(connection, _ADD, table, **columns)
        pending = f"UPDATE {{table}} SET sync_status = 'pending' {_NAMED}"  # noqa: S608
        _execute(connection, pending, table, ids=columns["photo_id"])


def _execute(connection: sa.Connection, statement: str, table: str, **values: object) -> sa.CursorResult[Any]:
    return connection.execute(sa.text(statement.format(table=table)), values)


def _columns(photos: Sequence[Photo]) -> dict[str, list[Any]]:
    """One list per column, as unnest takes them."""
    return dict(zip(("photo_id", *_KEPT), map(list, zip(*map(_values_of, photos), strict=True)), strict=True))
