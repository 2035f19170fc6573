"""The stores and their head offices, as `imagesync doctor` asks them: a login a head office, a row of each listing, and
each store's database by a few statements that write nothing.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from functools import partial

import sqlalchemy as sa

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.edge import marking
from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, EdgeStore, edge_stores
from imagesync_pipelines.connectors.edge.store import open_store
from imagesync_pipelines.connectors.edge.store_schema import what_it_lacks
from imagesync_pipelines.languages import told
from imagesync_pipelines.sync.health import GIGABYTE, SECONDS, Answer, Finding, NotCheckedError, Probe, Site, State
from imagesync_pipelines.sync.identity import Identity, Told
from imagesync_pipelines.sync.own_health import postgres

_IS_THERE = sa.text("SELECT 1 FROM pg_database WHERE datname = :name")
_RIGHTS = sa.text("""
SELECT CASE WHEN to_regclass(:table) IS NULL THEN has_schema_privilege(current_schema(), 'CREATE')
            ELSE (SELECT bool_and(has_table_privilege(to_regclass(:table), wanted))
                    FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS wanted)
       END, pg_database_size(current_database())
""")


def probes(site: Site, settings: EdgeSettings) -> Iterator[Probe]:
    """Of every store its head office and its database. Raises AccountsError."""
    timeout = min(settings.timeout, SECONDS)
    brief = settings.model_copy(update={"timeout": timeout, "tries": 1, "call_deadline": 2 * timeout})
    stores = edge_stores(load_accounts(site.shared)).by_name
    # One for each account there: it logs in once for all stores.
    offices = {account: HeadOfficeApi(account, brief) for account in {one.head_office for one in stores.values()}}
    for name, store in stores.items():
        where = told(f"{marking.section_of(name)} or [edge.head_office] of the accounts file")
        ask = partial(_ask, offices[store.head_office], store)
        yield Probe(f"edge {name} head office", ask, where, store.head_office.url)
        yield Probe(
            f"edge {name} database",
            partial(_look, site, settings, store),
            f"{marking.section_of(name)} dsn",
            account=name,
            identity=partial(_identity, store, stores),
        )


def _ask(api: HeadOfficeApi, store: EdgeStore) -> Answer:
    # Another store may ask through it: it opens its connections again.
    with closing(api):
        page = api.list_page(store.store_id, since=None, limit=1, offset=0)
    return Answer(told(f"{page.total:,} photos, as {store.head_office.username}"), ahead=api.ahead)


def _look(site: Site, settings: EdgeSettings, store: EdgeStore) -> Answer:
    part, section = f"edge {store.name} database", marking.section_of(store.name)
    database = open_store(_url(site, store))
    try:
        answers, *found = postgres(part, database.engine, f"{section} dsn")
        mark = marking.read_mark(database, section)
        with database.engine.connect() as connection:
            may, size = connection.execute(_RIGHTS, {"table": database.table}).one()
        lacks = [one.what for one in what_it_lacks(database) if one.needed]
    finally:
        database.engine.dispose()
    if not may:
        todo = told("Give it SELECT, INSERT, UPDATE and DELETE on the table of photos, or let it make one.")
        found.append(Finding(part, told("rights"), State.WRONG, told("its user may not write photos"), todo))
    if lacks:
        todo = told(f"Type `imagesync edge migrate --store {store.name}`.")
        found.append(Finding(part, told("tables"), State.WRONG, "; ".join(lacks), todo))
    if store.capacity_gb is not None:
        found.append(_capacity(part, size, store.capacity_gb, settings.max_storage_share))
    return Answer(answers.said, [(marking.STORE_ROW, mark.id)] if mark is not None else [], findings=found)


def _identity(
    store: EdgeStore, stores: Collection[str], engine: sa.Engine, told_by_others: Mapping[str, Told]
) -> Identity:
    return marking.store_identity(engine, store, stores)


def _url(site: Site, store: EdgeStore) -> str:
    """The URL of a store's database. Raises NotCheckedError where one beside ours is not made yet."""
    if store.dsn is not None:
        return store.dsn.get_secret_value()
    engine = site.need_engine()
    with engine.connect() as connection:
        if connection.scalar(_IS_THERE, {"name": store.database_name}) is None:
            raise NotCheckedError("it is not there yet; the first run of the store makes it beside ours")
    return engine.url.set(database=store.database_name).render_as_string(hide_password=False)


def _capacity(part: str, size: int, capacity_gb: float, share: float) -> Finding:
    used = size / (capacity_gb * GIGABYTE)
    state = State.FINE if used < share else State.WARNING if used < 1 else State.WRONG
    said = told(f"{size / GIGABYTE:,.1f} of {capacity_gb:g} GB are used")
    todo = "" if state is State.FINE else told("Give the store more room, and correct capacity_gb.")
    return Finding(part, told("space"), state, said, todo)
