"""Which store a database is: a row of ours in it says so, whatever it is called here and however it is reached.

It is made by the first run that writes, or by `migrate`; a store that a release before this one filled has none yet,
and one that was restored from an old backup has lost it: both are adopted.
"""

import uuid
from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, EdgeStore, edge_stores
from imagesync_pipelines.connectors.edge.store import StoreDatabase
from imagesync_pipelines.languages import N_
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage import memory
from imagesync_pipelines.storage.identities import installation_id
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.schema import cursor, handover
from imagesync_pipelines.storage.schema_accounts import target_memory
from imagesync_pipelines.sync.identity import Identity, IdentityRefusedError

# Where a store says which one it is.
STORE_ROW = N_("row in the store's database")
_TABLE = "imagesync_store"
MAKE_MARK = f"""
CREATE TABLE IF NOT EXISTS {_TABLE} (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    id uuid NOT NULL,
    installation text NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    counter bigint NOT NULL DEFAULT 0
)
"""
# A store that a release before this one marked has no counter yet.
_WITH_COUNTER = f"ALTER TABLE {_TABLE} ADD COLUMN IF NOT EXISTS counter bigint NOT NULL DEFAULT 0"
_MOVE_ON = f"UPDATE {_TABLE} SET counter = :counter, written_at = now()"  # noqa: S608 - a constant of this module
# Our own head office keeps its photos under this name.
_THERE = """
SELECT to_regclass(:mark) IS NOT NULL, EXISTS (
    SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'head_office' AND c.relname = 'photo'
)
"""
_READ = f"""
SELECT id::text, installation, written_at, (to_jsonb(mark) ->> 'counter')::bigint FROM {_TABLE} mark
"""  # noqa: S608 - a constant of this module
WRITE_MARK = f"""
INSERT INTO {_TABLE} (id, installation) VALUES (CAST(:id AS uuid), :installation)
    ON CONFLICT (only_one) DO UPDATE SET installation = EXCLUDED.installation, written_at = now()
"""  # noqa: S608 - a constant of this module


class Mark(NamedTuple):
    """The row: the store's id, the installation that wrote it last, when, and the number of that run."""

    id: str
    installation: str
    written_at: datetime
    counter: int | None = None


def identity_of(
    installation: Installation, account: EdgeStore, stores: Collection[str], run_id: str | None = None
) -> Identity:
    """Which store it is; stores: the names of all, for no two of them may be one database."""
    return store_identity(installation.engine, account, stores, run_id)


def store_identity(
    engine: sa.Engine, account: EdgeStore, stores: Collection[str], run_id: str | None = None
) -> Identity:
    """The same, of our database alone."""
    return Identity(
        engine,
        EDGE,
        account.name,
        section_of(account.name),
        run_id,
        declared=account.account_id,
        others={name: section_of(name) for name in stores},
    )


def identify(identity: Identity, installation: Installation, database: StoreDatabase, *, record: bool) -> list[str]:
    """Look which store the database is; what a person has to know.

    record: it is about to be written, so its row is made where there is none. Raises IdentityRefusedError when it is
    another store than recorded, another name's, or the database of a head office itself.
    """
    mark = read_mark(database, identity.section)
    if mark is not None:
        told = [(STORE_ROW, mark.id)]
        if record:
            identity.record(told)
        else:
            identity.look(told)
    if not record:
        return []
    ours, warnings = installation_id(installation.engine), []
    before = identity.declared or identity.recorded(STORE_ROW)
    if mark is None and before:
        warnings.append(
            languages.told(
                f"The database of store {identity.account} does not say any more which store it is (it is new, or was "
                f"restored from an old backup); it is taken for {before}, as before."
            )
        )
    if mark is not None and mark.installation != ours:
        warnings.append(
            languages.told(
                f"Store {identity.account} is written by another installation too: {mark.installation}, last at "
                f"{mark.written_at:%Y-%m-%d %H:%M %Z}; this is {ours}. One of them should leave the store alone."
            )
        )
    if mark is None or mark.installation != ours:
        marked = mark.id if mark is not None else before or str(uuid.uuid4())
        with database.engine.begin() as connection:
            connection.execute(sa.text(MAKE_MARK))
            connection.execute(sa.text(WRITE_MARK), {"id": marked, "installation": ours})
        identity.record([(STORE_ROW, marked)])
    return warnings


def read_mark(database: StoreDatabase, section: str) -> Mark | None:
    """The row, None where there is none. Raises IdentityRefusedError for the database of a head office."""
    with database.engine.connect() as connection:
        marked, is_head_office = connection.execute(sa.text(_THERE), {"mark": _TABLE}).one()
        if is_head_office:
            raise IdentityRefusedError(
                f"{section} dsn opens the database of a head office itself, database {database.engine.url.database} "
                "with the schema head_office, so the store would be its own source. Nothing was written. Give the "
                "store a database of its own."
            )
        row = connection.execute(sa.text(_READ)).first() if marked else None
    return None if row is None else Mark(*row)


def restored(identity: Identity, engine: sa.Engine, database: StoreDatabase) -> str:
    """What a person has to know where the store's database or ours was restored from a backup; '' where neither was."""
    mark, target = read_mark(database, identity.section), f"{EDGE}/{identity.account}"
    why = memory.restored(memory.counter_of(engine, target), mark.counter if mark is not None else None)
    return why and (
        languages.told(
            f"The database of store {identity.account} and ours do not remember the same last run "
            f"({why}): one of them was restored from a backup. The head office is read whole, and what "
            "differs is written."
        )
    )


def move_on(identity: Identity, engine: sa.Engine, database: StoreDatabase) -> None:
    """Remember, in the store's database and then in ours, that a run writes to it. Call it when the store is marked."""
    mark, target = read_mark(database, identity.section), f"{EDGE}/{identity.account}"
    counter = max(memory.counter_of(engine, target) or 0, (mark.counter if mark is not None else 0) or 0) + 1
    with database.engine.begin() as connection:
        if mark is not None and mark.counter is None:
            connection.execute(sa.text(_WITH_COUNTER))
        connection.execute(sa.text(_MOVE_ON), {"counter": counter})
    memory.note_counter(engine, target, counter)


def forget_store(connection: sa.Connection, name: str) -> None:
    """Forget what a store was brought to: it is another database now, and its head office is read whole."""
    mine = (cursor.c.connector == EDGE) & (cursor.c.account == name)
    connection.execute(cursor.delete().where(mine))
    left = (handover.c.connector == EDGE) & (handover.c.account == name)
    connection.execute(handover.delete().where(left))
    connection.execute(target_memory.delete().where(target_memory.c.target == f"{EDGE}/{name}"))


def declared(shared: Settings, settings: EdgeSettings) -> dict[str, str]:
    """How the stores are declared: their numbers at the head office, by name."""
    known = edge_stores(load_accounts(shared)).by_name
    return {
        name: languages.told(f"store {one.store_id} of {one.head_office.url} as {one.head_office.username}")
        for name, one in known.items()
    }


def section_of(name: str) -> str:
    """Where a person finds a store in the accounts file."""
    return f"[edge.stores.{name}]"
