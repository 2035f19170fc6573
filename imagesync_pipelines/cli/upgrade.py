"""`imagesync upgrade`: the databases brought to this program, when a person says so."""

import os

import click
import dagster as dg

from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.database import HEAD, open_database
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.installation import open_locations
from imagesync_pipelines.storage.upgrading import Migration, outlook


@click.command("upgrade")
@click.option("--dry-run", is_flag=True, help="only say which migrations would run, and of how many rows")
def upgrade(dry_run: bool) -> None:
    """Bring our database, and Dagster's, to this program; refused while runs are under way.

    Every command does it by itself when it opens an older database. This one says before what it will do, and does
    Dagster's too. All migrations are one transaction: either all of them are done, or nothing is.
    """
    locations = open_locations(load_settings(Settings))
    found = outlook(locations.database_url)
    click.echo(f"our database: version {found.version or 'none yet'}, this program: {HEAD}")
    for one in found.missing:
        click.echo(_line(one))
    if not found.missing:
        click.echo("  nothing is missing")
    if found.runs:
        raise StorageError(
            f"{found.runs} runs are under way. Let them end, or terminate them; stop the daemon so that no further one "
            "starts; then type it again. Nothing was changed."
        )
    if dry_run:
        click.echo("nothing was changed; make a backup (docs/operating.md), then type `imagesync upgrade`")
        return
    if found.missing:
        open_database(locations.database_url).dispose()
        click.echo(f"our database is at version {HEAD}")
    os.environ.update(locations.environment())
    with dg.DagsterInstance.from_config(str(locations.dagster_home)) as instance:
        instance.upgrade()
    click.echo("Dagster's tables are those of this program")


def _line(one: Migration) -> str:
    sizes = [f"{table.name} ({table.rows:,} rows, {table.bytes / 1_000_000:,.0f} MB)" for table in one.tables]
    return f"  {one.revision}  {one.what}" + (f" Names {', '.join(sizes)}." if sizes else "")
