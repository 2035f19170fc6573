"""Where Dagster keeps its records, as dagster.yaml names it: the installation's PostgreSQL, or nothing that lasts.

In PostgreSQL its tables stay in the schema in which they are found; where it shares a new database with us it gets
a schema of its own. It always names that schema: one of ours that is first in the role's search_path would be taken
for its own.

Dagster's commands read the dagster.yaml of the folder they run in, also in a fresh clone where there is no
installation yet. There `dg check defs` needs no database, and `dagster dev` shows the definitions. In an installation
(DAGSTER_HOME is set) a missing address is an error: records must not go astray.
"""

import atexit
import os
import select
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import psycopg2  # type: ignore[import-untyped]
import sqlalchemy as sa
from alembic.config import Config
from alembic.script import ScriptDirectory
from dagster import DagsterEventType, EventLogEntry, Field
from dagster import __version__ as dagster_version
from dagster._config.config_schema import UserConfigSchema
from dagster._core.secrets import SecretsLoader
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.sql import ALEMBIC_SCRIPTS_LOCATION
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import DagsterPostgresException, retry_pg_connection_fn, retry_pg_creation_fn
from dotenv import dotenv_values
from sqlalchemy.pool import ConnectionPoolEntry

from imagesync_pipelines import languages
from imagesync_pipelines.settings import env_file
from imagesync_pipelines.storage.database import answering, denied, engine_of, with_driver
from imagesync_pipelines.storage.errors import DatabaseUnreachableError, StorageError
from imagesync_pipelines.storage.faults import told
from imagesync_pipelines.storage.home import keep_private
from imagesync_pipelines.storage.schema import SCHEMA as OURS
from imagesync_pipelines.storage.sessions import refuse_pooler_of_transactions
from imagesync_pipelines.storage.upgrading import Migration

PASSING_FOLDER = "IMAGESYNC_PASSING_DAGSTER_FOLDER"
# The schema of Dagster's tables in a database that it shares with us, unless they are found elsewhere.
OWN_SCHEMA = "dagster"
NOT_ALLOWED = "42501"
# A connection that nobody used for so many seconds is asked whether it lasts: what stands between may have dropped it.
ASK_AFTER = 5.0
_OF_LIBRARIES = frozenset(
    ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
)
_RETURNED = "imagesync returned at"
# What Dagster says before the first and after the last step of a run in one process.
_IN_PROCESS = "steps in process (pid"
_FOUND = sa.text("""
SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relname = 'event_logs' AND n.nspname <> :ours
   AND (n.nspname = ANY (current_schemas(false)) OR n.nspname = :own)
 ORDER BY array_position(current_schemas(false), n.nspname) NULLS LAST LIMIT 1
""")
_DEFAULT = sa.text("SELECT current_schema(), to_regnamespace(:ours) IS NOT NULL")


class SettingsReadAnew(SecretsLoader, ConfigurableClass):
    """Puts no setting of ours into the environment of Dagster's processes: every run reads `.env` itself.

    By itself Dagster copies `.env` into its code server, over variables of the environment, and each run would have the
    values of the moment at which that server was started. What libraries read, they read from the environment only.
    """

    def get_secrets_for_environment(self, location_name: str | None) -> Mapping[str, str]:
        """What libraries read of proxies, certificates and object stores, unless the environment has it."""
        file, named = env_file(), {name.lower() for name in os.environ}
        known = dotenv_values(file) if file.is_file() else {}
        return {
            name: value
            for name, value in known.items()
            if value and name.lower() not in named and (name.upper() in _OF_LIBRARIES or name.startswith("AWS_"))
        }

    @property
    def inst_data(self) -> ConfigurableClassData | None:
        """Nothing is configured."""
        return None

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """There are no settings."""
        return {}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> "SettingsReadAnew":
        """One of it."""
        return cls()


class InstallationStorage(DagsterStorage, ConfigurableClass):
    """Never an instance itself: `from_config_value` gives one of Dagster's own storages."""

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        """The settings of `storage: custom: config:` in dagster.yaml."""
        return {"url_variable": Field(str, description="environment variable with the URL of Dagster's database")}

    @classmethod
    def from_config_value(  # type: ignore[override] # Dagster wants the class itself; a storage of its own does as well
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, str]
    ) -> DagsterStorage:
        """PostgreSQL when the variable is set; without any installation, SQLite in a folder that goes with the command.

        Raises StorageError when DAGSTER_HOME is set and the variable is not, or when it names no PostgreSQL, one that
        does not answer or where no schema may be made; TransactionPoolerError.
        """
        variable = config_value["url_variable"]
        url = os.environ.get(variable)
        if url:
            # Dagster's own processes begin here: their logs and sockets, and what their children make.
            keep_private()
            return _in_postgres(with_driver(url, "psycopg2"), variable, inst_data)
        if os.environ.get("DAGSTER_HOME"):
            raise StorageError(
                f"{variable} is not set, so it is not known where Dagster's records are. "
                "Run `imagesync env` and set the variables that it prints."
            )
        return DagsterSqliteStorage(_passing_folder(), inst_data=inst_data)


def _in_postgres(url: str, variable: str, inst_data: ConfigurableClassData | None) -> DagsterPostgresStorage:
    """Dagster's storage on one or two connections that stay open until the instance is disposed of.

    By itself Dagster connects anew for every statement, hundreds of times in a run, which costs PostgreSQL more than
    the statements do. A connection that the server has closed is replaced before it is used; threads get further ones,
    which are closed when they come back; a process that was forked connects by itself.
    """
    bare = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    try:
        retry_pg_connection_fn(partial(refuse_pooler_of_transactions, bare, variable))
    except DagsterPostgresException as error:
        raise DatabaseUnreachableError(
            told(error, languages.told(f"{variable}: the database")) or f"{variable}: {error}"
        ) from error
    schema = retry_pg_creation_fn(partial(_schema, bare, variable))
    # Two, because some of its statements are made while another one's connection is held.
    engine = _engine(url, schema, pool_size=2, max_overflow=-1, pool_use_lifo=True)
    storage = DagsterPostgresStorage(url, should_autocreate_tables=False, inst_data=inst_data)
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        # Dagster's own would connect to another schema.
        vars(part).update(_engine=engine, optimize_for_webserver=partial(_for_webserver, part, schema))
    vars(storage.run_storage).update(dispose=engine.dispose)
    events = storage.event_log_storage
    vars(events).update(store_event=partial(_store, events.store_event))
    _make_tables(storage, set(sa.inspect(engine).get_table_names(schema)))
    return storage


def outlook(url: str) -> tuple[str | None, tuple[Migration, ...]]:
    """At which revision Dagster's tables are, None where there are none yet, and which of its migrations are missing.

    url: of Dagster's database, with any driver. Nothing is made. Raises StorageError when a newer Dagster is needed,
    and DatabaseUnreachableError.
    """
    engine = engine_of(url)
    try:
        with answering("IMAGESYNC_DAGSTER_URL: the database"), engine.connect() as connection:
            schema = connection.scalar(_FOUND, {"ours": OURS, "own": OWN_SCHEMA})
            if schema is None:
                return None, ()
            kept = sa.table("alembic_version", sa.column("version_num"), schema=schema)
            version: str | None = connection.scalar(sa.select(kept.c.version_num))
    finally:
        engine.dispose()
    config = Config()
    config.set_main_option("script_location", ALEMBIC_SCRIPTS_LOCATION)
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    known = [script.revision for script in scripts]
    if version not in known:
        raise StorageError(
            f"Dagster's tables are at revision {version}, which Dagster {dagster_version} does not know. Install the "
            "newer program again, or restore the backup that was made before it (docs/operating.md, Upgrade and "
            "rollback); nothing was changed."
        )
    newer = scripts[: known.index(version)]
    return version, tuple(Migration(one.revision, " ".join(one.doc.split()), ()) for one in reversed(newer))


def _schema(bare: sa.Engine, variable: str) -> str:
    """The schema of Dagster's tables, which is made where it is to be one of its own."""
    with bare.connect() as connection:
        found: str | None = connection.scalar(_FOUND, {"ours": OURS, "own": OWN_SCHEMA})
        if found is not None:
            return found
        first, is_shared = connection.execute(_DEFAULT, {"ours": OURS}).one()
        if first is not None and not is_shared and not _is_ours(bare.url):
            return str(first)
        try:
            connection.execute(sa.schema.CreateSchema(OWN_SCHEMA, if_not_exists=True))
        except sa.exc.ProgrammingError as error:
            if getattr(error.orig, "pgcode", None) != NOT_ALLOWED:
                raise
            raise denied(error, OWN_SCHEMA, bare.url.username, f"{variable}: Dagster's tables") from error
    return OWN_SCHEMA


def _is_ours(url: sa.URL) -> bool:
    """Whether our own tables will be in the database of a URL, as the environment says."""
    ours = os.environ.get("IMAGESYNC_DATABASE_URL")
    return bool(ours) and sa.make_url(with_driver(str(ours), "psycopg2")) == url


def _engine(url: str, schema: str, *, setting: str = "", **pool: Any) -> sa.Engine:
    """An engine whose connections look for tables in one schema alone, and begin with another `setting`."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", **pool)
    settings = f"SET search_path TO {engine.dialect.identifier_preparer.quote(schema)}; {setting}"

    # Before SQLAlchemy itself asks a new connection for its schema.
    @sa.event.listens_for(engine, "connect", insert=True)
    def set_up(connection: Any, _record: object) -> None:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(settings)

    sa.event.listen(engine, "checkin", _note_return)
    sa.event.listen(engine, "checkout", _check_alive)
    return engine


def _note_return(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[_RETURNED] = os.getpid(), time.monotonic()


def _check_alive(connection: Any, record: Any, fairy: Any) -> None:
    """Raise DisconnectionError, for which the pool connects anew, for a connection that the server has closed.

    Dagster takes and returns it for every statement, so a statement more each time would be half of all. An end that
    the server told is seen without asking it: then there is something to read on a connection that waits for nothing.
    """
    process, returned = record.info.get(_RETURNED, (os.getpid(), time.monotonic()))
    if process != os.getpid():
        # It is our parent's, and stays open there.
        record.dbapi_connection = fairy.dbapi_connection = None
        raise sa.exc.DisconnectionError("a connection of the process that forked this one")
    try:
        # poll and not select, which takes no descriptor above 1,023.
        told = select.poll()
        told.register(connection.fileno(), select.POLLIN)
        if time.monotonic() - returned < ASK_AFTER and not told.poll(0):
            return
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error as error:
        raise sa.exc.DisconnectionError(str(error)) from error


def _store(store: Callable[[EventLogEntry], None], entry: EventLogEntry) -> None:
    """Store an event of a run, unless it only says that Dagster's own machinery did its part."""
    if not is_routine(entry):
        store(entry)


def is_routine(entry: EventLogEntry) -> bool:
    """Whether an event says of a run no more than that its resources or its steps in this process began or ended."""
    event = entry.dagster_event
    if event is None:
        return False
    if event.event_type is DagsterEventType.ENGINE_EVENT:
        data = event.engine_event_data
        return data.error is None and data.marker_start is None and _IN_PROCESS in (event.message or "")
    return event.event_type in (DagsterEventType.RESOURCE_INIT_STARTED, DagsterEventType.RESOURCE_INIT_SUCCESS)


def _for_webserver(part: Any, schema: str, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
    """What Dagster does for its web server: a limit for statements, and for connections."""
    pool = {"pool_size": 1, "pool_recycle": pool_recycle, "max_overflow": max_overflow}
    setting = f"SET statement_timeout TO {statement_timeout}"
    vars(part).update(_engine=_engine(part.postgres_url, schema, setting=setting, **pool))


def _make_tables(storage: DagsterPostgresStorage, there: set[str]) -> None:
    """What Dagster's storages do by themselves when they are made; `there`: the tables that are in its schema."""
    runs: Any = storage.run_storage
    events: Any = storage.event_log_storage
    schedules: Any = storage.schedule_storage
    if "runs" not in there:
        retry_pg_creation_fn(runs._init_db)
        runs.migrate()
        runs.optimize()
    if "event_logs" not in there:
        retry_pg_creation_fn(events._init_db)
        events.reindex_events()
        events.reindex_assets()
    if not there & {"schedules", "jobs"}:
        retry_pg_creation_fn(schedules._init_db)


def _passing_folder() -> str:
    """The folder of this command and of the processes that it starts, which learn it from the environment."""
    named = os.environ.get(PASSING_FOLDER)
    if named is None:
        named = os.environ[PASSING_FOLDER] = tempfile.mkdtemp(prefix="imagesync-dagster-")
        atexit.register(shutil.rmtree, named, ignore_errors=True)
    return named
