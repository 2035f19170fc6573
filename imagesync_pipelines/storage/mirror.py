"""The mirror: what a source held when it was last read, row by row, with what has left it.

Rows that are gone stay as tombstones.

A reading is staged in a temporary table of one connection, page by page, so that its size costs no memory and its
length holds no transaction open. `merge` and `mark_gone` then bring the mirror up to date, in the caller's transaction,
which also moves the cursor: how far the incremental readings of a source have come.
"""

# ruff: noqa: S608 - statements are put together from constants of this module only

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.copying import copy_rows, frame_of, read_columns
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.schema import SCHEMA, cursor, mirror
from imagesync_pipelines.storage.statistics import analyze_if_many

# What is read of every row; a reader names the values of the payload that it needs beside them.
MIRROR_COLUMNS = ("key", "group_key", "fingerprint")
_BATCH = 1000
# An answer is in memory as text and as columns for a moment; payloads are large.
_PAYLOADS = 5000

_CREATE = """
CREATE TEMPORARY TABLE mirror_staged (
    place BIGINT GENERATED ALWAYS AS IDENTITY,
    key TEXT NOT NULL, group_key TEXT, fingerprint TEXT, payload JSONB, source_updated_at TIMESTAMP WITH TIME ZONE
)
"""
_ONCE = """
DELETE FROM mirror_staged older USING mirror_staged newer WHERE older.key = newer.key AND older.place < newer.place
"""
# A staged row without a payload was seen but not legible: it keeps its row of the mirror alive and changes nothing.
_JOINED = f"""
  FROM mirror_staged s
  LEFT JOIN {SCHEMA}.mirror m ON m.connector = :connector AND m.account = :account AND m.key = s.key
 WHERE s.payload IS NOT NULL
"""
_DIFFERS = "(m.key IS NULL OR m.gone_at IS NOT NULL OR m.fingerprint <> s.fingerprint)"
_COUNT = f"""
SELECT count(*) FILTER (WHERE m.key IS NULL),
       count(*) FILTER (WHERE m.gone_at IS NULL AND m.fingerprint <> s.fingerprint),
       count(*) FILTER (WHERE m.gone_at IS NOT NULL),
       count(*) FILTER (WHERE m.gone_at IS NULL AND m.fingerprint = s.fingerprint)
{_JOINED}
"""
_CHANGED = f"SELECT s.payload {_JOINED} AND {_DIFFERS} ORDER BY s.place"
_MERGE = f"""
INSERT INTO {SCHEMA}.mirror
       (connector, account, key, group_key, fingerprint, payload, source_updated_at, seen_scan)
SELECT :connector, :account, s.key, s.group_key, s.fingerprint, s.payload, s.source_updated_at, :scan
{_JOINED} AND ({_DIFFERS} OR m.payload <> s.payload)
ON CONFLICT (connector, account, key) DO UPDATE
   SET group_key = excluded.group_key, fingerprint = excluded.fingerprint, payload = excluded.payload,
       source_updated_at = excluded.source_updated_at, seen_scan = excluded.seen_scan,
       changed_at = CASE WHEN mirror.gone_at IS NULL AND mirror.fingerprint = excluded.fingerprint
                         THEN mirror.changed_at ELSE now() END,
       gone_at = NULL, gone_because = NULL
"""
_LIVE = f"FROM {SCHEMA}.mirror m WHERE m.connector = :connector AND m.account = :account AND m.gone_at IS NULL"
_UNSEEN = "NOT EXISTS (SELECT 1 FROM mirror_staged s WHERE s.key = m.key)"
_LEFT_BEHIND = f"""
SELECT m.key {_LIVE} AND {_UNSEEN}
   AND EXISTS (SELECT 1 FROM mirror_staged s
                LEFT JOIN {SCHEMA}.mirror o
                  ON o.connector = :connector AND o.account = :account AND o.key = s.key AND o.gone_at IS NULL
                WHERE s.group_key = m.group_key AND o.key IS NULL)
 ORDER BY m.key
"""
_GONE = f"""
UPDATE {SCHEMA}.mirror m SET gone_at = now(), changed_at = now(), gone_because = :because
 WHERE m.connector = :connector AND m.account = :account
"""
_GONE_KEYS = f"{_GONE} AND m.key = ANY(CAST(:keys AS text[])) AND m.gone_because IS DISTINCT FROM :because"


class MirrorRow(NamedTuple):
    """One row of a reading; payload is JSON text. Without payload: the key was seen, its row was not legible."""

    key: str
    group_key: str | None
    fingerprint: str | None
    payload: str | None
    source_updated_at: datetime | None


class Merged(NamedTuple):
    """How many staged rows were new, changed, back after they were gone, or as before (those are not written)."""

    new: int
    changed: int
    revived: int
    unchanged: int


@contextmanager
def staging(connection: sa.Connection) -> Iterator[None]:
    """Give the connection an empty staging table for the length of a `with` block; it must not be in a transaction."""
    connection.execute(sa.text(_CREATE))
    connection.commit()
    try:
        yield
    finally:
        # A connection that broke has lost its table; one that failed in the middle goes back without it.
        connection.invalidate()


def stage(connection: sa.Connection, rows: Iterable[MirrorRow]) -> None:
    """Add rows of a reading, and commit. Of a key that comes twice the later row counts."""
    copy_rows(connection, "pg_temp.mirror_staged", MirrorRow._fields, rows)
    connection.commit()


def stage_nothing(connection: sa.Connection) -> None:
    """Empty the staging table, for reading again from the start, and commit."""
    connection.execute(sa.text("TRUNCATE mirror_staged"))
    connection.commit()


def settle_staging(connection: sa.Connection) -> int:
    """Drop what came twice, commit, and return how many different keys are staged."""
    connection.execute(sa.text(_ONCE))
    connection.execute(sa.text("ANALYZE mirror_staged"))
    count = int(connection.execute(sa.text("SELECT count(*) FROM mirror_staged")).scalar_one())
    connection.commit()
    return count


def staged_keys(connection: sa.Connection, keys: Collection[str]) -> frozenset[str]:
    """Which of these keys are staged."""
    query = sa.text("SELECT key FROM mirror_staged WHERE key = ANY(CAST(:keys AS text[]))")
    return frozenset(connection.execute(query, {"keys": list(keys)}).scalars()) if keys else frozenset()


def staged_changes(connection: sa.Connection, connector: str, account: str) -> Iterator[list[Any]]:
    """The payloads (parsed) of staged rows that are new, changed or back, in portions; before `merge`."""
    values = {"connector": connector, "account": account}
    found = connection.execute(sa.text(_CHANGED).execution_options(yield_per=_BATCH), values)
    for rows in found.partitions(_BATCH):
        yield [row[0] for row in rows]


def merge(connection: sa.Connection, connector: str, account: str, scan_id: int | None) -> Merged:
    """Bring the mirror up to what is staged, in the caller's transaction; rows that are as before are not written.

    A payload that differs although the fingerprint does not is kept as well, without counting as a change.
    """
    merged = Merged(*_of(connection, _COUNT, connector, account).one())
    _of(connection, _MERGE, connector, account, scan=scan_id)
    analyze_if_many(connection, mirror, merged.new + merged.changed + merged.revived, sum(merged))
    return merged


def left_behind(connection: sa.Connection, connector: str, account: str) -> list[str]:
    """Keys that were not staged although another key is new, or back, in their group; before `merge`."""
    return list(_of(connection, _LEFT_BEHIND, connector, account).scalars())


def unstaged_keys(connection: sa.Connection, connector: str, account: str) -> list[str]:
    """The keys of the mirror, those that are gone left out, that are not staged: after a reading of everything."""
    return list(_of(connection, f"SELECT m.key {_LIVE} AND {_UNSEEN} ORDER BY m.key", connector, account).scalars())


def mark_gone(connection: sa.Connection, connector: str, account: str, keys: Collection[str], because: str) -> int:
    """Note that the source no longer has these keys, in the caller's transaction; returns how many rows that changed.

    A row that is gone for another reason gets this one.
    """
    if not keys:
        return 0
    return int(_of(connection, _GONE_KEYS, connector, account, because=because, keys=list(keys)).rowcount)


def mark_missing_gone(connection: sa.Connection, connector: str, account: str, because: str) -> int:
    """Note as gone what is not staged: only after a reading that was proven to hold everything."""
    missing = f"{_GONE} AND m.gone_at IS NULL AND {_UNSEEN}"
    return int(_of(connection, missing, connector, account, because=because).rowcount)


def count_live(connection: sa.Connection, connector: str, account: str) -> int:
    """How many rows are not gone."""
    return int(_of(connection, f"SELECT count(*) {_LIVE}", connector, account).scalar_one())


def _of(connection: sa.Connection, statement: str, connector: str, account: str, **values: object) -> sa.CursorResult:
    return connection.execute(sa.text(statement), {"connector": connector, "account": account, **values})


def read_mirror(
    connection: sa.Connection, connector: str, account: str, values: Mapping[str, pa.DataType] = MappingProxyType({})
) -> pd.DataFrame:
    """What the source holds, ordered by key: MIRROR_COLUMNS, and these fields of the payload; what is gone is left out.

    values: field to type. Payloads as a whole are for the few rows that need them (`read_payloads`).
    """
    fields = "".join(f", m.payload ->> {_quoted(name)}" for name in values)
    query = f"SELECT m.key, m.group_key, m.fingerprint{fields} {_live(connector, account)} ORDER BY m.key"
    return frame_of(read_columns(connection, query, {**dict.fromkeys(MIRROR_COLUMNS, pa.large_string()), **values}))


def read_payloads(connection: sa.Connection, connector: str, account: str, keys: Sequence[str]) -> pd.DataFrame:
    """The payloads (JSON text) of those of these keys that are not gone: columns key and payload."""
    types = dict.fromkeys(("key", "payload"), pa.large_string())
    parts = [pa.table({name: pa.array([], kind) for name, kind in types.items()})]
    for first in range(0, len(keys), _PAYLOADS):
        some = _quoted(list(keys[first : first + _PAYLOADS]))
        # Key by key through the primary key: a join reads all of a mirror up to some 100,000 rows for every portion.
        found = f"SELECT m.key, m.payload {_live(connector, account)} AND m.key = w.key LIMIT 1"
        query = f"SELECT m.key, m.payload FROM unnest(CAST({some} AS text[])) AS w (key), LATERAL ({found}) AS m"
        parts.append(read_columns(connection, query, types))
    return frame_of(pa.concat_tables(parts))


def _live(connector: str, account: str) -> str:
    """Which rows are not gone, for a COPY, which takes no parameters."""
    owner = f"m.connector = {_quoted(connector)} AND m.account = {_quoted(account)}"
    return f"FROM {SCHEMA}.mirror m WHERE {owner} AND m.gone_at IS NULL"


def _quoted(value: str | list[str]) -> str:
    return sql.Literal(value).as_string()


def read_gone(connection: sa.Connection, connector: str, account: str, because: Collection[str]) -> frozenset[str]:
    """The keys that are gone for one of these reasons."""
    query = sa.select(mirror.c.key).where(mirror.c.connector == connector, mirror.c.account == account)
    return frozenset(connection.scalars(query.where(among(mirror.c.gone_because, because))))


def mirror_at(connection: sa.Connection, connector: str, account: str) -> datetime | None:
    """When the mirror last changed, gone and back included; None: it is empty."""
    query = f"SELECT max(m.changed_at) FROM {SCHEMA}.mirror m WHERE m.connector = :connector AND m.account = :account"
    moment: datetime | None = _of(connection, query, connector, account).scalar()
    return moment


def read_cursor(connection: sa.Connection, connector: str, account: str) -> str | None:
    """The value of a cursor; None when it was never moved."""
    return read_cursors(connection, connector).get(account)


def read_cursors(connection: sa.Connection, connector: str) -> dict[str, str]:
    """The values of all cursors of a connector, by account."""
    query = sa.select(cursor.c.account, cursor.c.value).where(cursor.c.connector == connector)
    return {row.account: row.value for row in connection.execute(query)}


def move_cursor(connection: sa.Connection, connector: str, account: str, value: str) -> None:
    """Put a cursor at a value, in the caller's transaction; one that is there already is not written."""
    owner, values = {"connector": connector, "account": account}, {"value": value, "moved_at": sa.func.now()}
    new = insert(cursor).values(**owner, **values)
    differs = cursor.c.value != new.excluded.value
    connection.execute(new.on_conflict_do_update(index_elements=list(owner), set_=values, where=differs))
