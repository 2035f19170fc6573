"""`imagesync edge …`: Upkeep of the edge stores."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial

import click
from starlette.applications import Starlette

from imagesync_pipelines import logs
from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.cli.output import EXIT_CODES, figures, print_outcomes, progress_bars, say
from imagesync_pipelines.connectors.edge import marking, store, store_care, store_schema
from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.connector import CONNECTOR
from imagesync_pipelines.connectors.edge.probe import probe
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, edge_stores
from imagesync_pipelines.connectors.edge.store import StoreDatabase
from imagesync_pipelines.defs import launching, runs
from imagesync_pipelines.defs.runs import Status
from imagesync_pipelines.languages import N_, _, ngettext, retold, told
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.telemetry import spans
from imagesync_pipelines.web import edge_photos, service

LOOPBACK, PHOTO_PORT = "127.0.0.1", 8810

stores_option = click.option(
    "--store", "stores", multiple=True, metavar="NAME", help="this store only; may be repeated (default: all)"
)


@click.command("check")
@click.option("--store", "name", required=True, metavar="NAME", help="the store whose head office is tried out")
@click.pass_context
def check(context: click.Context, name: str) -> None:
    """Try out a store's head office step by step, as an edge uses it; nothing is written anywhere."""
    settings = load_settings(EdgeSettings)
    account = edge_stores(load_accounts(load_settings(Settings))).named(name)
    failed = False
    good, bad = _("ok"), _("FAILED")
    width = max(len(good), len(bad))
    with closing(HeadOfficeApi(account.head_office, settings)) as api:
        for step in probe(api, account, settings):
            failed = failed or not step.ok
            mark = click.style(f"{good if step.ok else bad:<{width}}", fg="green" if step.ok else "red")
            took = _("{seconds} s").format(seconds=figures(f"{step.seconds:.2f}"))
            say(f"{mark}  {retold(step.name)}: {retold(step.detail)} ({took})")
    context.exit(EXIT_CODES[Status.FAILED if failed else Status.COMPLETED])


@click.command("reset-failed")
@stores_option
@click.option("--all", "everything", is_flag=True, help="every photo, not only failed ones: for starting over")
def reset_failed(stores: tuple[str, ...], everything: bool) -> None:
    """Make failed photos pending again, so that the next run tries them afresh; pictures stay and are served."""
    for name, database in _held(stores):
        pending = store_care.reset(database, everything=everything)
        said = ngettext(
            "{name}: {n} photos are pending; the next run takes them up",
            "{name}: {n} photos are pending; the next run takes them up",
            pending,
        )
        say(said.format(name=name, n=pending))


@click.command("migrate")
@stores_option
def migrate(stores: tuple[str, ...]) -> None:
    """Add the columns and indexes that a store's table of photos lacks; nothing is ever dropped."""
    for name, database in _held(stores):
        added = [_("{what}: added").format(what=retold(sentence)) for sentence in store_schema.migrate(database)]
        for said in added or [_("nothing is missing")]:
            say(f"{name}: {said}")


@click.command("scrub")
@stores_option
@click.pass_context
def scrub(context: click.Context, stores: tuple[str, ...]) -> None:
    """Hash every stored photo inside its database, and fetch again from the head office what differs."""
    with progress_bars() as progress:
        context.exit(print_outcomes(N_("store"), runs.run_job(CONNECTOR.name, "scrub", stores, progress=progress)))


@click.command("serve")
@click.option("--store", "name", required=True, metavar="NAME", help="the store whose photos are served")
@click.option("--host", default=LOOPBACK, show_default=True, help="address to listen on; put a TLS proxy in front")
@click.option("--port", default=PHOTO_PORT, show_default=True)
def serve(name: str, host: str, port: int) -> None:
    """Serve a store's photos out of its database until Ctrl-C."""
    spans.begin()
    with photo_app(name) as make:
        logs.say(told(f"Photos of {name}: http://{host}:{port}   (Ctrl-C stops it)"))
        processes = load_settings(EdgeSettings).photo_processes
        if processes > 1:
            service.serve_in_processes(make, host, port, processes)
        else:
            service.serve(make(), host, port)


@contextmanager
def photo_app(name: str) -> Iterator[Callable[[], Starlette]]:
    """What makes the photo server's application over a store's database, which has its table then."""
    settings = load_settings(EdgeSettings)
    account = edge_stores(load_accounts(load_settings(Settings))).named(name)
    with ExitStack() as opened:
        # A store with its own database is served without the rest of an installation: so an edge needs nothing else.
        if account.dsn is not None:
            url = account.dsn.get_secret_value()
        else:
            url = store.store_url(opened.enter_context(open_installation()), account)
        database = store.open_store(url)
        opened.callback(database.engine.dispose)
        # The database of a head office gets no table of a store.
        marking.read_mark(database, marking.section_of(name))
        store_schema.create_or_check(database)
        yield partial(edge_photos.open_app, url, missing=settings.missing_photo, base_url=settings.bucket_url)


def _held(stores: tuple[str, ...]) -> Iterator[tuple[str, StoreDatabase]]:
    """The stores asked for, or all, one after the other, each held while no run works on it; it has a table then."""
    with open_installation() as installation:
        accounts = load_accounts(installation.settings)
        known = edge_stores(accounts)
        for name in launching.chosen_accounts(CONNECTOR, accounts, stores):
            with (
                store.opened_store(installation, known.named(name)) as database,
                store.store_lock(database, installation.settings.lock_wait_seconds),
            ):
                identity = marking.identity_of(installation, known.named(name), known.names)
                marking.identify(identity, installation, database, record=False)
                store_schema.create_or_check(database)
                for warning in marking.identify(identity, installation, database, record=True):
                    say(f"{name}: {retold(warning)}")
                yield name, database
