"""Edge stores for tests: a head office to read from, fresh databases, and a synchronisation with or without Dagster."""

import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.applying import apply_plan
from imagesync_pipelines.connectors.edge.listing import ListingHandOver
from imagesync_pipelines.connectors.edge.model import BINARIES, EDGE
from imagesync_pipelines.connectors.edge.reading import BinariesHandOver, StoreRun, at_store, make_plan, take_photos
from imagesync_pipelines.connectors.edge.reporting import send_reports
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.head_office.server import (
    PASSWORD_VARIABLE,
    HeadOfficeSandbox,
    head_office_sandbox,
    write_accounts,
)
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.installation import Installation, open_installation
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.sync.steps import RunContext, StepResult, Summary
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines_tests.places import databases, entered, environment_of, execute, opened, rows_of
from imagesync_pipelines_tests.reusing import BLANK, pool
from imagesync_pipelines_tests.sandbox.head_office.callers import listed

STORE = "store1"

_PHOTOS = """
SELECT id::text, product_id::text, checksum, md5(image_binary), sync_status, coalesce(sync_error, ''), sort_order,
       is_primary
  FROM product_photo ORDER BY id
"""
_STAMPS = "SELECT id::text, xmin::text, last_sync_at FROM product_photo ORDER BY id"


class Held(NamedTuple):
    """One photo of a store: what the row says, and what PostgreSQL makes of its bytes."""

    product_id: str
    checksum: str
    md5: str | None
    status: str
    error: str
    sort_order: int
    is_primary: bool


@dataclass(frozen=True)
class Done:
    """One synchronisation without Dagster: what each stage gave, `summary` of all and `left` for the checks."""

    listed: ListingHandOver
    made: StepResult
    summary: Summary
    left: BinariesHandOver
    sent: StepResult


@dataclass(frozen=True)
class EdgeWorld:
    """One installation with the stores of a head office; `environment` is all that a process needs to use it."""

    office: HeadOfficeSandbox
    environment: dict[str, str] = field(repr=False)

    def entered(self, **more: str) -> AbstractContextManager[None]:
        """This process uses the installation for the length of a `with` block; `more` are further variables."""
        return entered(self.environment, **more)

    def opened(self, **more: str) -> AbstractContextManager[tuple[Installation, dg.DagsterInstance]]:
        """The installation and its Dagster instance."""
        return opened(self.environment, **more)

    def sync(self, store: str = STORE, more: Mapping[str, str] | None = None, **options: Any) -> runs.RunOutcome:
        """Synchronise one store as `imagesync sync edge` does; `more` are further variables."""
        with self.entered(**(more or {})):
            return dict(runs.sync(EDGE, [store], **options))[store]

    @contextmanager
    def at_store(self, store: str = STORE, **settings: Any) -> Iterator[StoreRun]:
        """A run of one store without Dagster; waiting between tries takes no time."""
        connector = EdgeSettings(**{"tries": 2, "timeout": 5, "call_deadline": 20, "failure_floor": 5, **settings})
        with self.entered(), open_installation(load_settings(Settings)) as place:
            context = RunContext(EDGE, store, Lineage(uuid.uuid4().hex), place, connector)
            with at_store(context, Timing(sleep=lambda seconds: None)) as run:
                yield run

    def run(self, store: str = STORE, *, full: bool = False, allow_mass_delete: bool = False, **settings: Any) -> Done:
        """Synchronise one store step by step, without Dagster."""
        with self.at_store(store, **settings) as run:
            listed = take_photos(run, full=full, dry_run=False)
            made = make_plan(run, allow_mass_delete=allow_mass_delete)
            summary = apply_plan(run, None).summary
            assert summary is not None
            left = run.context.look_at(BINARIES, BinariesHandOver)
            sent = send_reports(run.engine, run.account, run.api, run.settings.report_batch)
            return Done(listed, made, summary, left, sent)

    def rows(self, query: str, store: str | None = STORE) -> list[tuple[Any, ...]]:
        """The rows that a query on a store's database gives, or on ours (store None)."""
        return rows_of(self.url_of(store), query)

    def photos(self, store: str = STORE) -> dict[str, Held]:
        """What a store has, by photo id."""
        return {row[0]: Held(*row[1:]) for row in self.rows(_PHOTOS, store)}

    def stamps(self, store: str = STORE) -> list[tuple[Any, ...]]:
        """Id, version (xmin) and time of writing of every row: the same before and after when none was written."""
        return self.rows(_STAMPS, store)

    def listed(self, store: str = STORE) -> dict[str, Any]:
        """The photos that the head office has for a store, with bytes, by photo id: rows of its table."""
        nth = int(store.removeprefix("store")) - 1
        return {str(row.id): row for row in listed(self.office, self.office.stores[nth]) if row.checksum}

    def primaries(self, store: str = STORE) -> set[str]:
        """The photos that are to be shown first, one of each product: of several the first, then the newest."""
        rows = sorted(self.listed(store).items())
        rows = sorted(rows, key=lambda item: item[1].updated_at, reverse=True)
        chosen: dict[Any, str] = {}
        for photo_id, row in sorted(rows, key=lambda item: item[1].sort_order):
            if row.is_primary:
                chosen.setdefault(row.product_id, photo_id)
        return set(chosen.values())

    def assert_converged(self, store: str = STORE) -> None:
        """The store has exactly what the head office lists, and every byte of it."""
        held, wanted, primaries = self.photos(store), self.listed(store), self.primaries(store)
        assert held.keys() == wanted.keys()
        for photo_id, photo in held.items():
            row = wanted[photo_id]
            first = photo_id in primaries
            assert photo == Held(str(row.product_id), row.checksum, row.checksum, "synced", "", row.sort_order, first)

    def url_of(self, store: str | None) -> str:
        """The URL of a store's database, or of ours (store None)."""
        ours = self.environment["IMAGESYNC_DATABASE_URL"]
        if store is None:
            return ours
        return sa.make_url(ours).set(database=self.environment[f"{store}_DATABASE"]).render_as_string(False)


@contextmanager
def head_office(
    server: EmbeddedServer, folder: Path, *, photos: int = 30, original: bool = False, **switches: Any
) -> Iterator[HeadOfficeSandbox]:
    """A running head office on a fresh database of the tests' server."""
    with (
        pool(server, BLANK).one() as url,
        head_office_sandbox(url, photos=photos, original=original, folder=folder, **switches) as office,
    ):
        yield office


@contextmanager
def edge_world(server: EmbeddedServer, folder: Path, office: HeadOfficeSandbox) -> Iterator[EdgeWorld]:
    """An installation in `folder` on the tests' server, that has never run; each store has a database of its own."""
    with ExitStack() as made:
        urls = {name: made.enter_context(pool(server, BLANK).one()) for name in _names(office)}
        stores = {name: str(sa.make_url(url).database) for name, url in urls.items()}
        ours, dagsters = made.enter_context(databases(server))
        yield _world(server, folder, office, stores, ours, dagsters)


@contextmanager
def copy_of(server: EmbeddedServer, world: EdgeWorld, folder: Path) -> Iterator[EdgeWorld]:
    """A second installation in the very state of the first, files included, at the same head office.

    For runs of one store only: a copy of a database costs a quarter of a second, and the other stores have none.
    """
    mark = uuid.uuid4().hex[:12]
    names = {STORE: world.environment[f"{STORE}_DATABASE"]}
    names["ours"] = str(sa.make_url(world.environment["IMAGESYNC_DATABASE_URL"]).database)
    copies = {name: f"test_copy_{nth}_{mark}" for nth, name in enumerate(names)}
    for name, database in copies.items():
        execute(server, f"CREATE DATABASE {database} TEMPLATE {names[name]} STRATEGY FILE_COPY")
    shutil.copytree(world.environment["IMAGESYNC_HOME"], folder / "home")
    stores = {name: copies.get(name, f"no_copy_{mark}") for name in _names(world.office)}
    try:
        ours = server.url(copies["ours"], "psycopg")
        yield _world(server, folder, world.office, stores, ours, world.environment["IMAGESYNC_DAGSTER_URL"])
    finally:
        for database in copies.values():
            execute(server, f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


def _names(office: HeadOfficeSandbox) -> list[str]:
    return [f"store{nth}" for nth in range(1, len(office.stores) + 1)]


def _world(
    server: EmbeddedServer, folder: Path, office: HeadOfficeSandbox, stores: Mapping[str, str], ours: str, dagsters: str
) -> EdgeWorld:
    """The installation in `folder`; `stores` are the databases of the stores by name."""
    folder.mkdir(parents=True, exist_ok=True)
    accounts = folder / "accounts.toml"
    write_accounts(office, accounts)
    text = accounts.read_text(encoding="utf-8")
    for name, database in stores.items():
        section = f"[edge.stores.{name}]\n"
        text = text.replace(section, f'{section}dsn = "{server.url(database, "psycopg")}"\n')
    accounts.write_text(text, encoding="utf-8")
    return EdgeWorld(
        office,
        {
            **environment_of(folder, ours, dagsters),
            "IMAGESYNC_ACCOUNTS": str(accounts),
            "IMAGESYNC_LOCK_WAIT_SECONDS": "20",
            PASSWORD_VARIABLE: office.password,
            **{f"{name}_DATABASE": database for name, database in stores.items()},
        },
    )


def another(run: StoreRun, ancestors: Sequence[str] = ()) -> StoreRun:
    """Another run of the same store, which re-executes those given."""
    lineage = Lineage(uuid.uuid4().hex, tuple(ancestors))
    return replace(run, context=replace(run.context, lineage=lineage))
