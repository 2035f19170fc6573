"""`imagesync image-db …`: Upkeep of the image database's pages."""

from functools import partial

import click

from imagesync_pipelines.cli.output import retell, say
from imagesync_pipelines.defs import pages, runs
from imagesync_pipelines.languages import ngettext
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.sync.connector import Connector


def _paged() -> Connector:
    """The connector whose source is read in blocks of pages."""
    return next(one for one in connectors() if one.pages is not None)


@click.command("reset-pages")
def reset_pages() -> None:
    """Forget the page partitions and stored pages, after the block size was changed; product_image is not touched."""
    with runs.opened() as (installation, instance):
        removed = pages.reset_pages(installation, instance, _paged())
    said = ngettext(
        "forgot {n} page blocks; the next synchronisation reads all pages again",
        "forgot {n} page blocks; the next synchronisation reads all pages again",
        removed,
    )
    say(said.format(n=removed))


@click.command("discover")
def discover() -> None:
    """Ask the image database how many pages it has and make the page partitions equal to that (one call)."""
    with runs.opened() as (installation, instance):
        found = pages.discover_pages(instance, _paged(), installation.settings, partial(retell, err=True))
    retell(found.sentence())
