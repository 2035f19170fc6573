"""`imagesync cleanup`: removing kept image content that nobody used for a while."""

import click

from imagesync_pipelines.cli.output import progress_bars
from imagesync_pipelines.storage.contents import Contents
from imagesync_pipelines.storage.installation import open_installation

MEGABYTE = 1_000_000


@click.command("cleanup")
@click.option(
    "--hours", type=click.IntRange(0, 100_000), required=True, metavar="N", help="what was not used for so many hours"
)
@click.option("--dry-run", is_flag=True, help="only say what would be removed")
def cleanup(hours: int, dry_run: bool) -> None:
    """Remove kept image content that is not used any more; never a file that a run is using."""
    with open_installation() as place, progress_bars() as progress:
        forgotten = Contents(place.engine, place.storage).forget_older(
            hours, dry_run=dry_run, on_progress=lambda done, total: progress("files", done, total)
        )
    verb = "would be removed" if dry_run else "removed"
    click.echo(f"{forgotten.count} files {verb}, {forgotten.bytes} bytes ({forgotten.bytes / MEGABYTE:.1f} MB)")
    if forgotten.in_use:
        click.echo(f"  {forgotten.in_use} files stay: a run is using them")
