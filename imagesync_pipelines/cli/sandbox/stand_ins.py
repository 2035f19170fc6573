"""The stand-ins of the outside systems, each with a command that serves it until Ctrl-C, and working on them.

For `imagesync demo` and `imagesync dev`: the variables, the home and the processes of an installation on the sandbox.
"""

import csv
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import click

from imagesync_pipelines.cli.output import retell
from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings
from imagesync_pipelines.sandbox.amazon import server as amazon_server
from imagesync_pipelines.sandbox.amazon.hosts import fetch_from
from imagesync_pipelines.sandbox.amazon.listings import demo_listings
from imagesync_pipelines.sandbox.amazon.mapping import demo_mapping, write_mapping
from imagesync_pipelines.sandbox.head_office import server as head_office_server
from imagesync_pipelines.sandbox.image_db import server as sandbox_server
from imagesync_pipelines.sandbox.moysklad import server as moysklad_server
from imagesync_pipelines.sandbox.moysklad.making import catalogue, jpeg
from imagesync_pipelines.sandbox.plytix import server as plytix_server
from imagesync_pipelines.sandbox.plytix.model import NewProduct
from imagesync_pipelines.sandbox.plytix.pim import Fetch
from imagesync_pipelines.sandbox.server import LOOPBACK, serve
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.database import create_database
from imagesync_pipelines.storage.installation import open_locations
from imagesync_pipelines.web.catalogue.state import CatalogueSettings

_PREFIXES = (
    "IMAGE_API_",
    "IMAGE_DB_",
    "ERP_",
    "EDGE_",
    "HO_",
    "PLYTIX_",
    "MOYSKLAD_",
    "FOLDER_",
    "QUALITY_",
    "IMAGESYNC_",
)
PICTURES = 12


@click.command("sandbox")
@click.option("--port", default=sandbox_server.PORT, show_default=True)
@click.option("--media-port", default=sandbox_server.MEDIA_PORT, show_default=True)
@click.option("--latency", default=0.0, help="seconds that every answer takes")
@click.option("--nights", default=0, help="how many nights of changes have passed")
@click.option("--erp-folder", type=click.Path(path_type=Path), help="write the ERP's two files here")
def sandbox(port: int, media_port: int, latency: float, nights: int, erp_folder: Path | None) -> None:
    """Run the image database's stand-in until Ctrl-C and print the variables that point to it."""
    started = sandbox_server.image_db_sandbox(port=port, media_port=media_port, latency=latency)
    serve(started, retell, partial(sandbox_server.lines_of, nights=nights, erp_folder=erp_folder))


@click.command("sandbox-head-office")
@click.option("--port", default=head_office_server.PORT, show_default=True)
@click.option("--photos", default=150, show_default=True, help="how many there are at the start")
@click.option("--stores", default=2, show_default=True)
@click.option("--original", is_flag=True, help="answer as the first head office did, with its limits and errors")
@click.option("--folder", type=click.Path(path_type=Path), help="where its objects are kept (default: in the home)")
@click.option("--accounts-file", type=click.Path(path_type=Path), help="write the accounts file of its stores here")
def sandbox_head_office(
    port: int, photos: int, stores: int, original: bool, folder: Path | None, accounts_file: Path | None
) -> None:
    """Run the head office's stand-in until Ctrl-C and print the accounts that point to it."""
    started = head_office(folder, port, photos=photos, stores=stores, original=original)
    serve(started, retell, partial(head_office_server.lines_of, accounts_file=accounts_file))


@click.command("sandbox-amazon")
@click.option("--mapping", type=click.Path(dir_okay=False, path_type=Path), help="write the demo's mapping file here")
def sandbox_amazon(mapping: Path | None) -> None:
    """Run Amazon's stand-in (catalogue, images) until Ctrl-C and print where it is."""
    serve(amazon(), retell, partial(amazon_server.lines_of, mapping=mapping))


@click.command("sandbox-plytix")
def sandbox_plytix() -> None:
    """Run Plytix's stand-in until Ctrl-C; it knows the demo's products and fetches images from sandbox-amazon."""
    images = f"http://{LOOPBACK}:{amazon_server.IMAGES_PORT}"
    serve(plytix(partial(fetch_from, images)), retell, plytix_server.lines_of)


@click.command("sandbox-moysklad")
def sandbox_moysklad() -> None:
    """Run МойСклад's stand-in (one main account, two child accounts) until Ctrl-C and print where it is."""
    serve(moysklad(), retell, moysklad_server.lines_of)


def head_office(
    folder: Path | None = None, port: int = head_office_server.PORT, **beginning: Any
) -> AbstractContextManager[head_office_server.HeadOfficeSandbox]:
    """Head office's stand-in on a database beside ours, its objects in the folder (default: in the home)."""
    locations = open_locations(load_settings(Settings))
    database_url = create_database(locations.database_url, "sandbox_head_office")
    objects = folder or locations.home / "sandbox" / "head_office"
    return head_office_server.head_office_sandbox(database_url, folder=objects, port=port, **beginning)


def amazon() -> AbstractContextManager[amazon_server.AmazonSandbox]:
    """Amazon's stand-in with the demo's listings, on its ports."""
    return amazon_server.amazon_sandbox(
        port=amazon_server.PORT, token_port=amazon_server.TOKEN_PORT, images_port=amazon_server.IMAGES_PORT
    )


def plytix(
    fetch: Fetch, limits: Sequence[tuple[int, int]] = plytix_server.LIMITS
) -> AbstractContextManager[plytix_server.PlytixSandbox]:
    """Plytix's stand-in on its ports, from the start with the products of Amazon's, without images."""
    products = [NewProduct(listing.suggested_sku, label=listing.title) for listing in demo_listings()]
    return plytix_server.plytix_sandbox(
        products=products, fetch=fetch, limits=limits, port=plytix_server.PORT, auth_port=plytix_server.AUTH_PORT
    )


def moysklad() -> AbstractContextManager[moysklad_server.MoyskladSandbox]:
    """МойСклад's stand-in on its ports."""
    return moysklad_server.moysklad_sandbox(
        accounts=catalogue(),
        port=moysklad_server.PORT,
        storage_port=moysklad_server.STORAGE_PORT,
        cdn_port=moysklad_server.CDN_PORT,
    )


@dataclass(frozen=True)
class SandboxHome:
    """Where the sandbox's installation is: its home, and below that its folder, by which a home is a sandbox's.

    accounts: the accounts file; stores: the part of it that the sandbox's head office writes. mapping: the mapping file
    of the sandbox's Amazon, alone in its folder. pictures: the folder of pictures that are named by SKU.
    """

    home: Path
    folder: Path
    accounts: Path
    stores: Path
    mapping: Path
    pictures: Path

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
    files = (folder / name for name in ("accounts.toml", "stores.toml", "mappings/demo_mapping.json", "pictures"))
    place = SandboxHome(home, folder, *files)
    before = dict(os.environ)
    for name in before:
        if name.startswith(_PREFIXES):
            del os.environ[name]
    os.environ.update(
        {
            "IMAGESYNC_ENV_FILE": os.devnull,
            "IMAGESYNC_SANDBOX": "true",
            "IMAGESYNC_HOME": str(home),
            "IMAGESYNC_ALLOWED_IMAGE_HOSTS": LOOPBACK,
            "IMAGESYNC_ACCOUNTS": str(place.accounts),
            head_office_server.PASSWORD_VARIABLE: head_office_server.PASSWORD,
            plytix_server.KEY_VARIABLE: plytix_server.API_KEY,
            plytix_server.PASSWORD_VARIABLE: plytix_server.API_PASSWORD,
            **moysklad_server.secrets_of(),
            "PLYTIX_MAPPING_FOLDER": str(place.mapping.parent),
            "PLYTIX_IMAGES_URL": f"http://{LOOPBACK}:{amazon_server.IMAGES_PORT}",
            "PLYTIX_STRATEGY": "patch",
            "IMAGE_API_URL": f"http://localhost:{sandbox_server.PORT}/api/",
            "IMAGE_API_USERNAME": sandbox_server.USERNAME,
            "IMAGE_API_PASSWORD": sandbox_server.PASSWORD,
            "ERP_PARENTS_FILE": str(place.folder / "parents.csv"),
            "ERP_VARIANTS_FILE": str(place.folder / "variants.csv"),
            "FOLDER_PATH": str(place.pictures),
            "FOLDER_URL": f"http://{LOOPBACK}:{load_settings(CatalogueSettings).port}",
        }
    )
    try:
        yield place
    finally:
        os.environ.clear()
        os.environ.update(before)


def write_accounts(place: SandboxHome) -> None:
    """Write the accounts file, when the head office has written its stores, and the mapping file of the sandbox."""
    url, auth_url = (f"http://{LOOPBACK}:{port}" for port in (plytix_server.PORT, plytix_server.AUTH_PORT))
    lines = [place.stores.read_text(encoding="utf-8"), *plytix_server.accounts_of(url, auth_url), ""]
    lines += [*moysklad_server.accounts_of(moysklad_server.address()), ""]
    place.accounts.write_text("\n".join(lines), encoding="utf-8")
    if not place.mapping.exists():
        place.mapping.parent.mkdir(parents=True, exist_ok=True)
        write_mapping(demo_mapping(), place.mapping)


def write_pictures(place: SandboxHome) -> list[Path]:
    """Write pictures named by the SKUs of the ERP's first variants, all but the first; where each of them belongs."""
    with (place.folder / "variants.csv").open(encoding="utf-8", newline="") as file:
        skus = [row["sku"] for row in islice(csv.DictReader(file), PICTURES)]
    place.pictures.mkdir(exist_ok=True)
    pictures = [place.pictures / f"{sku}.jpg" for sku in skus]
    for picture in pictures[1:]:
        picture.write_bytes(jpeg(picture.stem))
    return pictures


@contextmanager
def all_served(place: SandboxHome) -> Iterator[None]:
    """Serve every stand-in in this process, as the demo left them, for the length of a `with` block.

    The ERP's files, the accounts file, the mapping file and the pictures are written when it begins. Raises
    ServingError when a port is taken.
    """
    images = f"http://{LOOPBACK}:{amazon_server.IMAGES_PORT}"
    records = partial(sandbox_server.lines_of, nights=place.nights, erp_folder=place.folder)
    stores = partial(head_office_server.lines_of, accounts_file=place.stores)
    served: tuple[tuple[Callable[[], AbstractContextManager[Any]], Callable[[Any], Iterable[str]]], ...] = (
        (
            partial(sandbox_server.image_db_sandbox, port=sandbox_server.PORT, media_port=sandbox_server.MEDIA_PORT),
            records,
        ),
        (head_office, stores),
        (amazon, amazon_server.lines_of),
        (partial(plytix, partial(fetch_from, images)), plytix_server.lines_of),
        (moysklad, moysklad_server.lines_of),
    )
    with ExitStack() as stack:
        for start, lines in served:
            for line in lines(stack.enter_context(start())):
                retell(line)
        if not place.pictures.exists():
            write_pictures(place)
        write_accounts(place)
        yield
