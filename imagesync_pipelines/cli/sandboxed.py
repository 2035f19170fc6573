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
from imagesync_pipelines.sandbox.image_db import serve
from imagesync_pipelines.sandbox.image_db.server import PASSWORD, USERNAME
from imagesync_pipelines.sandbox.serving import LOOPBACK
from imagesync_pipelines.settings import Settings, load_settings

_PREFIXES = ("IMAGE_API_", "IMAGE_DB_", "ERP_", "IMAGESYNC_")
START_SECONDS = 30


@dataclass(frozen=True)
class Place:
    """Where the sandbox's installation is: its home, the ERP's files, and how many nights have passed in it."""

    home: Path

    @property
    def folder(self) -> Path:
        """Where the sandbox keeps what it must remember; a home with this folder is a sandbox's."""
        return self.home / "sandbox"

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
    """Whether .env or the environment names a real image database or database."""
    return load_settings(ImageDbSettings).image_api_url is not None or load_settings(Settings).database_url is not None


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


def server_command(place: Place) -> list[str]:
    """The command that serves the sandbox in a process of its own, at the night where the demo left it."""
    options = ["--nights", str(place.nights), "--erp-folder", str(place.folder)]
    return [sys.executable, "-m", "imagesync_pipelines.cli.main", "sandbox", *options]


def wait_until_up(place: Place) -> None:
    """Return when the sandbox answers and has written the ERP's files."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            requests.get(f"http://localhost:{serve.PORT}/__sandbox__/state", timeout=2).raise_for_status()
        except requests.RequestException:
            time.sleep(0.1)
            continue
        if (place.folder / "variants.csv").exists():
            return
    raise click.ClickException(
        f"the sandbox does not answer on port {serve.PORT}; is the port taken by another program?"
    )
