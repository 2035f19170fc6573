"""`imagesync demo`: from nothing to four tables: a catalogue of real size, two edge stores, Plytix, МойСклад."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import click
import sqlalchemy as sa

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.cli.output import EXIT_CODES, print_table, progress_bars
from imagesync_pipelines.cli.sandbox import demo_catalogue, demo_moysklad, installation
from imagesync_pipelines.connectors.edge.accounts import edge_stores
from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.connectors.edge.store import opened_store
from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.amazon import server as amazon_serve
from imagesync_pipelines.sandbox.amazon.server import amazon_sandbox
from imagesync_pipelines.sandbox.head_office import server as ho_serve
from imagesync_pipelines.sandbox.head_office.server import demo_changes as office_changes
from imagesync_pipelines.sandbox.head_office.server import head_office_sandbox
from imagesync_pipelines.sandbox.image_db import server
from imagesync_pipelines.sandbox.image_db.server import image_db_sandbox
from imagesync_pipelines.sandbox.plytix import server as plytix_serve
from imagesync_pipelines.sandbox.plytix.server import plytix_sandbox
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.embedded import stop_server
from imagesync_pipelines.storage.installation import open_installation, open_locations

EDGE_COLUMNS = ("run", "store", "photos", "downloaded", "verified", "failed", "seconds", "status")
COLUMNS = (
    "run", "added", "updated", "removed", "kept", "rejected", "products affected", "calls", "seconds", "status"
)  # fmt: skip

# The limits of a larger plan of Plytix: nobody who watches a demonstration wants to wait for the next window.
PLYTIX_LIMITS = ((50, 10), (5000, 3600))
MEGABYTE = 1024 * 1024

_HELD = """
SELECT count(*), count(*) FILTER (WHERE sync_status = 'synced' AND md5(image_binary) = checksum),
       count(*) FILTER (WHERE sync_status = 'failed')
  FROM {table}
"""


@dataclass(frozen=True)
class Line:
    """One run of the demonstration."""

    name: str
    outcome: runs.RunOutcome

    def cells(self) -> tuple[object, ...]:
        """The run as a row of the table."""
        summary = self.outcome.summary
        names = ("images_added", "images_updated", "images_deleted", "kept", "rejected", "products_affected")
        numbers = [summary.get(name, 0) for name in (*names, "api_calls", "seconds")]
        return (self.name, *numbers, str(self.outcome.status))


@dataclass(frozen=True)
class EdgeLine:
    """One run of a store, and what its database holds after it: photos, verified, failed."""

    name: str
    store: str
    outcome: runs.RunOutcome
    held: tuple[int, int, int]

    def cells(self) -> tuple[object, ...]:
        """The run as a row of the table."""
        summary = self.outcome.summary
        photos, verified, failed = self.held
        moved = f"{summary.get('bytes_downloaded', 0) / MEGABYTE:.1f} MB"
        seconds = summary.get("seconds", 0)
        return (self.name, self.store, photos, moved, verified, failed, seconds, str(self.outcome.status))


@dataclass(frozen=True)
class PlytixLine:
    """One run into Plytix, and the calls that it made to the PIM."""

    name: str
    outcome: runs.RunOutcome
    calls: int


@click.command("demo")
@click.pass_context
def demo(context: click.Context) -> None:
    """Synchronise made-up catalogues: an image database, two edge stores, Amazon into Plytix, МойСклад."""
    with installation.environment() as place:
        _start_afresh(place)
        place.remember(0)
        click.echo(f"A made-up image database and ERP of real size, kept in {place.home}.")
        lines = []
        with image_db_sandbox(port=server.PORT, media_port=server.MEDIA_PORT) as sandbox:
            sandbox.write_erp_csv(place.folder)
            lines.append(_run("first run"))
            lines.append(_run("nothing changed"))
            changes = server.demo_changes(sandbox)
            place.remember(1)
            lines.append(_run(f"after {len(changes)} changes"))
            pages = demo_catalogue.catalogue_pages()
        photos = _edge_runs(place)
        listings = _plytix_runs()
        children = demo_moysklad.moysklad_runs()
    print_table("image database → product_image", COLUMNS, [line.cells() for line in lines])
    print_table("head office → edge stores", EDGE_COLUMNS, [line.cells() for line in photos])
    _print_reports(listings)
    demo_moysklad.print_lines(children)
    demo_catalogue.print_pages(pages)
    everything: list[Line | EdgeLine | PlytixLine | demo_moysklad.MoyskladLine] = [
        *lines, *photos, *listings, *children
    ]  # fmt: skip
    for name, outcome in [(line.name, line.outcome) for line in everything]:
        for text in (*outcome.summary.get("warnings", ()), *([outcome.error] if outcome.error else [])):
            click.echo(f"  {name}: {text}")
    where = demo_catalogue.public_address()
    click.echo(f"\nLook at the pictures:          make dev   (or: imagesync serve), then open {where}")
    click.echo("Look at it in the Dagster UI:  make dev   (or: imagesync dev), then open the address it prints.")
    click.echo("Past runs:                     imagesync history")
    click.echo("The last plan:                 imagesync plan")
    if not demo_catalogue.all_answer(pages):
        raise click.ClickException("a page of the catalogue does not answer; see the table of its pages above")
    context.exit(max(EXIT_CODES[line.outcome.status] for line in everything))


def _run(name: str) -> Line:
    click.echo(f"  {name} …")
    with progress_bars() as progress:
        return Line(name, runs.only(runs.sync("image_db", progress=progress)))


def _edge_runs(place: installation.SandboxHome) -> list[EdgeLine]:
    """Head office to two stores: everything, then what changed in a day, then nothing."""
    database_url = installation.head_office_database(open_locations(load_settings(Settings)))
    with head_office_sandbox(database_url, folder=place.head_office, port=ho_serve.PORT) as office:
        ho_serve.write_accounts(office, place.stores)
        installation.write_accounts(place)
        click.echo(f"A made-up head office with {len(office.stores)} stores; each store has a database of its own.")
        lines = _edge_run("everything", full=True)
        changes = office_changes(office)
        lines += _edge_run(f"after {len(changes)} changes", full=False)
        lines += _edge_run("nothing changed", full=False)
    return lines


def _edge_run(name: str, *, full: bool) -> list[EdgeLine]:
    click.echo(f"  {name} …")
    with progress_bars() as progress:
        found = runs.sync(EDGE, full=full, progress=progress)
        return [EdgeLine(name, store, run, _held(store)) for store, run in found]


def _plytix_runs() -> list[PlytixLine]:
    """The demo's mapping file into Plytix, twice."""
    lines = []
    with (
        amazon_sandbox(
            port=amazon_serve.PORT, token_port=amazon_serve.TOKEN_PORT, images_port=amazon_serve.IMAGES_PORT
        ) as amazon,
        plytix_sandbox(
            products=installation.plytix_products(),
            fetch=amazon.fetch,
            limits=PLYTIX_LIMITS,
            port=plytix_serve.PORT,
            auth_port=plytix_serve.AUTH_PORT,
        ) as plytix,
    ):
        click.echo("A made-up Plytix with 20 products, and Amazon's listings of them in a mapping file.")
        for name in ("first run", "nothing changed"):
            click.echo(f"  {name} …")
            plytix.ledger.clear()
            with progress_bars() as progress:
                ((_, outcome),) = runs.sync("plytix", progress=progress)
            lines.append(PlytixLine(name, outcome, plytix.ledger.count()))
    return lines


def _print_reports(lines: Sequence[PlytixLine]) -> None:
    """The reports of the runs into Plytix, side by side, one number a row."""
    names = [name for name, value in lines[0].outcome.report.items() if isinstance(value, int)]
    rows = [(name, *(line.outcome.report.get(name) for line in lines)) for name in names]
    rows.append(("errors", *(len(line.outcome.report.get("errors", ())) for line in lines)))
    rows.append(("calls to Plytix", *(line.calls for line in lines)))
    print_table("Amazon → Plytix: the report of both runs", ("", *(line.name for line in lines)), rows)


def _held(name: str) -> tuple[int, int, int]:
    """What a store's database holds: photos, those whose bytes PostgreSQL itself finds to be as listed, failed ones."""
    with open_installation() as place:
        account = edge_stores(load_accounts(place.settings)).named(name)
        with opened_store(place, account) as database, database.engine.connect() as connection:
            row = connection.execute(sa.text(_HELD.format(table=database.table))).one()
    return int(row[0]), int(row[1]), int(row[2])


def _start_afresh(place: installation.SandboxHome) -> None:
    """Empty the sandbox's home, so that the first run is a first run. Only a home that a sandbox made is emptied."""
    entries = {entry.name for entry in place.home.iterdir()}
    if entries - {"sandbox"} and not (place.folder / "nights").exists():
        raise click.ClickException(
            f"{place.home} holds something that the demo did not make. Set IMAGESYNC_HOME to another folder, "
            "or remove it with `imagesync clean`."
        )
    if entries - {"sandbox"}:
        stop_server(place.home)
        for entry in place.home.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    place.folder.mkdir(parents=True, exist_ok=True)
