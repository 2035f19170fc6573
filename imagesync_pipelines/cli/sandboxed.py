"""Working on the sandbox instead of real systems: the variables, the home, the server process.

What belongs here: making sure that made-up products never meet a real database. What does not: the sandbox itself
(sandbox), the commands (demo.py, servers.py).
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import requests

from imagesync_pipelines.image_db.settings import ImageDbSettings
from imagesync_pipelines.sandbox.head_office import serve as ho_serve
from imagesync_pipelines.sandbox.head_office.server import PASSWORD as HO_PASSWORD
from imagesync_pipelines.sandbox.image_db import serve
from imagesync_pipelines.sandbox.image_db.server import PASSWORD, USERNAME
from imagesync_pipelines.sandbox.serving import LOOPBACK
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.beside import database_beside
from imagesync_pipelines.storage.home import House

_PREFIXES = ("IMAGE_API_", "IMAGE_DB_", "ERP_", "EDGE_", "HO_", "IMAGESYNC_")
START_SECONDS = 60
HEAD_OFFICE_DATABASE = "sandbox_head_office"


@dataclass(frozen=True)
class Place:
    """Where the sandbox's installation is: its home, the ERP's files, and how many nights have passed in it."""

    home: Path

    @property
    def folder(self) -> Path:
        """Where the sandbox keeps what it must remember; a home with this folder is a sandbox's."""
        return self.home / "sandbox"

    @property
    def accounts(self) -> Path:
        """The accounts file with the stores of the sandbox's head office."""
        return self.folder / "accounts.toml"

    @property
    def head_office(self) -> Path:
        """Where the sandbox's head office keeps its objects."""
        return self.folder / "head_office"

    @property
    def nights(self) -> int:
        """How many nights of changes the last demo let pass, so that `make dev` goes on from there."""
        path = self.folder / "nights"
        return int(path.read_text()) if path.exists() else 0

    def remember(self, nights: int) -> None:
        """Note the nights."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "nights").write_text(str(nights))


def is_configured() -> bool:
    """Whether .env or the environment names a real image database, a database, or real stores."""
    shared = load_settings(Settings)
    named = (load_settings(ImageDbSettings).image_api_url, shared.database_url, shared.accounts)
    return any(value is not None for value in named)


@contextmanager
def environment() -> Iterator[Place]:
    """Point this process and its children to the sandbox; everything is as it was afterwards.

    With real systems configured the sandbox gets a home of its own, and no setting of theirs reaches it.
    """
    home = load_settings(Settings).home.expanduser().resolve()
    if is_configured():
        home = home.with_name(f"{home.name}-sandbox")
    place = Place(home)
    place.folder.mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    for name in before:
        if name.startswith(_PREFIXES):
            del os.environ[name]
    os.environ.update(
        {
            "IMAGESYNC_ENV_FILE": os.devnull,
            "IMAGESYNC_HOME": str(home),
            "IMAGESYNC_ALLOWED_IMAGE_HOSTS": LOOPBACK,
            "IMAGESYNC_ACCOUNTS": str(place.accounts),
            ho_serve.PASSWORD_VARIABLE: HO_PASSWORD,
            "IMAGE_API_URL": f"http://localhost:{serve.PORT}/api/",
            "IMAGE_API_USERNAME": USERNAME,
            "IMAGE_API_PASSWORD": PASSWORD,
            "ERP_PARENTS_FILE": str(place.folder / "parents.csv"),
            "ERP_VARIANTS_FILE": str(place.folder / "variants.csv"),
        }
    )
    try:
        yield place
    finally:
        os.environ.clear()
        os.environ.update(before)


def head_office_database(house: House) -> str:
    """The URL of the database of the sandbox's head office, beside ours."""
    return database_beside(house.database_url, HEAD_OFFICE_DATABASE)


def server_commands(place: Place) -> dict[str, list[str]]:
    """The commands that serve the stand-ins, each in a process of its own, as the demo left them."""
    program = [sys.executable, "-m", "imagesync_pipelines.cli.main"]
    records = ["--nights", str(place.nights), "--erp-folder", str(place.folder)]
    office = ["--folder", str(place.head_office), "--accounts-file", str(place.accounts)]
    return {
        "sandbox": [*program, "sandbox", *records],
        "head office": [*program, "sandbox-head-office", *office],
    }


def wait_until_up(place: Place) -> None:
    """Return when the stand-ins answer and have written the ERP's files and the accounts file."""
    _wait_for(serve.PORT, place.folder / "variants.csv")
    _wait_for(ho_serve.PORT, place.accounts)


def _wait_for(port: int, file: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            requests.get(f"http://localhost:{port}/__sandbox__/state", timeout=2).raise_for_status()
        except requests.RequestException:
            time.sleep(0.1)
            continue
        if file.exists():
            return
        time.sleep(0.1)
    raise click.ClickException(f"the sandbox does not answer on port {port}; is the port taken by another program?")
