"""Where Dagster keeps its records, as dagster.yaml names it: the installation's PostgreSQL, or nothing that lasts.

Dagster's commands read the dagster.yaml of the folder they run in, also in a fresh clone where there is no
installation yet. There `dg check defs` needs no database, and `dagster dev` shows the definitions. In an installation
(DAGSTER_HOME is set) a missing address is an error: records must not go astray.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Mapping

import sqlalchemy as sa
from dagster import Field
from dagster._config.config_schema import UserConfigSchema
from dagster._core.storage.base_storage import DagsterStorage
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClass, ConfigurableClassData
from dagster_postgres import DagsterPostgresStorage

from imagesync_pipelines.storage.database import with_driver
from imagesync_pipelines.storage.errors import StorageError

PASSING_FOLDER = "IMAGESYNC_PASSING_DAGSTER_FOLDER"


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

        Raises StorageError when DAGSTER_HOME is set and the variable is not, or when it names no PostgreSQL.
        """
        url = os.environ.get(config_value["url_variable"])
        if url:
            return _kept_open(DagsterPostgresStorage(with_driver(url, "psycopg2"), inst_data=inst_data))
        if os.environ.get("DAGSTER_HOME"):
            raise StorageError(
                f"{config_value['url_variable']} is not set, so it is not known where Dagster's records are. "
                "Run `imagesync env` and set the variables that it prints."
            )
        return DagsterSqliteStorage(_passing_folder(), inst_data=inst_data)


def _kept_open(storage: DagsterPostgresStorage) -> DagsterPostgresStorage:
    """The same storage on one connection that stays open until the instance is disposed of.

    By itself Dagster connects anew for every statement, hundreds of times in a run, which costs PostgreSQL more than
    the statements do. A connection that the server has closed is replaced before it is used; threads get further ones.
    """
    engine = sa.create_engine(
        storage.postgres_url, isolation_level="AUTOCOMMIT", pool_pre_ping=True, pool_size=1, max_overflow=-1
    )
    # What DagsterPostgresStorage offers for this is for its web server alone, with that one's limit for statements.
    for part in (storage.run_storage, storage.event_log_storage, storage.schedule_storage):
        vars(part).update(_engine=engine)
    vars(storage.run_storage).update(dispose=engine.dispose)
    return storage


def _passing_folder() -> str:
    """The folder of this command and of the processes that it starts, which learn it from the environment."""
    named = os.environ.get(PASSING_FOLDER)
    if named is None:
        named = os.environ[PASSING_FOLDER] = tempfile.mkdtemp(prefix="imagesync-dagster-")
        atexit.register(shutil.rmtree, named, ignore_errors=True)
    return named
