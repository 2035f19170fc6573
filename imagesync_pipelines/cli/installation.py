"""`imagesync env` and `imagesync clean`: the home of this installation."""

import shlex
import shutil
from pathlib import Path

import click

from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.embedded import leave_running, stop_server
from imagesync_pipelines.storage.home import open_locations


@click.command()
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


@click.command()
def clean() -> None:
    """Stop the embedded database and remove IMAGESYNC_HOME: all runs, plans, raw pages and product images in it."""
    home = load_settings(Settings).home.resolve()
    if not home.exists():
        click.echo(f"{home} is not there; nothing to clean")
        return
    if not _is_a_home(home):
        raise click.ClickException(f"{home} does not look like an IMAGESYNC_HOME; remove it by hand if you mean it")
    stop_server(home)
    shutil.rmtree(home)
    click.echo(f"removed {home}")


def _is_a_home(path: Path) -> bool:
    """A folder that our own start made: it holds nothing but what open_locations makes."""
    return (path / "dagster").is_dir() or (path / "postgres").is_dir()
