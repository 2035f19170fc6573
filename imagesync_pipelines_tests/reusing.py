"""Databases that one test leaves and the next one takes: emptied, which costs a tenth of making a new one."""

import sqlalchemy as sa

# Everything that has a name of its own, so that whatever a test changed on the tables themselves is seen.
_SHAPE = """
WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema')
SELECT count(*) || ' ' || sum(hashtextextended(thing, 0)) FROM (
    SELECT concat_ws(' ', 'relation', relnamespace::regnamespace, relname, relkind) AS thing
      FROM pg_class WHERE relnamespace IN (SELECT oid FROM ours)
    UNION ALL
    SELECT concat_ws(' ', 'column', attrelid::regclass, attname, atttypid::regtype, attnotnull, attstorage)
      FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
     WHERE c.relnamespace IN (SELECT oid FROM ours) AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT concat_ws(' ', 'constraint', conrelid::regclass, pg_get_constraintdef(oid))
      FROM pg_constraint WHERE connamespace IN (SELECT oid FROM ours)
    UNION ALL
    SELECT concat_ws(' ', 'trigger', tgrelid::regclass, tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT concat_ws(' ', 'function', oid::regprocedure) FROM pg_proc WHERE pronamespace IN (SELECT oid FROM ours)
    UNION ALL
    SELECT concat_ws(' ', 'schema', nspname, nspacl) FROM pg_namespace WHERE oid IN (SELECT oid FROM ours)
    UNION ALL
    SELECT concat_ws(' ', 'version', version_num) FROM imagesync.alembic_version
    UNION ALL
    SELECT concat_ws(' ', 'setting', setconfig)
      FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
) AS things
"""
_ALONE = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# Triggers and foreign keys stay out of it; every sequence begins where it began, and the history begins now.
_EMPTY = """
DO $$
DECLARE one record;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR one IN
        SELECT oid::regclass AS name FROM pg_class
         WHERE relkind = 'r' AND relnamespace = 'imagesync'::regnamespace AND relname <> 'alembic_version'
    LOOP
        EXECUTE format('DELETE FROM %s', one.name);
    END LOOP;
    INSERT INTO imagesync.effects_known (since) VALUES (clock_timestamp());
    PERFORM setval(seqrelid::regclass, seqstart, false) FROM pg_sequence;
END $$
"""


def shape_of(url: str) -> str:
    """A digest of all tables, columns, constraints, triggers, functions and settings of a database."""
    with _engine(url).connect() as connection:
        return str(connection.execute(sa.text(_SHAPE)).scalar_one())


def make_as_new(url: str, shape: str) -> bool:
    """Empty all our tables; whether the database is as good as a new one of that shape.

    It is not when a test changed more than rows, or broke the server.
    """
    try:
        with _engine(url).begin() as connection:
            connection.execute(sa.text(_ALONE))
            if connection.execute(sa.text(_SHAPE)).scalar_one() != shape:
                return False
            connection.execute(sa.text(_EMPTY))
    except sa.exc.DBAPIError:
        return False
    return True


def _engine(url: str) -> sa.Engine:
    return sa.create_engine(url, poolclass=sa.NullPool)
