"""`imagesync sync image-db` and `imagesync image-db …`: the image database on a terminal."""

from typing import Any

import click

from imagesync_pipelines.cli.output import print_outcome, progress_bars
from imagesync_pipelines.defs import pages, runs
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.settings import Settings, load_settings

CONNECTOR = "image_db"


def _warn(text: str) -> None:
    click.echo(text, err=True)


@click.command("image-db")
@click.option("--dry-run", is_flag=True, help="stop after the plan: nothing is written to product_image")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="read N pages only (never removes)")
@click.option("--page-size", type=click.IntRange(min=1), metavar="N", help="sent to the API as is (default 100)")
@click.option("--skip-pages", type=click.IntRange(min=0), default=0, metavar="N", help="start after page N")
@click.option("--force", is_flag=True, help="write unchanged rows too; never a wipe, pins stay")
@click.option("--sku", "skus", multiple=True, metavar="SKU", help="this product only; may be given several times")
@click.option(
    "--allow-mass-delete",
    "--lift-brake",
    "allow_mass_delete",
    is_flag=True,
    help="let removals happen that the deletion limits would hold back",
)
@click.pass_context
def sync(context: click.Context, /, **options: Any) -> None:
    """Image database → product_image."""
    settings = load_settings(Settings)
    with progress_bars() as progress:
        outcome = runs.only(runs.sync(CONNECTOR, settings=settings, progress=progress, **options))
    context.exit(print_outcome(outcome, settings.webserver_url))


@click.command("reset-pages")
def reset_pages() -> None:
    """Forget the page partitions and stored pages, after the block size was changed; product_image is not touched."""
    with runs.opened() as (installation, instance):
        removed = pages.reset_pages(installation, instance, connector_named(CONNECTOR))
    click.echo(f"forgot {removed} page blocks; the next synchronisation reads all pages again")


@click.command("discover")
def discover() -> None:
    """Ask the image database how many pages it has and make the page partitions equal to that (one call)."""
    with runs.opened() as (installation, instance):
        found = pages.discover_pages(instance, connector_named(CONNECTOR), installation.settings, _warn)
    click.echo(found.sentence())
