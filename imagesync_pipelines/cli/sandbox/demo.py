"""`imagesync demo`: from nothing to five tables: a catalogue of real size, a folder, edge stores, Plytix, МойСклад."""

import os
import re
import time
from collections.abc import Callable, Sequence
from functools import partial
from textwrap import shorten
from typing import Any, NamedTuple

import click
import requests
import sqlalchemy as sa

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.cli.output import EXIT_CODES, figures, print_table, progress_bars, say
from imagesync_pipelines.cli.quality import print_pictures, print_summary
from imagesync_pipelines.cli.sandbox import own_trials, stand_ins, trials
from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.connectors.edge.settings import edge_stores
from imagesync_pipelines.connectors.edge.store import opened_store
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.history import history
from imagesync_pipelines.languages import N_, _, ngettext, pgettext, retold, told_n
from imagesync_pipelines.quality import queries
from imagesync_pipelines.quality.rules import rule_sets
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.sandbox.head_office import server as ho_serve
from imagesync_pipelines.sandbox.image_db import server
from imagesync_pipelines.sandbox.moysklad.making import MAIN, jpeg
from imagesync_pipelines.sandbox.moysklad.mutation import night
from imagesync_pipelines.sandbox.moysklad.server import MODES
from imagesync_pipelines.sandbox.server import LOOPBACK, bind, running
from imagesync_pipelines.settings import load_settings
from imagesync_pipelines.storage.embedded import stop_server
from imagesync_pipelines.storage.home import ours_in, remove
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.web.catalogue.app import build_app
from imagesync_pipelines.web.catalogue.state import CatalogueSettings, open_catalogue

COLUMNS = (
    N_("run"), N_("added"), N_("updated"), N_("removed"), N_("kept"), N_("rejected"), N_("products affected"),
    N_("calls"), N_("seconds"), N_("status"),
)  # fmt: skip
EDGE_COLUMNS = (
    N_("run"), N_("store"), N_("photos"), N_("downloaded"), N_("verified"), N_("failed"), N_("seconds"), N_("status")
)  # fmt: skip
MOYSKLAD_COLUMNS = (
    N_("run"), N_("account"), N_("mode"), N_("added"), N_("updated"), N_("removed"), N_("images there"), N_("calls"),
    N_("the earlier way"), N_("status"),
)  # fmt: skip
FIRST_RUN, NOTHING_CHANGED, EVERYTHING = N_("first run"), N_("nothing changed"), N_("everything")
CHANGED = ("images_added", "images_updated", "images_deleted")

SAID_CHARACTERS = 400

# Main pictures that are measured, and those of them that are shown.
MEASURED, WORST = 60, 5
# The limits of a larger plan of Plytix: nobody who watches a demonstration wants to wait for the next window.
PLYTIX_LIMITS = ((50, 10), (5000, 3600))

_PRODUCT = re.compile(r'href="(/products/\d+)"')
_PICTURE = re.compile(r'src="(/media/[^"]+)"')
_HELD = """
SELECT count(*), count(*) FILTER (WHERE sync_status = 'synced' AND md5(image_binary) = checksum),
       count(*) FILTER (WHERE sync_status = 'failed')
  FROM {table}
"""


# Makes mishaps on a system on purpose, where that is asked for.
Attempt = Callable[[trials.Trials, object], None]


class Line(NamedTuple):
    """One run of the demonstration, and what its row of the table shows between its name and its status."""

    name: str
    outcome: runs.RunOutcome
    shown: Sequence[Any]


@click.command("demo")
@click.option(
    "--all", "everything", is_flag=True, help="then try on purpose what loses pictures, and say what happened"
)
@click.pass_context
def demo(context: click.Context, everything: bool) -> None:
    """Synchronise made-up catalogues: an image database, a folder, two edge stores, Amazon into Plytix, МойСклад."""
    tried: list[trials.Trial] = []

    def attempt(made: trials.Trials, system: object) -> None:
        tried.extend(trials.each(made, system) if everything else ())

    with stand_ins.environment() as place:
        _start_afresh(place)
        place.remember(0)
        say(_("A made-up image database and ERP of real size, kept in {folder}.").format(folder=place.home))
        with server.image_db_sandbox(port=server.PORT, media_port=server.MEDIA_PORT) as sandbox:
            sandbox.write_erp_csv(place.folder)
            lines = _runs(FIRST_RUN, "image_db", _changed) + _runs(NOTHING_CHANGED, "image_db", _changed)
            changes = server.demo_changes(sandbox)
            place.remember(1)
            before = own_trials.images()
            lines += _runs(_after(len(changes)), "image_db", _changed)
            attempt(own_trials.OF_LAST_RUN, own_trials.LastRun(lines[-1].name, lines[-1].outcome, before))
            pictures = _folder_runs(place)
            pages = _catalogue_pages()
            if everything:
                _measure_quality()
            attempt((*trials.OF_IMAGE_DB, *own_trials.OF_WEBHOOKS), place)
        photos = _edge_runs(place, attempt)
        listings = _plytix_runs()
        children = _moysklad_runs(attempt)
    _print_lines(_("image database → product_image"), COLUMNS, lines)
    _print_lines(_("folder of pictures → product_image"), COLUMNS, pictures)
    _print_lines(_("head office → edge stores"), EDGE_COLUMNS, photos)
    _print_reports(listings)
    _print_lines(_("main account of МойСклад → child accounts"), MOYSKLAD_COLUMNS, children)
    print_table(_("the catalogue's pages"), (_("page"), _("answer"), _("bytes"), _("ms")), pages)
    for one in tried:
        if one.seen.table is not None:
            _print_seen(one.seen.table)
    if everything:
        _print_quality()
        columns = (_("tried"), _("what the product said"), pgettext("correct", "right"))
        print_table(_("what was tried on purpose"), columns, _rows(tried))
    done = [*lines, *pictures, *photos, *listings, *children]
    for line in done:
        for text in filter(None, (*line.outcome.summary.get("warnings", ()), line.outcome.error)):
            say(f"  {retold(line.name)}: {retold(text)}")
    settings = load_settings(CatalogueSettings)
    where = f"http://{settings.host}:{settings.port}"
    say()
    _print_next(
        (_("Look at the pictures:"), _("make dev   (or: imagesync serve), then open {url}").format(url=where)),
        (_("Look at it in the Dagster UI:"), _("make dev   (or: imagesync dev), then open the address it prints.")),
        (_("Past runs:"), "imagesync history"),
        (_("The last plan:"), "imagesync plan"),
        (_("Take back what a run changed:"), "imagesync undo RUN"),
    )
    # A picture is one too, or the grey one where the source's cannot be had.
    if not all(answer.startswith("200 ") for _path, answer, *_more in pages):
        raise click.ClickException("a page of the catalogue does not answer; see the table of its pages above")
    if not all(one.seen.right for one in tried):
        raise click.ClickException("a trial did not end right; see the table of what was tried on purpose")
    context.exit(max(EXIT_CODES[line.outcome.status] for line in done))


def _rows(tried: Sequence[trials.Trial]) -> list[tuple[str, str, str]]:
    """The rows of the table of trials; what was said in a line that fits."""
    return [
        (retold(one.tried), shorten(retold(one.seen.said), SAID_CHARACTERS), _("yes") if one.seen.right else _("NO"))
        for one in tried
    ]


def _print_seen(table: trials.Table) -> None:
    """Print what a trial shows beside its line."""
    rows = [[retold(cell) if isinstance(cell, str) else cell for cell in row] for row in table.rows]
    print_table(retold(table.title), table.columns, rows)


def _print_next(*lines: tuple[str, str]) -> None:
    """Print what can be looked at next, and what to type for it."""
    widest = max(len(what) for what, _command in lines)
    for what, command in lines:
        say(f"{what:<{widest}}  {command}")


def _after(changes: int) -> str:
    """What the run after so many changes is called."""
    return told_n(f"after {changes} changes", f"after {changes} changes", changes)


def _runs(
    name: str, connector: str, shown: Callable[[str, runs.RunOutcome], Sequence[Any]], **asked: Any
) -> list[Line]:
    """Synchronise all accounts of a connector; `shown` is asked for an account's cells as soon as its run has ended."""
    say(f"  {retold(name)} …")
    with progress_bars() as progress:
        outcomes = runs.sync(connector, progress=progress, **asked)
        return [Line(name, outcome, shown(account, outcome)) for account, outcome in outcomes]


def _print_lines(title: str, columns: Sequence[str], lines: Sequence[Line]) -> None:
    rows = [(retold(line.name), *line.shown, retold(line.outcome.status)) for line in lines]
    print_table(title, columns, rows)


def _changed(_account: str, outcome: runs.RunOutcome) -> list[Any]:
    numbers = (*CHANGED, "kept", "rejected", "products_affected", "api_calls", "seconds")
    return [outcome.summary.get(number, 0) for number in numbers]


def _folder_runs(place: stand_ins.SandboxHome) -> list[Line]:
    """Pictures named by SKU onto the products, beside the image database's: everything, then changes, then nothing."""
    first, changed, gone, *_others = files = stand_ins.write_pictures(place)
    said = ngettext(
        "A folder of {n} pictures, named by SKU.", "A folder of {n} pictures, named by SKU.", len(files) - 1
    )
    say(said.format(n=len(files) - 1))
    lines = _runs(EVERYTHING, "folder", _changed)
    for file in (first, changed):
        file.write_bytes(jpeg(f"{file.stem}, new"))
    gone.unlink()
    lines += _runs(_after(3), "folder", _changed)
    return lines + _runs(NOTHING_CHANGED, "folder", _changed)


def _edge_runs(place: stand_ins.SandboxHome, attempt: Attempt) -> list[Line]:
    """Head office to two stores: everything, then what changed in a day, then nothing."""
    with stand_ins.head_office() as office:
        ho_serve.write_accounts(office, place.stores)
        stand_ins.write_accounts(place)
        said = ngettext(
            "A made-up head office with {n} stores; each store has a database of its own.",
            "A made-up head office with {n} stores; each store has a database of its own.",
            len(office.stores),
        )
        say(said.format(n=len(office.stores)))
        lines = _runs(EVERYTHING, EDGE, _held, full=True)
        changes = ho_serve.demo_changes(office)
        lines += _runs(_after(len(changes)), EDGE, _held, full=False)
        lines += _runs(NOTHING_CHANGED, EDGE, _held, full=False)
        attempt(trials.OF_EDGE, office)
        return lines


def _held(name: str, outcome: runs.RunOutcome) -> tuple[Any, ...]:
    """What a store's database holds: photos, those whose bytes PostgreSQL itself finds to be as listed, failed ones."""
    with open_installation() as place:
        account = edge_stores(load_accounts(place.settings)).named(name)
        with opened_store(place, account) as database, database.engine.connect() as connection:
            photos, verified, failed = connection.execute(sa.text(_HELD.format(table=database.table))).one()
    megabytes = outcome.summary.get("bytes_downloaded", 0) / 2**20
    moved = f"{figures(f'{megabytes:.1f}')} MB"
    return name, photos, moved, verified, failed, outcome.summary.get("seconds", 0)


def _plytix_runs() -> list[Line]:
    """The demo's mapping file into Plytix, twice; shown is how many calls each run made to Plytix."""
    lines = []
    with stand_ins.amazon() as amazon, stand_ins.plytix(amazon.fetch, PLYTIX_LIMITS) as plytix:
        say(_("A made-up Plytix with 20 products, and Amazon's listings of them in a mapping file."))
        for name in (FIRST_RUN, NOTHING_CHANGED):
            plytix.ledger.clear()
            lines += _runs(name, "plytix", lambda *_run: [plytix.ledger.count()])
    return lines


def _print_reports(lines: Sequence[Line]) -> None:
    """The reports of the runs into Plytix, side by side, one number a row."""
    names = [name for name, value in lines[0].outcome.report.items() if isinstance(value, int)]
    rows = [(name, *(line.outcome.report.get(name) for line in lines)) for name in names]
    rows.append((_("errors"), *(len(line.outcome.report.get("errors", ())) for line in lines)))
    rows.append((_("calls to Plytix"), *(line.shown[0] for line in lines)))
    columns = ("", *(retold(line.name) for line in lines))
    print_table(_("Amazon → Plytix: the report of both runs"), columns, rows)


def _moysklad_runs(attempt: Attempt) -> list[Line]:
    """Everything into both child accounts, then what changed in the main account, then nothing.

    Shown is what changed, how many images are there then, the calls, and those of the earlier way.
    """
    with stand_ins.moysklad() as sandbox:

        def shown(account: str, outcome: runs.RunOutcome) -> list[Any]:
            changed = [outcome.summary.get(number, 0) for number in CHANGED]
            there = sum(len(entity.images) for entity in sandbox.account(account).entities())
            earlier = int(outcome.plan.scope["earlier_calls"]) if outcome.plan is not None else 0
            calls = sandbox.calls()
            sandbox.ledger.clear()
            return [account, MODES[account], *changed, there, calls, earlier]

        main = sandbox.account(MAIN)
        entities = len(main.entities())
        said = ngettext(
            "A made-up МойСклад: a main account with {n} entities, two children.",
            "A made-up МойСклад: a main account with {n} entities, two children.",
            entities,
        )
        say(said.format(n=entities))
        lines = _runs(EVERYTHING, "moysklad", shown, full=True)
        changes = night(main)
        sandbox.ledger.clear()
        lines += _runs(_after(len(changes)), "moysklad", shown, full=False)
        lines += _runs(NOTHING_CHANGED, "moysklad", shown, full=False)
        attempt(trials.OF_MOYSKLAD, sandbox)
        return lines


def _catalogue_pages() -> list[tuple[str, str, int, int]]:
    """The list, a product with a picture of it, history and plans, asked for once over real HTTP; rows of their table.

    To be called while the media host answers.
    """
    say(_("The catalogue of all that …"))
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


def _measure_quality() -> None:
    """Measure and judge main pictures of the catalogue; to be called while the media host answers."""
    said = ngettext(
        "How good its main pictures are, {n} of them …", "How good its main pictures are, {n} of them …", MEASURED
    )
    say(said.format(n=MEASURED))
    # Every picture is drawn here before it is measured.
    os.environ["QUALITY_PICTURES_PER_RUN"] = str(MEASURED)
    with progress_bars() as progress:
        outcome = runs.measure_quality(progress=progress)
    say(f"  {retold(str(outcome.summary.get('said') or outcome.error))}")
    if outcome.status is runs.Status.FAILED:
        raise click.ClickException(f"the main pictures could not be measured: {outcome.error}")


def _print_quality() -> None:
    """The score of the catalogue's main pictures, and the worst with why."""
    known = rule_sets(load_settings(QualitySettings))
    with open_installation() as place, place.engine.connect() as connection:
        print_summary(queries.summary(connection), queries.what_next(connection, known), [])
        worst, _more = queries.pictures(connection, known, queries.Asked(), limit=WORST)
    said = ngettext(
        "The worst {n} main pictures, and why (imagesync quality --worst N):",
        "The worst {n} main pictures, and why (imagesync quality --worst N):",
        WORST,
    )
    say(said.format(n=WORST))
    print_pictures(worst, known)


def _ask(session: requests.Session, address: str, path: str) -> tuple[tuple[str, str, int, int], str]:
    """A page as a row of the table, and its text where it is HTML."""
    began = time.perf_counter()
    answer = session.get(address + path, timeout=60)
    milliseconds = round((time.perf_counter() - began) * 1000)
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    row = (path, f"{answer.status_code} {kind}", len(answer.content), milliseconds)
    return row, answer.text if kind == "text/html" else ""


def _start_afresh(place: stand_ins.SandboxHome) -> None:
    """Remove what we made in the sandbox's home, so that the first run is a first run; in no other home."""
    others = {entry.name for entry in place.home.iterdir()} - {"sandbox"}
    if others and not (place.folder / "nights").exists():
        raise click.ClickException(
            f"{place.home} holds something that the demo did not make. Set IMAGESYNC_HOME to another folder, "
            "or remove it with `imagesync clean`."
        )
    if others:
        stop_server(place.home)
        for entry in ours_in(place.home):
            remove(entry)
    place.folder.mkdir(parents=True, exist_ok=True)
