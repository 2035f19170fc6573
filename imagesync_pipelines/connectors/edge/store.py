"""A store's own database: its table of photos, what is there, what waits, its lock, and what writes it.

A blob never leaves its database here; it goes in as a binary parameter through psycopg's pipeline, while metadata alone
goes as one set-based statement.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.edge.errors import StoreUnreachableError
from imagesync_pipelines.connectors.edge.model import KEPT, Body, Photo, fingerprint, kept_of
from imagesync_pipelines.connectors.edge.primaries import FIRST
from imagesync_pipelines.connectors.edge.settings import EdgeStore
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage import statistics
from imagesync_pipelines.storage.copying import frame_of
from imagesync_pipelines.storage.database import create_database, driver_cursor, engine_of
from imagesync_pipelines.storage.errors import DatabaseUnreachableError, StorageError, TransactionPoolerError
from imagesync_pipelines.storage.faults import told
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.locks import HeldLock, account_lock
from imagesync_pipelines.storage.sessions import refuse_pooler_of_transactions

# A store's table is one of these (docs/contracts/edge.md); a Django application of the store makes the second.
TABLES = ("product_photo", "core_productphoto")
# Photos whose product the store does not have (yet); the table itself refuses them.
WAITING = "imagesync_photo_waiting"
# One lock per database, whatever this installation calls the store.
LOCK = N_("edge photos")
# frames.ROW_COLUMNS, and what applying needs beside them.
CURRENT_COLUMNS = ("key", "group", "position", "fingerprint", "content", "checksum", "has_bytes", "status", "error")

_ROWS_PER_PART = 2_000
_SCHEMA = pa.schema(
    (name, {"has_bytes": pa.bool_(), "position": pa.int64()}.get(name, pa.large_string())) for name in CURRENT_COLUMNS
)

_READ = """
SELECT id::text, product_id::text, coalesce(updated_at, 'epoch'::timestamptz), '', '', coalesce(object_key, ''),
       coalesce(filename, ''), coalesce(size, 0), coalesce(content_type, ''), lower(coalesce(checksum, '')),
       coalesce(version, 1), coalesce(is_primary, false), coalesce(sort_order, 0), '', image_binary IS NOT NULL,
       coalesce(sync_status, 'pending'), coalesce(sync_error, '')
  FROM {table}
"""

DOUBTED = N_("the stored picture is not what its checksum says; it is fetched again")

_TYPES = {
    "photo_id": "uuid", "product_id": "uuid", "size": "integer", "version": "integer", "is_primary": "boolean",
    "sort_order": "integer", "updated_at": "timestamptz",
}  # fmt: skip
_DONE = "sync_status = 'synced', sync_error = NULL"
_NAMED = "WHERE id = ANY(CAST(:ids AS uuid[]))"
_ARRAYS = ", ".join(f"CAST(:{name} AS {_TYPES.get(name, 'text')}[])" for name in ("photo_id", *KEPT))
_WITH_BYTES = f"""
INSERT INTO {{table}} (id, {", ".join(KEPT)}, image_binary, last_sync_at, sync_status, sync_error)
VALUES (%s, {", ".join(["%s"] * len(KEPT))}, %b, %s, 'synced', NULL)
    ON CONFLICT (id) DO UPDATE
   SET {", ".join(f"{name} = EXCLUDED.{name}" for name in (*KEPT, "image_binary", "last_sync_at"))}, {_DONE}
"""  # noqa: S608 - names are constants of this module
# Rows whose picture is not what the listing says are left out, so that nothing counts as synced that was not hashed.
_WITHOUT_BYTES = f"""
UPDATE {{table}} t SET {", ".join(f"{name} = w.{name}" for name in KEPT)}, last_sync_at = :moment, {_DONE}
  FROM unnest({_ARRAYS}) AS w (id, {", ".join(KEPT)})
 WHERE t.id = w.id AND md5(t.image_binary) = w.checksum
RETURNING t.id::text
"""  # noqa: S608 - names are constants of this module
# A picture that is there stays, and so does what is known of it.
_NOTE = f"""
INSERT INTO {{table}} AS t (id, {", ".join(KEPT)}, sync_status, sync_error)
SELECT * FROM unnest({_ARRAYS}, CAST(:statuses AS text[]), CAST(:reasons AS text[]))
    ON CONFLICT (id) DO UPDATE
   SET sync_status = EXCLUDED.sync_status, sync_error = coalesce(EXCLUDED.sync_error, t.sync_error)
"""  # noqa: S608 - names are constants of this module
_RENAME = """
UPDATE {table} t SET id = w.after
  FROM unnest(CAST(:before AS uuid[]), CAST(:after AS uuid[])) AS w (before, after)
 WHERE t.id = w.before
"""

_GIVE_WAY = """
UPDATE {table} SET is_primary = false
 WHERE is_primary AND product_id = ANY(CAST(:products AS uuid[])) AND id <> ALL(CAST(:ids AS uuid[]))
RETURNING id::text
"""
_PARK = """
INSERT INTO imagesync_photo_waiting (photo_id, product_id)
SELECT * FROM unnest(CAST(:photos AS uuid[]), CAST(:products AS uuid[]))
    ON CONFLICT (photo_id) DO UPDATE SET product_id = EXCLUDED.product_id
"""

# The table and column that product_id refers to, each as it is written in a statement.
_PARENT = """
SELECT c.confrelid::regclass::text, quote_ident(a.attname)
  FROM pg_constraint c
  JOIN pg_attribute p ON p.attrelid = c.conrelid AND p.attnum = c.conkey[1]
  JOIN pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = c.confkey[1]
 WHERE c.conrelid = to_regclass(:table) AND c.contype = 'f' AND cardinality(c.conkey) = 1 AND p.attname = 'product_id'
"""


@dataclass(frozen=True)
class StoreDatabase:
    """A store's database and the name of its table of photos; `table` is one of TABLES."""

    engine: sa.Engine
    table: str


def open_store(dsn: str) -> StoreDatabase:
    """Open a store's database; its table need not be there yet.

    Raises StoreUnreachableError, StorageError, TransactionPoolerError where the store's lock would not last.
    """
    engine = engine_of(dsn)
    try:
        refuse_pooler_of_transactions(engine, languages.told("The dsn of this store"))
        with engine.connect() as connection:
            tables = {name: connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": name}) for name in TABLES}
    except OperationalError as error:
        engine.dispose()
        raise StoreUnreachableError(told(error, "the store's database") or str(error.orig)) from error
    except TransactionPoolerError:
        engine.dispose()
        raise
    return StoreDatabase(engine, next((name for name, found in tables.items() if found), TABLES[0]))


@contextmanager
def opened_store(installation: Installation, account: EdgeStore) -> Iterator[StoreDatabase]:
    """Open a store's database for the length of a `with` block; one without a dsn gets a database beside ours.

    Raises StoreUnreachableError, and StorageError when the database cannot be made.
    """
    database = open_store(store_url(installation, account))
    try:
        yield database
    finally:
        database.engine.dispose()


def store_url(installation: Installation, account: EdgeStore) -> str:
    """The URL of a store's database: the dsn of the accounts file, else that of a database beside ours, made now."""
    if account.dsn is not None:
        return account.dsn.get_secret_value()
    try:
        return create_database(installation.locations.database_url, account.database_name)
    except DatabaseUnreachableError:
        raise
    except StorageError as error:
        raise StorageError(f"{error} Or name a database with dsn in [edge.stores.{account.name}].") from error


def store_lock(database: StoreDatabase, wait_seconds: float) -> AbstractContextManager[HeldLock]:
    """Hold the store while the body runs: nobody else writes its photos.

    Raises AccountBusyError after `wait_seconds`.
    """
    return account_lock(database.engine, LOCK, wait_seconds)


def read_current(
    database: StoreDatabase, photo_ids: Collection[str] | None = None, *, as_primaries: bool = False
) -> pd.DataFrame:
    """What is in the store's table, as CURRENT_COLUMNS; `photo_ids` limits it to those photos.

    as_primaries: as it would be if each of them were the primary of its product.

    content is the checksum of a picture that is there and synced, else NA. The fingerprint of a row that is not synced
    or has no picture is unlike any that can be wanted. position is the place in the product, as primaries.places has
    it. error is '' when there is none.
    """
    statement = _READ.format(table=database.table)
    values: dict[str, list[str]] = {}
    if photo_ids is not None:
        statement += _NAMED
        values["ids"] = list(photo_ids)
    with database.engine.connect() as connection:
        found = connection.execute(sa.text(statement), values, execution_options={"yield_per": _ROWS_PER_PART})
        # Portions become compact columns at once: rows of Python objects would take ten times the memory.
        parts = [_columns(rows, as_primaries=as_primaries) for rows in found.partitions(_ROWS_PER_PART)]
    frame = frame_of(pa.concat_tables([_columns([]), *parts]))
    return frame.assign(position=frame["position"].astype("Int64"))


def read_picture(database: StoreDatabase, photo_id: str) -> bytes | None:
    """The picture of a photo; None where it has none. Raises StorageError when the database cannot be read."""
    statement = sa.text(f"SELECT image_binary FROM {database.table} WHERE id = CAST(:id AS uuid)")  # noqa: S608 - one of TABLES
    try:
        with database.engine.connect() as connection:
            return connection.execute(statement, {"id": photo_id}).scalar()
    except DBAPIError as error:
        raise StorageError(f"Photo {photo_id} cannot be read: {error.orig}") from error


def mark_pending(database: StoreDatabase, photos: Sequence[Photo]) -> int:
    """Note, in one transaction, that these photos are to be written; returns how many are pending now.

    Call it before a cursor moves: what is marked is found again by `anything_pending`, whatever happens to the run.
    Pictures and what is known of them stay as they are. Photos without an image upstream are left out; those of
    products that the store does not have wait in a table of their own.
    """
    usable = [photo for photo in photos if photo.has_image]
    unknown = unknown_products(database, {photo.product_id for photo in usable})
    there = [one for one in usable if one.product_id not in unknown]
    with database.engine.begin() as connection:
        note_unwritten(connection, database.table, [(photo, "pending", None) for photo in there])
        _park(connection, {one.photo_id: one.product_id for one in usable if one.product_id in unknown})
    return len(usable)


def analyze_if_many(database: StoreDatabase, photos: int) -> None:
    """Let PostgreSQL look at the table before so many photos are written: each batch would read all of it otherwise."""
    with database.engine.begin() as connection:
        statistics.analyze_if_many(connection, database.table, photos)


def anything_pending(database: StoreDatabase) -> bool:
    """Whether a run has work here even if nothing is new upstream.

    So it is when a photo is pending, failed or was left by a killed run, or when a product came that photos wait for.
    """
    unfinished = f"EXISTS (SELECT 1 FROM {database.table} WHERE sync_status IN ('pending', 'syncing', 'failed'))"  # noqa: S608
    with database.engine.connect() as connection:
        parent = _parent(connection, database)
        known = "" if parent is None else f"JOIN {parent[0]} p ON p.{parent[1]} = w.product_id"
        waited = f"EXISTS (SELECT 1 FROM {WAITING} w {known})"  # noqa: S608 - PostgreSQL's own quoted names
        return bool(connection.scalar(sa.text(f"SELECT {unfinished} OR {waited}")))


def unknown_products(database: StoreDatabase, product_ids: Collection[str]) -> frozenset[str]:
    """Which of these products the store does not have; none when its table does not refer to a table of products."""
    with database.engine.connect() as connection:
        parent = _parent(connection, database)
        if parent is None or not product_ids:
            return frozenset()
        table, column = parent
        query = f"""
            SELECT w.id::text FROM unnest(CAST(:ids AS uuid[])) AS w (id)
             WHERE NOT EXISTS (SELECT 1 FROM {table} p WHERE p.{column} = w.id)
        """  # noqa: S608 - PostgreSQL's own quoted names
        return frozenset(connection.scalars(sa.text(query), {"ids": list(product_ids)}))


def keep_waiting(database: StoreDatabase, photos: Mapping[str, str]) -> None:
    """Let these photos (id to product id), and no others, wait for their products."""
    with database.engine.begin() as connection:
        connection.execute(sa.text(f"DELETE FROM {WAITING}"))  # noqa: S608 - a constant of this module
        _park(connection, photos)


def write_with_bytes(
    connection: sa.Connection, table: str, photos: Sequence[tuple[Photo, Body]], moment: datetime
) -> None:
    """Write photos with their pictures, as synced at `moment`."""
    if photos:
        rows = [(*kept_of(photo), body, moment) for photo, body in photos]
        # The driver's own cursor: an error of SQLAlchemy's would show the pictures.
        with driver_cursor(connection) as cursor:
            cursor.executemany(_WITH_BYTES.format(table=table), rows)


def write_without_bytes(
    connection: sa.Connection, table: str, photos: Sequence[Photo], moment: datetime
) -> frozenset[str]:
    """Write what is listed of photos whose pictures are there already, as synced; returns the ids that were written.

    Every stored picture is hashed first. One that is not what the listing says becomes pending with the reason DOUBTED.
    """
    if not photos:
        return frozenset()
    written = frozenset(_execute(connection, _WITHOUT_BYTES, table, **_lists_of(photos), moment=moment).scalars())
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


def give_way(connection: sa.Connection, table: str, photos: Sequence[Photo]) -> Sequence[str]:
    """Let those of these photos that are primary be the only ones of their products, before they are written.

    Returns the ids of those that are not any more.
    """
    primaries = [photo for photo in photos if photo.is_primary]
    if not primaries:
        return ()
    products = [photo.product_id for photo in primaries]
    ids = [photo.photo_id for photo in primaries]
    return _execute(connection, _GIVE_WAY, table, products=products, ids=ids).scalars().all()


def note_unwritten(connection: sa.Connection, table: str, photos: Sequence[tuple[Photo, str, str | None]]) -> None:
    """Note status and reason (None: as before) of photos that are not written, and add those that are not there.

    A picture that is there stays as it is, and so does what is known of it. What has no picture is nobody's primary.
    """
    if photos:
        listed, statuses, reasons = map(list, zip(*photos, strict=True))
        listed = [photo._replace(is_primary=False) for photo in listed]
        _execute(connection, _NOTE, table, **_lists_of(listed), statuses=statuses, reasons=reasons)


def note_failed(connection: sa.Connection, table: str, ids: Sequence[str], reason: str) -> None:
    """Note why photos could not be written; those that are not there are not added."""
    failed = f"UPDATE {{table}} SET sync_status = 'failed', sync_error = :reason {_NAMED}"  # noqa: S608
    _execute(connection, failed, table, ids=ids, reason=reason)


def remove(connection: sa.Connection, table: str, ids: Sequence[str]) -> None:
    """Remove photos."""
    if ids:
        _execute(connection, f"DELETE FROM {{table}} {_NAMED}", table, ids=ids)  # noqa: S608


def _parent(connection: sa.Connection, database: StoreDatabase) -> Sequence[str] | None:
    """Table and column of the store's products; None when photos refer to none."""
    return connection.execute(sa.text(_PARENT), {"table": database.table}).first()


def _park(connection: sa.Connection, photos: Mapping[str, str]) -> None:
    if photos:
        connection.execute(sa.text(_PARK), {"photos": list(photos), "products": list(photos.values())})


def _columns(rows: Sequence[sa.Row[Any]], *, as_primaries: bool = False) -> pa.Table:
    """One part of the table as CURRENT_COLUMNS."""
    found = []
    for *values, has_bytes, status, error in map(tuple, rows):
        photo = Photo._make(values)
        photo = photo._replace(is_primary=True) if as_primaries else photo
        digest, is_done = fingerprint(photo), status == "synced" and has_bytes
        content = photo.checksum if is_done else None
        shown = digest if is_done else f"{status} {digest}"
        place = FIRST if photo.is_primary else photo.sort_order
        known = (photo.checksum, has_bytes, status, error)
        found.append((photo.photo_id, photo.product_id, place, shown, content, *known))
    columns = zip(*found, strict=True) if found else [()] * len(_SCHEMA)
    return pa.Table.from_arrays([pa.array(*one) for one in zip(columns, _SCHEMA.types, strict=True)], schema=_SCHEMA)


def _execute(connection: sa.Connection, statement: str, table: str, **values: object) -> sa.CursorResult[Any]:
    return connection.execute(sa.text(statement.format(table=table)), values)


def _lists_of(photos: Sequence[Photo]) -> dict[str, list[Any]]:
    """One list per column, as unnest takes them."""
    return dict(zip(("photo_id", *KEPT), map(list, zip(*map(kept_of, photos), strict=True)), strict=True))
