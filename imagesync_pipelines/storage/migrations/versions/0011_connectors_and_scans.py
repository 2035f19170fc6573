"""Rooms are connectors and walks are scans: columns, a table, and the names of indexes and constraints.

It is never edited again; a change is a new file.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE imagesync.walk RENAME TO scan",
    "ALTER TABLE imagesync.raw_page RENAME COLUMN walk_id TO scan_id",
    "ALTER TABLE imagesync.plan RENAME COLUMN walk_id TO scan_id",
    "ALTER TABLE imagesync.mirror RENAME COLUMN seen_walk TO seen_scan",
    """
    COMMENT ON COLUMN imagesync.mirror.seen_scan
         IS 'the scan that brought the row as it is; NULL: a reading since a cursor'
    """,
    """
    DO $$
    DECLARE one record;
    BEGIN
        FOR one IN
            SELECT attrelid::regclass AS relation FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
             WHERE c.relnamespace = 'imagesync'::regnamespace AND c.relkind = 'r' AND attname = 'room'
        LOOP
            EXECUTE format('ALTER TABLE %s RENAME COLUMN room TO connector', one.relation);
        END LOOP;
        FOR one IN
            SELECT conrelid::regclass AS relation, conname AS name FROM pg_constraint
             WHERE connamespace = 'imagesync'::regnamespace AND conname ~ '(^|_)(room|walk)_'
        LOOP
            EXECUTE format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', one.relation, one.name,
                           replace(replace(one.name, 'room_', 'connector_'), 'walk_', 'scan_'));
        END LOOP;
        FOR one IN
            SELECT relname AS name FROM pg_class
             WHERE relnamespace = 'imagesync'::regnamespace AND relkind IN ('i', 'S') AND relname ~ '(^|_)(room|walk)_'
        LOOP
            EXECUTE format('ALTER %s imagesync.%I RENAME TO %I',
                           CASE WHEN one.name LIKE '%%_seq' THEN 'SEQUENCE' ELSE 'INDEX' END, one.name,
                           replace(replace(one.name, 'room_', 'connector_'), 'walk_', 'scan_'));
        END LOOP;
    END $$
    """,
)


def upgrade() -> None:
    """Rename."""
    for statement in STATEMENTS:
        op.execute(statement)
