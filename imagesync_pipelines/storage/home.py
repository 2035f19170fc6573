"""The locations: where this installation keeps everything, worked out once from the settings."""

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import sqlalchemy as sa
from pydantic import SecretStr
from upath import UPath

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.database import with_driver
from imagesync_pipelines.storage.embedded import EmbeddedServer, ensure_server
from imagesync_pipelines.storage.files import open_root

OUR_DATABASE = "imagesync"
DAGSTER_DATABASE = "dagster"


@dataclass(frozen=True)
class Locations:
    """Where this installation keeps things; all paths are absolute, all database URLs name their driver."""

    home: Path
    dagster_home: Path
    storage_root: UPath
    database_url: str = field(repr=False)
    dagster_url: str = field(repr=False)
    given: dict[str, str] = field(repr=False)

    def environment(self) -> dict[str, str]:
        """The variables with which any child process, in any working directory, finds this same locations."""
        return {
            "IMAGESYNC_HOME": str(self.home),
            "DAGSTER_HOME": str(self.dagster_home),
            "IMAGESYNC_DAGSTER_URL": self.dagster_url,
            **self.given,
        }


def open_locations(settings: Settings) -> Locations:
    """Make the folders, start or join the embedded server unless a database is given, and say where everything is.

    With IMAGESYNC_DATABASE_URL, Dagster uses IMAGESYNC_DAGSTER_URL or else the same database. Any number of processes
    may open one installation at once. Raises StorageError with a line for people.
    """
    home = settings.home.expanduser().resolve()
    dagster_home = home / "dagster"
    dagster_home.mkdir(parents=True, exist_ok=True)
    _write_dagster_yaml(dagster_home / "dagster.yaml")

    given: dict[str, str] = {}
    if settings.database_url is not None:
        database_url = with_driver(settings.database_url.get_secret_value(), "psycopg")
        dagster_url = with_driver(database_url, "psycopg2")
        given["IMAGESYNC_DATABASE_URL"] = database_url
    else:
        server = ensure_server(home)
        _ensure_databases(server)
        database_url = server.url(OUR_DATABASE, "psycopg")
        dagster_url = server.url(DAGSTER_DATABASE, "psycopg2")
    if settings.dagster_url is not None:
        dagster_url = with_driver(settings.dagster_url.get_secret_value(), "psycopg2")

    if settings.storage_url is not None:
        storage_root = open_root(settings.storage_url)
        given["IMAGESYNC_STORAGE_URL"] = settings.storage_url
    else:
        storage_root = UPath(home / "storage")
    return Locations(
        home=home,
        dagster_home=dagster_home,
        storage_root=storage_root,
        database_url=database_url,
        dagster_url=dagster_url,
        given=given,
    )


def dagster_yaml() -> str:
    """The text of the dagster.yaml at the top of the repository (the package holds a link to it)."""
    return files("imagesync_pipelines").joinpath("root_files", "dagster.yaml").read_text()


def _write_dagster_yaml(path: Path) -> None:
    """Put the current text in place in one step; another process may be reading the file."""
    wanted = dagster_yaml()
    if path.exists() and path.read_text() == wanted:
        return
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    fresh.write_text(wanted)
    fresh.replace(path)


def _ensure_databases(server: EmbeddedServer) -> None:
    """Create our database and Dagster's on the embedded server; another process may do the same at this moment."""
    engine = sa.create_engine(server.url("postgres", "psycopg"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        there = set(connection.execute(sa.text("SELECT datname FROM pg_database")).scalars())
        for name in {OUR_DATABASE, DAGSTER_DATABASE} - there:
            try:
                connection.execute(sa.text(f"CREATE DATABASE {name}"))
            except sa.exc.DBAPIError:
                exists = sa.text("SELECT 1 FROM pg_database WHERE datname = :name")
                if connection.execute(exists, {"name": name}).first() is None:
                    raise


def kept_secret(file: Path) -> SecretStr:
    """The secret in the file, 64 hexadecimal digits; made on the first call, by whichever process comes first."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        fresh = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        # A link appears whole or not at all, and never replaces one that another process made.
        try:
            file.hardlink_to(fresh)
        finally:
            fresh.unlink()
    return SecretStr(file.read_text())
