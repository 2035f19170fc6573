"""`imagesync sandbox` and its siblings: one stand-in in a process of its own, until Ctrl-C."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import click

from imagesync_pipelines.cli.sandbox import installation
from imagesync_pipelines.sandbox.amazon import server as amazon_server
from imagesync_pipelines.sandbox.amazon.hosts import fetch_from
from imagesync_pipelines.sandbox.amazon.listings import demo_listings
from imagesync_pipelines.sandbox.head_office import server as head_office_server
from imagesync_pipelines.sandbox.image_db import server as sandbox_server
from imagesync_pipelines.sandbox.moysklad import server as moysklad_server
from imagesync_pipelines.sandbox.moysklad.making import catalogue
from imagesync_pipelines.sandbox.plytix import server as plytix_server
from imagesync_pipelines.sandbox.plytix.model import NewProduct
from imagesync_pipelines.sandbox.plytix.pim import Fetch
from imagesync_pipelines.sandbox.server import LOOPBACK, serve
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.installation import open_locations


@click.command("sandbox")
@click.option("--port", default=sandbox_server.PORT, show_default=True)
@click.option("--media-port", default=sandbox_server.MEDIA_PORT, show_default=True)
@click.option("--latency", default=0.0, help="seconds that every answer takes")
@click.option("--nights", default=0, help="how many nights of changes have passed")
@click.option("--erp-folder", type=click.Path(path_type=Path), help="write the ERP's two files here")
def sandbox(port: int, media_port: int, latency: float, nights: int, erp_folder: Path | None) -> None:
    """Run the image database's stand-in until Ctrl-C and print the variables that point to it."""
    started = sandbox_server.image_db_sandbox(port=port, media_port=media_port, latency=latency)
    serve(started, click.echo, partial(sandbox_server.lines_of, nights=nights, erp_folder=erp_folder))


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
    locations = open_locations(load_settings(Settings))
    started = head_office_server.head_office_sandbox(
        installation.head_office_database(locations),
        folder=folder or locations.home / "sandbox" / "head_office",
        port=port,
        photos=photos,
        stores=stores,
        original=original,
    )
    serve(started, click.echo, partial(head_office_server.lines_of, accounts_file=accounts_file))


@click.command("sandbox-amazon")
@click.option("--mapping", type=click.Path(dir_okay=False, path_type=Path), help="write the demo's mapping file here")
def sandbox_amazon(mapping: Path | None) -> None:
    """Run Amazon's stand-in (catalogue, images) until Ctrl-C and print where it is."""
    serve(amazon(), click.echo, partial(amazon_server.lines_of, mapping=mapping))


@click.command("sandbox-plytix")
def sandbox_plytix() -> None:
    """Run Plytix's stand-in until Ctrl-C; it knows the demo's products and fetches images from sandbox-amazon."""
    images = f"http://{LOOPBACK}:{amazon_server.IMAGES_PORT}"
    serve(plytix(partial(fetch_from, images)), click.echo, plytix_server.lines_of)


@click.command("sandbox-moysklad")
def sandbox_moysklad() -> None:
    """Run МойСклад's stand-in (one main account, two child accounts) until Ctrl-C and print where it is."""
    serve(moysklad(), click.echo, moysklad_server.lines_of)


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
