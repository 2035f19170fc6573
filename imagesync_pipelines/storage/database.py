"""Our database: an engine on a schema that is as new as the code, and rows as values."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import psycopg
import sqlalchemy as sa
from psycopg.errors import InsufficientPrivilege
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError, ProgrammingError

from imagesync_pipelines import languages
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.errors import DatabaseUnreachableError, StorageError
from imagesync_pipelines.storage.faults import told
from imagesync_pipelines.storage.schema import SCHEMA
from imagesync_pipelines.storage.sessions import refuse_pooler_of_transactions

if TYPE_CHECKING:
    from alembic.config import Config

R = TypeVar("R")
SERVER_GONE = (sa.exc.OperationalError, sa.exc.InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
"""The errors of a database that is gone, full or going; look at them with `is_server_gone`."""
# A value that is too large for an index, a row for its page: to the driver operational, but of one row.
_LIMITS_OF_A_ROW = "54"
# The settings that hold database URLs, as a message names them.
URL_VARIABLES = N_("IMAGESYNC_DATABASE_URL or IMAGESYNC_DAGSTER_URL")
APPLICATION_NAME = "imagesync"
CONNECT_SECONDS = 10
# A cut connection, or a server that went without a word, is noticed within a minute; nothing to a socket of Unix.
KEEPALIVE = {"keepalives": 1, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
# The newest migration; a database at this version is opened without loading Alembic (a test compares them).
HEAD = "0048"
VERSION_TABLE = "alembic_version"
# Versions whose migrations this program no longer has, and the commit whose program brings them to the first it has.
OLDER = frozenset(f"{number:04}" for number in range(1, 10))
BASELINE, PASS_THROUGH = "0010", "7115364"
# Any number that nothing else in this database uses as an advisory lock ("imgsync" in ASCII).
UPGRADE_LOCK = 0x696D6773796E63
_EXISTS = sa.text("SELECT 1 FROM pg_database WHERE datname = :name")


def with_driver(url: str, driver: str) -> str:
    """The same PostgreSQL URL with the driver named: psycopg for us, psycopg2 for Dagster.

    Takes postgres:// and postgresql://, with or without a driver. Raises StorageError for anything else; the URL is not
    repeated, it may hold a password.
    """
    try:
        parsed = sa.make_url(url.strip())
    except ArgumentError:
        raise StorageError(
            f"{URL_VARIABLES}: cannot be read; it should look like postgresql://user:password@host:5432/database"
        ) from None
    if parsed.drivername.partition("+")[0] not in {"postgres", "postgresql"}:
        raise StorageError(
            f"{URL_VARIABLES}: the database must be PostgreSQL (postgresql://…), not {parsed.drivername}"
        )
    return parsed.set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)


def engine_of(url: str, **pool: int) -> sa.Engine:
    """An engine on a PostgreSQL database, whatever is in it; `pool` are SQLAlchemy's sizes. Raises StorageError."""
    return sa.create_engine(
        with_driver(url, "psycopg"),
        pool_pre_ping=True,
        connect_args={"application_name": APPLICATION_NAME, "connect_timeout": CONNECT_SECONDS, **KEEPALIVE},
        **pool,
    )


def open_database(url: str) -> sa.Engine:
    """An engine on the database, upgraded to this code's schema first when it is older.

    Several processes may open one database at once: one upgrades, the others wait. Raises StorageError when a newer or
    an older version of the program is needed, TransactionPoolerError where no lock would last,
    DatabaseUnreachableError when it does not answer.
    """
    engine = engine_of(url)
    try:
        with answering():
            refuse_pooler_of_transactions(engine, "IMAGESYNC_DATABASE_URL")
        with answering(), engine.begin() as connection:
            if version_of(connection) != HEAD:
                _upgrade(connection)
    except (StorageError, ProgrammingError) as error:
        engine.dispose()
        if isinstance(error, StorageError) or not isinstance(error.orig, InsufficientPrivilege):
            raise
        raise denied(error, SCHEMA, engine.url.username, languages.told("our tables")) from error
    return engine


def is_server_gone(error: BaseException) -> bool:
    """Whether an error says that the database cannot work now, so that it would be the same with any other row."""
    if getattr(error, "connection_invalidated", False):
        return True
    said = getattr(getattr(error, "orig", None) or error, "sqlstate", None) or ""
    return isinstance(error, SERVER_GONE) and not said.startswith(_LIMITS_OF_A_ROW)


def denied(error: DBAPIError, schema: str, user: str | None, what: str) -> StorageError:
    """What is said where our user may not make a schema, and what is to be in it."""
    return StorageError(
        languages.told(
            f"The database user may not create {what} ({_one_line(error)}). "
            f"An administrator can allow it with: CREATE SCHEMA {schema} AUTHORIZATION {user}"
        )
    )


def read_rows(engine: sa.Engine, query: sa.Select, kind: type[R]) -> list[R]:
    """The answer to a query, each row as a `kind`, whose fields are the columns."""
    with engine.connect() as connection:
        return [kind(**row._mapping) for row in connection.execute(query)]


def write_rows(engine: sa.Engine, statement: sa.Executable, rows: Sequence[Mapping[str, Any]] | None = None) -> int:
    """Carry out a statement, for each of these rows, as one transaction; gives how many rows it changed or deleted."""
    with engine.begin() as connection:
        return int(connection.execute(statement, rows).rowcount)


def driver_cursor(connection: sa.Connection) -> "psycopg.Cursor[Any]":
    """The driver's own cursor, which knows COPY, in the connection's transaction.

    SQLAlchemy hears of no statement of it: what it did not begin, its commit would leave open without a word.
    """
    if not connection.in_transaction():
        connection.begin()
    return cast("psycopg.Cursor[Any]", connection.connection.cursor())


def fields_of(kind: type, table: sa.Table) -> list[sa.Column]:
    """The columns of a table that a dataclass has as fields."""
    return [table.c[field.name] for field in fields(kind)]


def among(column: sa.ColumnElement, values: Collection[object]) -> sa.ColumnElement[bool]:
    """Whether a column holds one of any number of values."""
    return column == sa.any_(sa.literal(list(values), sa.ARRAY(column.type)))


def storable(value: Any) -> Any:
    """JSON as PostgreSQL can keep it: NUL and lone surrogates, which foreign texts have, become a replacement."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
    if isinstance(value, list):
        return [storable(one) for one in value]
    if isinstance(value, dict):
        return {storable(name): storable(one) for name, one in value.items()}
    return value


def check_answers(url: str, variable: str) -> None:
    """Raise DatabaseUnreachableError, naming the variable, when nobody answers at a URL; Dagster tries for long."""
    with answering(languages.told(f"{variable}: the database")):
        _brief(with_driver(url, "psycopg")).connect().close()


def create_database(ours: str, name: str) -> str:
    """The URL of the database `name` on the server of the database `ours`; it is made when it is not there.

    Raises DatabaseUnreachableError, and StorageError when our user may not make databases.
    """
    with answering(), _brief(ours).connect() as connection:
        if connection.execute(_EXISTS, {"name": name}).first() is None:
            quoted = connection.dialect.identifier_preparer.quote(name)
            try:
                connection.execute(sa.text(f"CREATE DATABASE {quoted}"))
            except DBAPIError as error:
                # Another process may have made it at this moment.
                if connection.execute(_EXISTS, {"name": name}).first() is None:
                    raise StorageError(f"The database {name} could not be made: {_one_line(error)}") from error
    return sa.make_url(ours).set(database=name).render_as_string(hide_password=False)


def _brief(url: str) -> sa.Engine:
    """An engine for one connection, each statement of which commits itself."""
    connect = {"connect_timeout": CONNECT_SECONDS}
    return sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool, connect_args=connect)


@contextmanager
def answering(what: str = N_("The database")) -> Iterator[None]:
    """Turn the error of a database that does not answer, `what`, into DatabaseUnreachableError."""
    try:
        yield
    except OperationalError as error:
        raise DatabaseUnreachableError(told(error, what) or f"{what}: {_one_line(error)}") from error


def _one_line(error: sa.exc.DBAPIError) -> str:
    """What the database said, without the statement and without line breaks."""
    return " ".join(str(error.orig).split())


def version_of(connection: sa.Connection) -> str | None:
    """The version that the database is at; None when it has none of our tables."""
    if connection.execute(sa.text("SELECT to_regclass(:name)"), {"name": f"{SCHEMA}.{VERSION_TABLE}"}).scalar() is None:
        return None
    version: str | None = connection.execute(sa.text(f"SELECT version_num FROM {SCHEMA}.{VERSION_TABLE}")).scalar()  # noqa: S608
    return version


def _upgrade(connection: sa.Connection) -> None:
    """Run the missing migrations in the connection's transaction, under a lock that ends with it."""
    from alembic import command

    connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
    version = version_of(connection)
    config = migrations(version)
    config.attributes["connection"] = connection
    if version is not None:
        # Whoever writes images or pins locks its products first: waited for here, it is not met in the middle.
        connection.execute(sa.text(f"LOCK TABLE {SCHEMA}.product IN ACCESS EXCLUSIVE MODE"))
    try:
        command.upgrade(config, "head")
    except DBAPIError as error:
        if isinstance(error, OperationalError) or isinstance(error.orig, InsufficientPrivilege):
            raise
        raise StorageError(
            f"The database could not be brought from version {version or 'none'} to {HEAD}: {_one_line(error)}. "
            "Nothing was changed, since all migrations are one transaction. Put right what is said here and start "
            "again, or install the program of before, which works with the database as it is."
        ) from error


def migrations(version: str | None) -> "Config":
    """Where Alembic finds our migrations, all that a database of this version lacks among them.

    Raises StorageError when a newer or an older program is needed for it.
    """
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version in OLDER:
        raise StorageError(
            f"The database is at version {version}, this program upgrades from {BASELINE} on. "
            f"Pass through commit {PASS_THROUGH} of imagesync_pipelines: install it (git checkout {PASS_THROUGH}), run "
            "`imagesync history` once with the same settings, then come back to this program; nothing was changed."
        )
    if version is not None and version not in known:
        raise StorageError(
            f"The database is at version {version}, this program knows up to {HEAD}. "
            "Install the newer program again, restore the backup that was made before it (docs/operating.md, Upgrade "
            "and rollback), or use another database; nothing was changed."
        )
    return config
