"""`imagesync demo`: from nothing to four tables: a catalogue of real size, two edge stores, Plytix, МойСклад."""

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
import requests
import sqlalchemy as sa

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.cli.output import EXIT_CODES, print_table, progress_bars
from imagesync_pipelines.cli.sandbox import installation
from imagesync_pipelines.connectors.edge.accounts import edge_stores
from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.connectors.edge.store import opened_store
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.history import history
from imagesync_pipelines.sandbox.amazon import server as amazon_serve
from imagesync_pipelines.sandbox.amazon.server import amazon_sandbox
from imagesync_pipelines.sandbox.head_office import server as ho_serve
from imagesync_pipelines.sandbox.head_office.server import demo_changes as office_changes
from imagesync_pipelines.sandbox.head_office.server import head_office_sandbox
from imagesync_pipelines.sandbox.image_db import server
from imagesync_pipelines.sandbox.image_db.server import image_db_sandbox
from imagesync_pipelines.sandbox.moysklad import server as moysklad_serve
from imagesync_pipelines.sandbox.moysklad.making import MAIN, catalogue
from imagesync_pipelines.sandbox.moysklad.mutation import night
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox, moysklad_sandbox
from imagesync_pipelines.sandbox.plytix import server as plytix_serve
from imagesync_pipelines.sandbox.plytix.server import plytix_sandbox
from imagesync_pipelines.sandbox.server import LOOPBACK, bind, running
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.embedded import stop_server
from imagesync_pipelines.storage.installation import open_installation, open_locations
from imagesync_pipelines.web.catalogue.app import build_app
from imagesync_pipelines.web.catalogue.settings import CatalogueSettings
from imagesync_pipelines.web.catalogue.state import open_catalogue

COLUMNS = (
    "run", "added", "updated", "removed", "kept", "rejected", "products affected", "calls", "seconds", "status"
)  # fmt: skip
EDGE_COLUMNS = ("run", "store", "photos", "downloaded", "verified", "failed", "seconds", "status")
MOYSKLAD_COLUMNS = (
    "run", "account", "mode", "added", "updated", "removed", "images there", "calls", "the earlier way", "status"
)  # fmt: skip
PAGE_COLUMNS = ("page", "answer", "bytes", "ms")
CHANGED = ("images_added", "images_updated", "images_deleted")

# The limits of a larger plan of Plytix: nobody who watches a demonstration wants to wait for the next window.
PLYTIX_LIMITS = ((50, 10), (5000, 3600))
MEGABYTE = 1024 * 1024
SECONDS = 60

_PRODUCT = re.compile(r'href="(/products/\d+)"')
_PICTURE = re.compile(r'src="(/media/[^"]+)"')
_HELD = """
SELECT count(*), count(*) FILTER (WHERE sync_status = 'synced' AND md5(image_binary) = checksum),
       count(*) FILTER (WHERE sync_status = 'failed')
  FROM {table}
"""


@dataclass(frozen=True)
class Line:
    """One run of the demonstration, and what its row of the table shows between its name and its status."""

    name: str
    outcome: runs.RunOutcome
    shown: Sequence[Any]

    def cells(self) -> tuple[Any, ...]:
        """The run as a row of the table."""
        return (self.name, *self.shown, str(self.outcome.status))


@click.command("demo")
@click.pass_context
def demo(context: click.Context) -> None:
    """Synchronise made-up catalogues: an image database, two edge stores, Amazon into Plytix, МойСклад."""
    with installation.environment() as place:
        _start_afresh(place)
        place.remember(0)
        click.echo(f"A made-up image database and ERP of real size, kept in {place.home}.")
        with image_db_sandbox(port=server.PORT, media_port=server.MEDIA_PORT) as sandbox:
            sandbox.write_erp_csv(place.folder)
            lines = [_image_db_run("first run"), _image_db_run("nothing changed")]
            changes = server.demo_changes(sandbox)
            place.remember(1)
            lines.append(_image_db_run(f"after {len(changes)} changes"))
            pages = _catalogue_pages()
        photos = _edge_runs(place)
        listings = _plytix_runs()
        children = _moysklad_runs()
    print_table("image database → product_image", COLUMNS, [line.cells() for line in lines])
    print_table("head office → edge stores", EDGE_COLUMNS, [line.cells() for line in photos])
    _print_reports(listings)
    print_table("main account of МойСклад → child accounts", MOYSKLAD_COLUMNS, [line.cells() for line in children])
    print_table("the catalogue's pages", PAGE_COLUMNS, pages)
    everything = [*lines, *photos, *listings, *children]
    for line in everything:
        error = [line.outcome.error] if line.outcome.error else []
        for text in (*line.outcome.summary.get("warnings", ()), *error):
            click.echo(f"  {line.name}: {text}")
    settings = load_settings(CatalogueSettings)
    where = f"http://{settings.host}:{settings.port}"
    click.echo(f"\nLook at the pictures:          make dev   (or: imagesync serve), then open {where}")
    click.echo("Look at it in the Dagster UI:  make dev   (or: imagesync dev), then open the address it prints.")
    click.echo("Past runs:                     imagesync history")
    click.echo("The last plan:                 imagesync plan")
    # A picture is one too, or the grey one where the source's cannot be had.
    if not all(answer.startswith("200 ") for _, answer, *_ in pages):
        raise click.ClickException("a page of the catalogue does not answer; see the table of its pages above")
    context.exit(max(EXIT_CODES[line.outcome.status] for line in everything))


def _image_db_run(name: str) -> Line:
    click.echo(f"  {name} …")
    with progress_bars() as progress:
        outcome = runs.only(runs.sync("image_db", progress=progress))
    shown = (*CHANGED, "kept", "rejected", "products_affected", "api_calls", "seconds")
    return Line(name, outcome, [outcome.summary.get(number, 0) for number in shown])


def _edge_runs(place: installation.SandboxHome) -> list[Line]:
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


def _edge_run(name: str, *, full: bool) -> list[Line]:
    click.echo(f"  {name} …")
    lines = []
    with progress_bars() as progress:
        for store, outcome in runs.sync(EDGE, full=full, progress=progress):
            photos, verified, failed = _held(store)
            moved = f"{outcome.summary.get('bytes_downloaded', 0) / MEGABYTE:.1f} MB"
            shown = (store, photos, moved, verified, failed, outcome.summary.get("seconds", 0))
            lines.append(Line(name, outcome, shown))
    return lines


def _held(name: str) -> tuple[int, int, int]:
    """What a store's database holds: photos, those whose bytes PostgreSQL itself finds to be as listed, failed ones."""
    with open_installation() as place:
        account = edge_stores(load_accounts(place.settings)).named(name)
        with opened_store(place, account) as database, database.engine.connect() as connection:
            row = connection.execute(sa.text(_HELD.format(table=database.table))).one()
    return int(row[0]), int(row[1]), int(row[2])


def _plytix_runs() -> list[Line]:
    """The demo's mapping file into Plytix, twice; shown is how many calls each run made to Plytix."""
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
            lines.append(Line(name, outcome, [plytix.ledger.count()]))
    return lines


def _print_reports(lines: Sequence[Line]) -> None:
    """The reports of the runs into Plytix, side by side, one number a row."""
    names = [name for name, value in lines[0].outcome.report.items() if isinstance(value, int)]
    rows = [(name, *(line.outcome.report.get(name) for line in lines)) for name in names]
    rows.append(("errors", *(len(line.outcome.report.get("errors", ())) for line in lines)))
    rows.append(("calls to Plytix", *(line.shown[0] for line in lines)))
    print_table("Amazon → Plytix: the report of both runs", ("", *(line.name for line in lines)), rows)


def _moysklad_runs() -> list[Line]:
    """Everything into both child accounts, then what changed in the main account, then nothing."""
    with moysklad_sandbox(
        accounts=catalogue(),
        port=moysklad_serve.PORT,
        storage_port=moysklad_serve.STORAGE_PORT,
        cdn_port=moysklad_serve.CDN_PORT,
    ) as sandbox:
        click.echo(
            f"A made-up МойСклад: a main account with {len(sandbox.account(MAIN).entities())} entities, two children."
        )
        lines = _moysklad_run("everything", sandbox, full=True)
        changes = night(sandbox.account(MAIN))
        lines += _moysklad_run(f"after {len(changes)} changes", sandbox, full=False)
        lines += _moysklad_run("nothing changed", sandbox, full=False)
    return lines


def _moysklad_run(name: str, sandbox: MoyskladSandbox, *, full: bool) -> list[Line]:
    """The runs of both accounts: what changed, how many images are there then, calls, and those of the earlier way."""
    click.echo(f"  {name} …")
    lines = []
    sandbox.ledger.clear()
    with progress_bars() as progress:
        for account, outcome in runs.sync("moysklad", full=full, progress=progress):
            changed = [outcome.summary.get(number, 0) for number in CHANGED]
            there = sum(len(entity.images) for entity in sandbox.account(account).entities())
            earlier = int(outcome.plan.scope["earlier_calls"]) if outcome.plan is not None else 0
            shown = (account, moysklad_serve.MODES[account], *changed, there, sandbox.calls(), earlier)
            lines.append(Line(name, outcome, shown))
            sandbox.ledger.clear()
    return lines


def _catalogue_pages() -> list[tuple[str, str, int, int]]:
    """The list, a product with a picture of it, history and plans, asked for once over real HTTP; rows of their table.

    To be called while the media host answers.
    """
    click.echo("The catalogue of all that …")
    with runs.opened() as (place, instance):
        listener = bind()
        address = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        app = build_app(open_catalogue(place, partial(history, instance)))
        with running((app, listener)), requests.Session() as session:
            products, text = _ask(session, address, "/")
            pages = [products]
            if (found := _PRODUCT.search(text)) is not None:
                product, text = _ask(session, address, found[1])
                pages += [product, *(_ask(session, address, path)[0] for path in _PICTURE.findall(text)[:1])]
            return pages + [_ask(session, address, path)[0] for path in ("/history", "/plans")]


def _ask(session: requests.Session, address: str, path: str) -> tuple[tuple[str, str, int, int], str]:
    """A page as a row of the table, and its text where it is HTML."""
    began = time.perf_counter()
    answer = session.get(address + path, timeout=SECONDS)
    milliseconds = round((time.perf_counter() - began) * 1000)
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    row = (path, f"{answer.status_code} {kind}", len(answer.content), milliseconds)
    return row, answer.text if kind == "text/html" else ""


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
