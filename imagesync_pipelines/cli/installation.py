"""`imagesync env`, `clean` and `cleanup`: the home of this installation, and what it keeps."""

import shlex
import shutil

import click

from imagesync_pipelines.cli.output import progress_bars
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.contents import Contents
from imagesync_pipelines.storage.embedded import leave_running, stop_server
from imagesync_pipelines.storage.installation import open_installation, open_locations

# What we make in a home, by name; what begins with "postgres." is the embedded server's.
_OURS = ("dagster", "storage", "postgres", "objects", "sandbox", "decoding", "catalogue.secret", "head_office.secret")


@click.command("env")
def env() -> None:
    """Print what Dagster's own commands need: eval "$(imagesync env)".

    The embedded database is left running for them.
    """
    settings = load_settings(Settings)
    locations = open_locations(settings)
    for name, value in sorted(locations.environment().items()):
        click.echo(f"export {name}={shlex.quote(value)}")
    if settings.database_url is None:
        leave_running(locations.home)


@click.command("clean")
def clean() -> None:
    """Stop the embedded database and remove what we made in IMAGESYNC_HOME: runs, plans, raw pages, product images.

    Anything else in that folder stays, and the folder with it.
    """
    home = load_settings(Settings).home.resolve()
    if not home.exists():
        click.echo(f"{home} is not there; nothing to clean")
        return
    # A folder that our own start made.
    if not any((home / name).is_dir() for name in ("dagster", "postgres")):
        raise click.ClickException(f"{home} does not look like an IMAGESYNC_HOME; remove it by hand if you mean it")
    stop_server(home)
    for place in list(home.iterdir()):
        if place.name in _OURS or place.name.startswith("postgres."):
            shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink()
    left = sorted(place.name for place in home.iterdir())
    if left:
        shown = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
        click.echo(f"removed what is ours in {home}; this is not, and stays: {shown}")
        return
    home.rmdir()
    click.echo(f"removed {home}")


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
    click.echo(f"{forgotten.count} files {verb}, {forgotten.bytes} bytes ({forgotten.bytes / 1_000_000:.1f} MB)")
    if forgotten.in_use:
        click.echo(f"  {forgotten.in_use} files stay: a run is using them")
