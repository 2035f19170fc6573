"""`imagesync upgrade`: the databases brought to this program, when a person says so."""

import os
from collections.abc import Sequence

import click
import dagster as dg
import sqlalchemy as sa

from imagesync_pipelines.cli.output import figures, say
from imagesync_pipelines.defs import instance_storage
from imagesync_pipelines.languages import _, ngettext, retold
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
    Dagster's too. All migrations of ours are one transaction: either all of them are done, or nothing is.
    """
    locations = open_locations(load_settings(Settings))
    found = outlook(locations.database_url)
    version = found.version or _("none yet")
    say(_("our database: version {version}, this program: {newest}").format(version=version, newest=HEAD))
    _tell(found.missing)
    revision, missing = instance_storage.outlook(locations.dagster_url)
    if revision:
        say(_("Dagster's tables: revision {revision}").format(revision=revision))
        _tell(missing)
    else:
        say(_("Dagster's tables: none yet"))
    if found.runs:
        raise StorageError(
            f"{found.runs} runs are under way. Let them end, or terminate them; stop the daemon so that no further one "
            "starts; then type it again. Nothing was changed."
        )
    if dry_run:
        say(_("nothing was changed; make a backup (docs/operating.md), then type `imagesync upgrade`"))
        return
    if found.missing:
        open_database(locations.database_url).dispose()
        say(_("our database is at version {version}").format(version=HEAD))
    os.environ.update(locations.environment())
    with dg.DagsterInstance.from_config(str(locations.dagster_home)) as instance:
        try:
            instance.upgrade()
        except sa.exc.DBAPIError as error:
            raise StorageError(
                f"Dagster's tables are not those of this program yet: {' '.join(str(error.orig).split())}. Put right "
                "what is said here, and type `imagesync upgrade` again: Dagster's migrations go on where they stopped."
            ) from error
    say(_("Dagster's tables are those of this program"))


def _tell(missing: Sequence[Migration]) -> None:
    for one in missing:
        say(_line(one))
    if not missing:
        say("  " + _("nothing is missing"))


def _line(one: Migration) -> str:
    said = f"  {one.revision}  {retold(one.what)}"
    tables = []
    for table in one.tables:
        size = ngettext("{table} ({rows} rows, {size} MB)", "{table} ({rows} rows, {size} MB)", table.rows)
        rows, megabytes = figures(f"{table.rows:,}"), figures(f"{table.bytes / 1_000_000:,.0f}")
        tables.append(size.format(table=table.name, rows=rows, size=megabytes))
    return said + (" " + _("Names {tables}.").format(tables=", ".join(tables)) if tables else "")
