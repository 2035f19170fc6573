"""This installation: where it keeps everything, worked out once from the settings, and opening it."""

import ctypes
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

import sqlalchemy as sa
from pydantic import SecretStr
from upath import UPath

from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.database import create_database, open_database, with_driver
from imagesync_pipelines.storage.embedded import SUPERUSER, ensure_server
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.files import check_root, open_root, sync, write_whole
from imagesync_pipelines.storage.home import PRIVATE_FOLDER, make_private

# The parameter of glibc's mallopt, and the size of a block that goes back to the system as soon as it is freed.
MMAP_THRESHOLD, LARGE_BYTES = -3, 512 * 1024

_SECRET = re.compile(r"[0-9a-f]{64}")


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


@dataclass(frozen=True)
class Installation:
    """What a stage works with."""

    settings: Settings
    locations: Locations
    engine: sa.Engine

    @property
    def storage(self) -> UPath:
        """The folder of raw pages, records and plans."""
        return self.locations.storage_root


@contextmanager
def open_installation(settings: Settings | None = None) -> Iterator[Installation]:
    """Open this installation; starts or joins the embedded server when there is one, migrates the database.

    Raises SettingsError and StorageError, each with a line for people.
    """
    give_back_what_is_freed()
    shared = settings or load_settings(Settings)
    locations = open_locations(shared)
    engine = open_database(locations.database_url)
    try:
        yield Installation(shared, locations, engine)
    finally:
        engine.dispose()


def open_locations(settings: Settings) -> Locations:
    """Make the folders, start or join the embedded server unless a database is given, and say where everything is.

    With IMAGESYNC_DATABASE_URL, Dagster uses IMAGESYNC_DAGSTER_URL or else the same database. Any number of processes
    may open one installation at once. Raises StorageError with a line for people.
    """
    home = settings.home.expanduser().resolve()
    make_private(home)
    dagster_home = home / "dagster"
    dagster_home.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    texts = {"dagster.yaml": chosen_dagster_yaml(settings), "workspace.yaml": root_file("workspace.yaml")}
    for name, text in texts.items():
        # In one step, and only when it differs: another process may be reading the file.
        kept = UPath(dagster_home / name)
        if not kept.exists() or kept.read_bytes() != text.encode():
            write_whole(kept, text.encode())
    given: dict[str, str] = {}
    database_url, dagster_url = databases_of(settings, home)
    if settings.database_url is not None:
        given["IMAGESYNC_DATABASE_URL"] = database_url
    if settings.dagster_yaml is not None:
        given["IMAGESYNC_DAGSTER_YAML"] = str(settings.dagster_yaml.absolute())
    storage_root = storage_of(settings, home)
    if settings.storage_url is not None:
        is_url = "://" in settings.storage_url
        given["IMAGESYNC_STORAGE_URL"] = settings.storage_url if is_url else str(Path(storage_root.path).absolute())
    return Locations(home, dagster_home, storage_root, database_url, dagster_url, given)


def databases_of(settings: Settings, home: Path) -> tuple[str, str]:
    """The URLs of our database and of Dagster's, with their drivers; those of the embedded server are made if need be.

    Raises StorageError with a line for people.
    """
    if settings.database_url is not None:
        database_url = with_driver(settings.database_url.get_secret_value(), "psycopg")
        dagster_url = with_driver(database_url, "psycopg2")
    else:
        server = ensure_server(home)
        database_url = create_database(server.url(SUPERUSER, "psycopg"), "imagesync")
        dagster_url = with_driver(create_database(database_url, "dagster"), "psycopg2")
    if settings.dagster_url is not None:
        dagster_url = with_driver(settings.dagster_url.get_secret_value(), "psycopg2")
    return database_url, dagster_url


def storage_of(settings: Settings, home: Path) -> UPath:
    """The storage root; a bucket is there and may be used. Raises SettingsError and StorageError."""
    if settings.storage_url is None:
        return UPath(home / "storage")
    try:
        storage_root = open_root(settings.storage_url, settings)
        check_root(storage_root)
    except StorageError as error:
        raise StorageError(f"IMAGESYNC_STORAGE_URL: {error}") from error
    return storage_root


def dagster_yaml() -> str:
    """The text of the dagster.yaml at the top of the repository."""
    return root_file("dagster.yaml")


def root_file(name: str) -> str:
    """The text of a file at the top of the repository that the package holds a link to."""
    return files("imagesync_pipelines").joinpath("root_files", name).read_text()


def chosen_dagster_yaml(settings: Settings) -> str:
    """The text of the dagster.yaml that the settings name, or of the one that the package holds.

    Raises SettingsError for a file that cannot be read.
    """
    if settings.dagster_yaml is None:
        return dagster_yaml()
    try:
        return settings.dagster_yaml.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"IMAGESYNC_DAGSTER_YAML: {settings.dagster_yaml} cannot be read ({error})") from error


def kept_secret(file: Path) -> SecretStr:
    """The secret in the file, 64 hexadecimal digits; made on the first call, by whichever process comes first.

    Raises StorageError for a file that is empty or cut, as a power cut may leave one.
    """
    make_private(file.parent)
    with suppress(FileExistsError):
        fresh = file.with_name(f"{file.name}.{secrets.token_hex(8)}")
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(32))
        sync(fresh)
        # A link appears whole or not at all, and never replaces one that another process made.
        try:
            file.hardlink_to(fresh)
        finally:
            fresh.unlink()
        sync(file.parent)
    found = file.read_text(errors="replace").strip()
    if _SECRET.fullmatch(found) is None:
        raise StorageError(
            f"{file} should hold a secret and is empty (was the power cut?). Remove it: a new one is made at the next "
            "start, and everybody logs in again."
            if not found
            else f"{file} should hold a secret and is damaged (was the power cut?). Remove it: a new one is made at "
            "the next start, and everybody logs in again."
        )
    return SecretStr(found)


def give_back_what_is_freed() -> None:
    """Let freed columns and pictures leave the process: a plan of 100,000 images needs 100 MB less at its peak."""
    import pyarrow as pa

    # Arrow's own allocator keeps what was freed.
    pa.set_memory_pool(pa.system_memory_pool())
    # So does glibc once a large block was freed, unless it is told from which size on not to; other libraries do not.
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, LARGE_BYTES)
