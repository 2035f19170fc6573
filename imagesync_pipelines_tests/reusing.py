"""Databases that one test leaves and the next one takes: emptied, which costs a tenth of making a new one."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any, LiteralString

import psycopg

from imagesync_pipelines.storage.embedded import SUPERUSER, EmbeddedServer

Connection = psycopg.Connection[tuple[Any, ...]]
TEMPLATE, DAGSTER_TEMPLATE, BLANK = "imagesync_template", "dagster_template", "template1"
_VERSIONS = {
    TEMPLATE: "imagesync.alembic_version",
    DAGSTER_TEMPLATE: "public.alembic_version",
    BLANK: "(SELECT 0 AS version_num) AS none",
}
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
    SELECT concat_ws(' ', 'setting', setconfig)
      FROM pg_db_role_setting WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
    UNION ALL
    SELECT concat_ws(' ', 'version', version_num) FROM {versions}
) AS things
"""
# Who wrote the rows in which that stands: where nobody else did, nothing is another thing, and this is soon read.
_WRITTEN = """
SELECT concat_ws(' ',
    (SELECT sum(hash_record_extended((oid, xmin), 0)) FROM pg_class WHERE oid >= 16384),
    (SELECT sum(hash_record_extended((attrelid, attnum, xmin), 0)) FROM pg_attribute WHERE attrelid >= 16384),
    (SELECT sum(hash_record_extended((oid, xmin), 0)) FROM pg_constraint WHERE oid >= 16384),
    (SELECT sum(hash_record_extended((oid, xmin), 0)) FROM pg_trigger WHERE oid >= 16384),
    (SELECT sum(hash_record_extended((oid, xmin), 0)) FROM pg_proc WHERE oid >= 16384),
    (SELECT sum(hash_record_extended((oid, xmin), 0)) FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'),
    (SELECT count(*) FROM pg_db_role_setting
      WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())),
    (SELECT max(version_num::text) FROM {versions}))
"""
_ALONE = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
# Triggers and foreign keys stay out of it; every sequence begins where it began.
_EMPTY = """
DO $$
DECLARE one record;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR one IN
        SELECT oid::regclass AS name FROM pg_class
         WHERE relkind = 'r' AND relnamespace = '{schema}'::regnamespace AND relname NOT IN ({kept})
           AND pg_relation_size(oid) > 0
    LOOP
        EXECUTE format('DELETE FROM %s', one.name);
    END LOOP;
    {more}
    PERFORM setval(seqrelid::regclass, seqstart, false) FROM pg_sequence;
END $$
"""
_DROP = """
DO $$
DECLARE one record;
BEGIN
    FOR one IN SELECT nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
    LOOP
        EXECUTE format('DROP SCHEMA %I CASCADE', one.nspname);
    END LOOP;
    CREATE SCHEMA public AUTHORIZATION pg_database_owner;
    GRANT USAGE ON SCHEMA public TO PUBLIC;
END $$
"""
# The history of a new database begins when it is made.
_BEGINS = "INSERT INTO imagesync.effects_known (since) VALUES (clock_timestamp());"
_AS_NEW = {
    TEMPLATE: _EMPTY.format(schema="imagesync", kept="'alembic_version'", more=_BEGINS),
    DAGSTER_TEMPLATE: _EMPTY.format(schema="public", kept="'alembic_version', 'secondary_indexes'", more=""),
    BLANK: _DROP,
}
_DRIVERS = {DAGSTER_TEMPLATE: "psycopg2"}


@dataclass(frozen=True)
class Pool:
    """The databases of one template on one server, with those that tests have left."""

    server: EmbeddedServer
    template: str
    written: str
    shape: str
    size: int
    spare: list[str] = field(default_factory=list)

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URL of a database that is as new, for the length of a `with` block."""
        if self.spare:
            name = self.spare.pop()
        else:
            name = _new_name()
            execute(self.server, f"CREATE DATABASE {name} TEMPLATE {self.template} STRATEGY FILE_COPY")
        try:
            yield self.server.url(name, _DRIVERS.get(self.template, "psycopg"))
        finally:
            self._take_back(name)

    def _take_back(self, name: str) -> None:
        # A test may stop or break the server; its database is gone with it.
        with suppress(psycopg.Error):
            if self._is_as_new(name):
                # So that a process that goes on does not find it.
                execute(self.server, f"ALTER DATABASE {name} RENAME TO {(again := _new_name())}")
                self.spare.append(again)
                return
        with suppress(psycopg.Error):
            execute(self.server, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _is_as_new(self, name: str) -> bool:
        """Empty it; whether it is then as good as a new one: a test may have changed more than rows."""
        with _connected(self.server, name) as connection:
            connection.execute(_ALONE)
            connection.execute(_AS_NEW[self.template])
            # What many rows leave, deleted or not, is slow to look through, and its statistics mislead.
            if _size_of(connection) > 2 * self.size:
                return False
            same = _digest(connection, self.template, _WRITTEN) == self.written
            return same or _digest(connection, self.template, _SHAPE) == self.shape


@cache
def pool(server: EmbeddedServer, template: str) -> Pool:
    """The pool of a template that is there."""
    with _connected(server, template) as connection:
        written, shape = (_digest(connection, template, query) for query in (_WRITTEN, _SHAPE))
        return Pool(server, template, written, shape, _size_of(connection))


def execute(server: EmbeddedServer, statement: str) -> list[Any]:
    """Run one statement on the server, outside of any transaction; the rows that it gives."""
    with _connected(server, "postgres") as connection:
        result = connection.execute(statement)
        return list(result) if result.description else []


def _new_name() -> str:
    return f"test_{uuid.uuid4().hex[:12]}"


def _digest(connection: Connection, template: str, query: LiteralString) -> str:
    """A digest of all tables, columns, constraints, triggers, functions, settings and the version of a database."""
    [(digest,)] = connection.execute(query.format(versions=_VERSIONS[template]))
    return str(digest)


def _size_of(connection: Connection) -> int:
    """The bytes of a database."""
    [(size,)] = connection.execute("SELECT pg_database_size(current_database())")
    return int(size)


def _connected(server: EmbeddedServer, name: str) -> Connection:
    # Without SQLAlchemy, which asks every server first what it is.
    return psycopg.connect(host=str(server.socket_folder), user=SUPERUSER, dbname=name, autocommit=True)
