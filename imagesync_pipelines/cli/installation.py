"""`imagesync env`, `clean`, `cleanup` and `recount`: the home of this installation, and what it keeps."""

import os
import shlex
from pathlib import Path

import click
import sqlalchemy as sa
from pydantic_settings import BaseSettings

from imagesync_pipelines.cli.output import confirm, figures, progress_bars, retell, say
from imagesync_pipelines.languages import N_, _, ngettext, retold
from imagesync_pipelines.products.export_rows import snapshot
from imagesync_pipelines.products.lists import rebuild_lists, wrong_lists
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import PLACE, Settings, load_settings
from imagesync_pipelines.storage.contents import Contents
from imagesync_pipelines.storage.embedded import SUPERUSER, EmbeddedServer, ensure_server, leave_running, stop_server
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.home import ours_in, remove
from imagesync_pipelines.storage.installation import open_installation, open_locations

# So many of what is not ours are named.
_NAMED = 5
# Databases of the embedded server, what people made there, and its table.
_OF_PEOPLE = (
    ("imagesync", N_("pins"), "imagesync.pin"),
    ("imagesync", N_("orders of pictures"), "imagesync.picture_order"),
    ("imagesync", N_("users"), "imagesync.web_user"),
    ("imagesync", N_("API keys"), "imagesync.api_key"),
    ("head_office", N_("head office accounts"), "head_office.account"),
)


@click.command("env")
def env() -> None:
    """Print what commands need in any folder, Dagster's own ones too: eval "$(imagesync env)".

    The embedded database is left running for them.
    """
    settings = load_settings(Settings)
    locations = open_locations(settings)
    exported = {**_paths(), **locations.environment()}
    for name, value in sorted(exported.items()):
        click.echo(f"export {name}={shlex.quote(value)}")
    if settings.database_url is None:
        leave_running(locations.home)


def _paths() -> dict[str, str]:
    """The variables of files and folders that are relative, `.env` among them, as they are from here."""
    file = Path(os.environ.get("IMAGESYNC_ENV_FILE", ".env"))
    found = {"IMAGESYNC_ENV_FILE": str(file.absolute())} if file.exists() else {}
    kinds: list[type[BaseSettings]] = [Settings, *(one.settings for one in connectors())]
    for kind in kinds:
        settings, prefix = load_settings(kind), str(kind.model_config.get("env_prefix") or "")
        for name, field in kind.model_fields.items():
            value = getattr(settings, name)
            if value and (isinstance(value, Path) or PLACE in field.metadata) and "://" not in str(value):
                found[(prefix + name).upper()] = str(Path(value).expanduser().absolute())
    return found


@click.command("clean")
@click.option("--yes", is_flag=True, help="do not ask; for scripts")
def clean(yes: bool) -> None:
    """Stop the embedded database and remove what we made in IMAGESYNC_HOME, after showing it and asking.

    Runs, plans, raw pages and product images, and what people made in the embedded database: pins, users and keys.
    Anything else in that folder stays, and the folder with it.
    """
    home = load_settings(Settings).home.expanduser().resolve()
    if not home.exists():
        say(_("{folder} is not there; nothing to clean").format(folder=home))
        return
    # A folder that our own start made.
    if not any((home / name).is_dir() for name in ("dagster", "postgres")):
        raise click.ClickException(f"{home} does not look like an IMAGESYNC_HOME; remove it by hand if you mean it")
    ours = ours_in(home)
    left = sorted({place.name for place in home.iterdir()} - {place.name for place in ours})
    say(_("What we made in {folder}:").format(folder=home))
    for place in ours:
        size = figures(f"{_size(place) / 1_000_000:,.1f}")
        say(f"  {place.name:<20} {size:>12} MB")
    for line in _by_people(home):
        say(f"  {line}", fg="yellow")
    if left:
        more = len(left) - _NAMED
        said = _("Not ours, stays: {names} and {n} more") if more > 0 else _("Not ours, stays: {names}")
        say(said.format(names=", ".join(left[:_NAMED]), n=more))
    if not yes:
        confirm(_("Remove what we made? It cannot be brought back"))
    stop_server(home)
    for place in ours_in(home):
        remove(place)
    if left:
        say(_("removed what was ours in {folder}").format(folder=home))
        return
    home.rmdir()
    say(_("removed {folder}").format(folder=home))


def _size(place: Path) -> int:
    """The bytes of a file, or of everything in a folder."""
    within = [place, *(place.rglob("*") if place.is_dir() and not place.is_symlink() else ())]
    return sum(path.lstat().st_size for path in within if path.is_symlink() or path.is_file())


def _by_people(home: Path) -> list[str]:
    """A sentence about what people made in the embedded database of a home, which no synchronisation brings back."""
    if not (home / "postgres").is_dir():
        return []
    try:
        server = ensure_server(home)
        found = [
            f"{number} {retold(what)}"
            for database, what, table in _OF_PEOPLE
            if (number := _rows(server, database, table))
        ]
    except (StorageError, sa.exc.DBAPIError) as error:
        said = _("its database cannot be asked for pins, users and keys, which go with it: {why}")
        return [said.format(why=retold(str(error)))]
    return [_("in its database, and gone with it: {what}").format(what=", ".join(found))] if found else []


def _rows(server: EmbeddedServer, database: str, table: str) -> int:
    """How many rows a table has; none when it or its database is not there."""
    engine = sa.create_engine(server.url(SUPERUSER, "psycopg"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        if connection.scalar(sa.text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": database}) is None:
            return 0
    engine = sa.create_engine(server.url(database, "psycopg"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        if connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": table}) is None:
            return 0
        return int(connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) or 0)  # noqa: S608 - our own table


@click.command("cleanup")
@click.option(
    "--hours",
    type=click.IntRange(0, 100_000),
    metavar="N",
    help="only content of pictures that was not used for so many hours, also what an undo "
    "would bring back  [default: every kind, IMAGESYNC_KEEP_*]",
)
@click.option("--dry-run", is_flag=True, help="only say what would be removed")
def cleanup(hours: int | None, dry_run: bool) -> None:
    """Remove what is old: pages, plans, hand-overs of runs, quarantine, pictures, alerts and Dagster's events.

    Never what a run is using, the newest that proves something, what a stored plan was made from, or the plan that was
    applied last. One that was stopped goes on where it was.
    """
    if hours is None:
        from imagesync_pipelines.defs import cleanup as clean
        from imagesync_pipelines.defs import runs

        with runs.opened() as (place, instance), progress_bars() as progress:
            done = []
            for cleaned in clean.clean_up(place, instance, dry_run=dry_run, progress=progress):
                retell(clean.sentence(cleaned, dry_run=dry_run))
                done.append(cleaned)
        total, size = sum(one.count for one in done), sum(one.bytes or 0 for one in done)
        said = _("{n} would be removed, {size} MB") if dry_run else _("{n} removed, {size} MB")
        say(said.format(n=total, size=figures(f"{size / 1_000_000:,.1f}")), bold=True)
        return
    with open_installation() as place, progress_bars() as progress:
        forgotten = Contents(place.engine, place.storage).forget_older(
            hours, dry_run=dry_run, on_progress=lambda done, total: progress(N_("files"), done, total)
        )
    said = ngettext(
        "{n} files would be removed, {bytes} bytes ({size} MB)",
        "{n} files would be removed, {bytes} bytes ({size} MB)",
        forgotten.count,
    )
    if not dry_run:
        said = ngettext(
            "{n} files removed, {bytes} bytes ({size} MB)",
            "{n} files removed, {bytes} bytes ({size} MB)",
            forgotten.count,
        )
    megabytes = figures(f"{forgotten.bytes / 1_000_000:.1f}")
    say(said.format(n=forgotten.count, bytes=forgotten.bytes, size=megabytes))
    if forgotten.in_use:
        said = ngettext("{n} file stays: a run is using it", "{n} files stay: a run is using them", forgotten.in_use)
        say("  " + said.format(n=forgotten.in_use))


@click.command("recount")
@click.option("--dry-run", is_flag=True, help="only say what differs")
def recount(dry_run: bool) -> None:
    """Compare the catalogue's lists and counts with the products and images, and make them anew where they differ.

    They are kept with every write, so nothing should differ; who writes waits while they are made.
    """
    with open_installation() as place:
        with snapshot(place.engine) as connection:
            wrong = wrong_lists(connection)
        if wrong and not dry_run:
            with place.engine.begin() as connection:
                rebuild_lists(connection)
    for line in wrong:
        say(f"  {retold(line)}", fg="yellow")
    if not wrong:
        say(_("lists and counts are what the tables say; nothing differs"))
    elif not dry_run:
        say(_("they were made anew"))
