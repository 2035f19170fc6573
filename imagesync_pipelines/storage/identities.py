"""Whose account each name of the accounts file opened, as it was recorded; and which installation this database is."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from upath import UPath

from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.database import fields_of
from imagesync_pipelines.storage.files import write_whole
from imagesync_pipelines.storage.schema_accounts import account_identity as table

# Under these the id of our own database is kept among the identities, and where it is said.
INSTALLATION, ROW = N_("installation"), N_("row in its database")
# The file below the storage root that says whose pages and plans are there.
_FILE = "installation-id"
# Any number that nothing else in this database uses as an advisory lock ("ident" in ASCII).
_LOCK = 0x6964656E74


@dataclass(frozen=True)
class RecordedIdentity:
    """One id of an account as its system told it; refused: another account that answered since, '' when none did."""

    connector: str
    account: str
    told_by: str
    identity: str
    recorded_at: datetime
    recorded_run: str | None
    refused: str
    refused_at: datetime | None


def read_identities(connection: sa.Connection, connector: str = "") -> list[RecordedIdentity]:
    """What is recorded, of one connector or of all, ordered by name."""
    query = sa.select(*fields_of(RecordedIdentity, table)).order_by(*table.primary_key.columns)
    if connector:
        query = query.where(table.c.connector == connector)
    return [RecordedIdentity(**row._mapping) for row in connection.execute(query)]


def hold_identities(connection: sa.Connection) -> None:
    """Until the transaction ends nobody else records: two names that begin at the same moment must see each other."""
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def record_identity(
    connection: sa.Connection, connector: str, account: str, told_by: str, identity: str, run_id: str | None
) -> None:
    """Record an id; it takes the place of an earlier one, and nothing counts as refused any more."""
    values = {"identity": identity, "recorded_run": run_id, "recorded_at": sa.func.now()}
    values |= {"refused": "", "refused_at": None}
    statement = insert(table).values(connector=connector, account=account, told_by=told_by, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=values))


def note_refused(connection: sa.Connection, connector: str, account: str, told_by: str, identity: str) -> None:
    """Note the account that answered and was refused, beside what is recorded, so that a person may accept it."""
    mine = (table.c.connector == connector) & (table.c.account == account) & (table.c.told_by == told_by)
    connection.execute(table.update().where(mine).values(refused=identity, refused_at=sa.func.now()))


def forget_identities(connection: sa.Connection, connector: str, account: str) -> None:
    """Forget what is recorded of an account."""
    connection.execute(table.delete().where(table.c.connector == connector, table.c.account == account))


def installation_id(engine: sa.Engine) -> str:
    """The id of our own database, which goes with it into every backup; it is made when there is none."""
    mine = sa.select(table.c.identity).where(table.c.connector == INSTALLATION, table.c.account == "")
    with engine.begin() as connection:
        found: str | None = connection.execute(mine).scalar()
        if found is None:
            new = insert(table).values(
                connector=INSTALLATION, account="", told_by=ROW, identity=sa.cast(sa.func.gen_random_uuid(), sa.Text)
            )
            connection.execute(new.on_conflict_do_nothing())
            found = connection.execute(mine).scalar_one()
    return found


def kept_installation(storage: UPath) -> tuple[str, int]:
    """The id of the database that the storage root belongs to, and the number of its last run that wrote.

    '' and 0 while nothing was written there. A number that cannot be read is none; so is a file that a power cut left.
    """
    file = storage / _FILE
    try:
        text = file.read_bytes().replace(b"\0", b"").decode(errors="replace")
    except FileNotFoundError:
        return "", 0
    identity, _, number = text.strip().partition("\n")
    return identity.strip(), int(number) if number.isdecimal() else 0


def keep_installation(storage: UPath, identity: str, counter: int) -> None:
    """Say in the storage root whose pages and plans are there, and how far that database was brought."""
    write_whole(storage / _FILE, f"{identity}\n{counter}\n".encode())
