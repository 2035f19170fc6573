"""Working on the sandbox instead of real systems: the variables, the home, the server process."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import click
import requests

from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings
from imagesync_pipelines.sandbox.amazon import server as amazon_serve
from imagesync_pipelines.sandbox.amazon.mapping import demo_mapping, write_mapping
from imagesync_pipelines.sandbox.head_office import server as ho_serve
from imagesync_pipelines.sandbox.head_office.server import PASSWORD as HO_PASSWORD
from imagesync_pipelines.sandbox.image_db import server
from imagesync_pipelines.sandbox.image_db.server import PASSWORD, USERNAME
from imagesync_pipelines.sandbox.moysklad import server as moysklad_serve
from imagesync_pipelines.sandbox.plytix import server as plytix_serve
from imagesync_pipelines.sandbox.plytix.server import API_KEY, API_PASSWORD
from imagesync_pipelines.sandbox.server import LOOPBACK
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.database import create_database
from imagesync_pipelines.storage.installation import Locations

_PREFIXES = ("IMAGE_API_", "IMAGE_DB_", "ERP_", "EDGE_", "HO_", "PLYTIX_", "MOYSKLAD_", "IMAGESYNC_")
START_SECONDS = 60
PROGRAM = (sys.executable, "-m", "imagesync_pipelines.cli.main")
HEAD_OFFICE_DATABASE = "sandbox_head_office"


@dataclass(frozen=True)
class SandboxHome:
    """Where the sandbox's installation is: its home, and below that its folder, by which a home is a sandbox's.

    accounts: the accounts file; stores: the part of it that the sandbox's head office writes. mapping: the mapping file
    of the sandbox's Amazon, alone in its folder. head_office: where the head office keeps its objects.
    """

    home: Path
    folder: Path
    accounts: Path
    stores: Path
    mapping: Path
    head_office: Path

    @property
    def nights(self) -> int:
        """How many nights of changes the last demo let pass, so that `make dev` goes on from there."""
        path = self.folder / "nights"
        return int(path.read_text()) if path.exists() else 0

    def remember(self, nights: int) -> None:
        """Note the nights."""
        (self.folder / "nights").write_text(str(nights))


def is_configured() -> bool:
    """Whether .env or the environment names a real image database, a database, or real stores."""
    shared = load_settings(Settings)
    named = (load_settings(ImageDbSettings).image_api_url, shared.database_url, shared.accounts)
    return any(value is not None for value in named)


@contextmanager
def environment() -> Iterator[SandboxHome]:
    """Point this process and its children to the sandbox; everything is as it was afterwards.

    With real systems configured the sandbox gets a home of its own, and no setting of theirs reaches it.
    """
    home = load_settings(Settings).home.expanduser().resolve()
    if is_configured():
        home = home.with_name(f"{home.name}-sandbox")
    folder = home / "sandbox"
    folder.mkdir(parents=True, exist_ok=True)
    files = (folder / name for name in ("accounts.toml", "stores.toml", "mappings/demo_mapping.json", "head_office"))
    place = SandboxHome(home, folder, *files)
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
            plytix_serve.KEY_VARIABLE: API_KEY,
            plytix_serve.PASSWORD_VARIABLE: API_PASSWORD,
            **moysklad_serve.secrets_of(),
            "PLYTIX_MAPPING_FOLDER": str(place.mapping.parent),
            "PLYTIX_IMAGES_URL": f"http://{LOOPBACK}:{amazon_serve.IMAGES_PORT}",
            "PLYTIX_STRATEGY": "patch",
            "IMAGE_API_URL": f"http://localhost:{server.PORT}/api/",
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


def write_accounts(place: SandboxHome) -> None:
    """Write the accounts file, when the head office has written its stores, and the mapping file of the sandbox."""
    url, auth_url = (f"http://{LOOPBACK}:{port}" for port in (plytix_serve.PORT, plytix_serve.AUTH_PORT))
    lines = [place.stores.read_text(encoding="utf-8"), *plytix_serve.accounts_of(url, auth_url), ""]
    lines += [*moysklad_serve.accounts_of(moysklad_serve.address()), ""]
    place.accounts.write_text("\n".join(lines), encoding="utf-8")
    if not place.mapping.exists():
        place.mapping.parent.mkdir(parents=True, exist_ok=True)
        write_mapping(demo_mapping(), place.mapping)


def head_office_database(locations: Locations) -> str:
    """The URL of the database of the sandbox's head office, beside ours."""
    return create_database(locations.database_url, HEAD_OFFICE_DATABASE)


def server_commands(place: SandboxHome) -> dict[str, list[str]]:
    """The commands that serve the stand-ins, each in a process of its own, as the demo left them."""
    records = ["--nights", str(place.nights), "--erp-folder", str(place.folder)]
    office = ["--folder", str(place.head_office), "--accounts-file", str(place.stores)]
    return {
        "sandbox": [*PROGRAM, "sandbox", *records],
        "head office": [*PROGRAM, "sandbox-head-office", *office],
        "Amazon": [*PROGRAM, "sandbox-amazon"],
        "Plytix": [*PROGRAM, "sandbox-plytix"],
        "МойСклад": [*PROGRAM, "sandbox-moysklad"],
    }


def wait_until_up(place: SandboxHome) -> None:
    """Return when the stand-ins answer and the ERP's files, the accounts file and the mapping file are written."""
    _wait_for(server.PORT, place.folder / "variants.csv")
    _wait_for(ho_serve.PORT, place.stores)
    write_accounts(place)
    _wait_for(plytix_serve.PORT, place.accounts)
    _wait_for(moysklad_serve.PORT, place.accounts)


def _wait_for(port: int, file: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with suppress(requests.RequestException):
            requests.get(f"http://localhost:{port}/__sandbox__/state", timeout=2).raise_for_status()
            if file.exists():
                return
        time.sleep(0.1)
    raise click.ClickException(f"the sandbox does not answer on port {port}; is the port taken by another program?")
