"""The table of photos in a store's database: making it, checking it, bringing an older one up to date.

Nothing is ever dropped or narrowed, and nothing is changed in a table that was there before unless a person asks for
`migrate`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.edge.errors import StoreNotReadyError
from imagesync_pipelines.connectors.edge.store import WAITING, StoreDatabase

# Photos of products that the store does not have yet; ours alone, so it is made without asking.
_WAITING = f"""
CREATE TABLE IF NOT EXISTS {WAITING} (
    photo_id uuid PRIMARY KEY,
    product_id uuid NOT NULL,
    since timestamptz NOT NULL DEFAULT now()
)
"""

# Column → how it is added to a table that lacks it, and its meaning; a table without _KEYS is no table of photos.
_COLUMNS = {
    "object_key": ("varchar(500)", "where the head office keeps the bytes"),
    "filename": ("varchar(255)", "as it was uploaded; never used as a path"),
    "size": ("integer", "bytes"),
    "content_type": ("varchar(100)", "as the head office says"),
    "checksum": ("varchar(64)", "MD5 of the bytes, as hexadecimal digits"),
    "version": ("integer DEFAULT 1", "as the head office says; it never counts up"),
    "is_primary": ("boolean DEFAULT false", "the one shown first"),
    "sort_order": ("integer DEFAULT 0", "order within the product"),
    "updated_at": ("timestamptz DEFAULT now()", "the head office's own time of the last change"),
    "image_binary": ("bytea", "the picture, verified by checksum and full decode"),
    "last_sync_at": ("timestamptz", "when the row was last written"),
    "sync_status": ("varchar(20) DEFAULT 'pending'", "pending, syncing, synced or failed"),
    "sync_error": ("text", "why it is not synced"),
}
_KEYS = {
    "id": ("uuid", "the head office's id of the photo; a replaced photo has a new one"),
    "product_id": ("uuid", "the product"),
}
PRODUCT_PHOTO_COLUMNS = {
    name: (kind.partition(" DEFAULT")[0], meaning) for name, (kind, meaning) in {**_KEYS, **_COLUMNS}.items()
}
"""Name → type and meaning, as the UI's page of the Dagster asset lists them."""
# First column of an index, and the index that is made when no other begins with these columns.
_INDEXES = {
    "product_id": "CREATE INDEX idx_{table}_product ON {table} (product_id)",
    "product_id, is_primary": "CREATE INDEX idx_{table}_product_primary ON {table} (product_id, is_primary)",
    "sync_status": "CREATE INDEX idx_{table}_sync_status ON {table} (sync_status)",
    "last_sync_at": "CREATE INDEX idx_{table}_last_sync ON {table} (last_sync_at)",
}
# What a Django table fills in by itself, and PostgreSQL does not: we insert rows without these columns.
_DEFAULTS = {"caption": "''", "image": "''", "is_active": "true", "created_at": "now()", "updated_at": "now()"}

_WIDTHS = {"object_key": 500, "filename": 255, "content_type": 100, "checksum": 64, "sync_status": 20}
_EXTERNAL = "ALTER TABLE {table} ALTER COLUMN image_binary SET STORAGE EXTERNAL"

# Deferred: a set-based flip of primaries has two of them for a moment.
_ONE_PRIMARY = """
ALTER TABLE {table} ADD CONSTRAINT {table}_one_primary
    EXCLUDE USING btree (product_id WITH =) WHERE (is_primary) DEFERRABLE INITIALLY DEFERRED
"""
_HAS_ONE_PRIMARY = "SELECT 1 FROM pg_constraint WHERE conrelid = to_regclass(:table) AND conname = :name"
# A picture that is there comes first, then the order, then what was changed last; the next run sets right what differs.
_REPAIR = """
UPDATE {table} t SET is_primary = false
  FROM (SELECT id, row_number() OVER (PARTITION BY product_id
                                      ORDER BY image_binary IS NULL, sort_order, updated_at DESC, id) AS place
          FROM {table} WHERE is_primary) several
 WHERE t.id = several.id AND several.place > 1
"""

# Of each column: its width in characters, whether an INSERT must name it, the letter of its storage.
_COLUMNS_NOW = """
SELECT a.attname, CASE WHEN a.atttypid = 'varchar'::regtype AND a.atttypmod > 4 THEN a.atttypmod - 4 END AS length,
       a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS needs_value, a.attstorage::text AS storage
  FROM pg_attribute a WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped
"""

# The columns of every index of the table, in their order.
_INDEXED = """
SELECT string_agg(a.attname, ', ' ORDER BY k.place)
  FROM pg_index i
  CROSS JOIN unnest(i.indkey::int[]) WITH ORDINALITY AS k (number, place)
  JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
 WHERE i.indrelid = to_regclass(:table) AND i.indpred IS NULL
 GROUP BY i.indexrelid
"""


class TableFinding(NamedTuple):
    """What a table lacks: a sentence for people, the statement that adds it, and whether a run needs it.

    told: whether runs tell of it by themselves.
    """

    what: str
    statement: str
    needed: bool
    told: bool = True


def create_or_check(database: StoreDatabase) -> list[TableFinding]:
    """Make the table if the store has none, else say what it lacks; returns what `migrate` would do.

    Raises StoreNotReadyError when a table of that name is no table of photos.
    """
    with database.engine.begin() as connection:
        connection.execute(sa.text(_WAITING))
        if not _column_types(connection, database.table):
            made = {"id": "uuid PRIMARY KEY", "product_id": "uuid NOT NULL", "created_at": "timestamptz DEFAULT now()"}
            made |= {name: kind for name, (kind, _) in _COLUMNS.items()}
            columns = ", ".join(f"{name} {kind}" for name, kind in made.items())
            for statement in (f"CREATE TABLE {{table}} ({columns})", _EXTERNAL, *_INDEXES.values(), _ONE_PRIMARY):
                connection.execute(sa.text(statement.format(table=database.table)))
        return _findings(connection, database.table)


def what_it_lacks(database: StoreDatabase) -> list[TableFinding]:
    """What a table lacks that is there; of one that the first run makes nothing. Raises StoreNotReadyError."""
    with database.engine.connect() as connection:
        return _findings(connection, database.table) if _column_types(connection, database.table) else []


def require_ready(findings: Sequence[TableFinding], store: str) -> None:
    """Raise StoreNotReadyError when a run cannot work with the table."""
    missing = [finding.what for finding in findings if finding.needed]
    if missing:
        raise StoreNotReadyError(
            f"store {store}: {'; '.join(missing)}. Nothing was changed; "
            f"`imagesync edge migrate --store {store}` adds it and drops nothing."
        )


def migrate(database: StoreDatabase) -> list[str]:
    """Add what the table lacks, in one transaction; returns a sentence for each thing that was added."""
    findings = create_or_check(database)
    with database.engine.begin() as connection:
        for finding in findings:
            connection.execute(sa.text(finding.statement))
    return [finding.what for finding in findings]


def _findings(connection: sa.Connection, table: str) -> list[TableFinding]:
    columns = _column_types(connection, table)
    if not _KEYS.keys() <= columns.keys():
        raise StoreNotReadyError(
            f"{table} has no columns {' and '.join(_KEYS)}, so it is no table of photos; look at it."
        )
    change = f"ALTER TABLE {table} ALTER COLUMN"
    found = [
        TableFinding(
            languages.told(f"{table} has no column {name}"),
            f"ALTER TABLE {table} ADD COLUMN {name} {kind}",
            needed=True,
        )
        for name, (kind, _) in _COLUMNS.items()
        if name not in columns
    ]
    for name, width in _WIDTHS.items():
        length = columns[name].length if name in columns else None
        if length is not None and length < width:
            what = languages.told(f"{table}.{name} holds {length} characters, {width} are needed")
            found.append(TableFinding(what, f"{change} {name} TYPE varchar({width})", needed=False))
    for name, column in columns.items():
        # We do not write it: without a default no photo could be added.
        if column.needs_value and name in _DEFAULTS:
            what = languages.told(f"{table}.{name} must have a value and has no default")
            found.append(TableFinding(what, f"{change} {name} SET DEFAULT {_DEFAULTS[name]}", needed=True))
    if "image_binary" not in columns or columns["image_binary"].storage != "e":
        what = languages.told(f"{table}.image_binary is compressed in vain")
        found.append(TableFinding(what, _EXTERNAL.format(table=table), needed=False))
    there = list(connection.scalars(sa.text(_INDEXED), {"table": table}))
    for names, statement in _INDEXES.items():
        if not any(f"{indexed}, ".startswith(f"{names}, ") for indexed in there):
            found.append(
                TableFinding(
                    languages.told(f"{table} has no index on {names}"), statement.format(table=table), needed=False
                )
            )
    if not connection.scalar(sa.text(_HAS_ONE_PRIMARY), {"table": table, "name": f"{table}_one_primary"}):
        # The runs see to it by themselves; the constraint is for whoever else writes.
        several = languages.told(f"{table} may hold several primary photos of a product")
        found += [
            TableFinding(
                languages.told(f"{several}: all but the first give way"),
                _REPAIR.format(table=table),
                needed=False,
                told=False,
            ),
            TableFinding(several, _ONE_PRIMARY.format(table=table), needed=False, told=False),
        ]
    return found


def _column_types(connection: sa.Connection, table: str) -> dict[str, sa.Row[Any]]:
    """The columns of the table as they are; empty when there is no such table."""
    return {row.attname: row for row in connection.execute(sa.text(_COLUMNS_NOW), {"table": table})}
