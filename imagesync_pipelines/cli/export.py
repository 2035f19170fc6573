"""`imagesync export`: the images of all products as a file."""

import sys
from pathlib import Path

import click
from upath import UPath

from imagesync_pipelines.cli.output import figures, say
from imagesync_pipelines.languages import ngettext
from imagesync_pipelines.products.exports import Format, export
from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.settings import load_settings
from imagesync_pipelines.storage.files import write_stream
from imagesync_pipelines.storage.home import hand_out
from imagesync_pipelines.storage.installation import open_installation


@click.command("export")
@click.argument("wanted", metavar="FORMAT", type=click.Choice([one.value for one in Format]))
@click.option(
    "--to",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="file to write, replaced whole; standard output without it",
)
def export_images(wanted: str, path: Path | None) -> None:
    """Write the images that are shown for every product: csv, ndjson, parquet, or a feed for Google Merchant."""
    own_images_first = load_settings(ShowingSettings).image_db_own_images_first
    with open_installation() as place:
        parts = export(place.engine, Format(wanted), own_images_first=own_images_first)
        if path is not None:
            size = write_stream(UPath(path.absolute()), parts)
            hand_out(path)
            said = ngettext("{path}: {bytes} bytes", "{path}: {bytes} bytes", size)
            say(said.format(path=path, bytes=figures(f"{size:,}")), err=True)
            return
        for part in parts:
            sys.stdout.buffer.write(part)
