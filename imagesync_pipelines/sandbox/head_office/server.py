"""Head office's stand-in, ready to use: the service (web/head_office itself, not a copy) or the original."""

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from pydantic import SecretStr
from starlette.types import ASGIApp
from upath import UPath

from imagesync_pipelines.sandbox.answers import Values
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.control import ROOT, SteeringError, steered
from imagesync_pipelines.sandbox.faults import FaultPlan
from imagesync_pipelines.sandbox.head_office.beginning import Beginning, fill, make_beginning
from imagesync_pipelines.sandbox.head_office.bench import Bench, open_bench
from imagesync_pipelines.sandbox.head_office.logins import ACCESS, REFRESH, OfficeTokens
from imagesync_pipelines.sandbox.head_office.mutation import OfficeMutation, change_a_day, mutate
from imagesync_pipelines.sandbox.head_office.original import OriginalOffice, OriginalSwitches, original_app
from imagesync_pipelines.sandbox.head_office.watching import (
    PAGE_MADE,
    Report,
    Watch,
    bucket_door,
    bucket_place,
    place,
    watched,
)
from imagesync_pipelines.sandbox.ledger import CallLedger
from imagesync_pipelines.sandbox.server import StandIn, bind, running, url_of
from imagesync_pipelines.storage.files import write_whole
from imagesync_pipelines.storage.objects import BUCKET, S3Place, embedded_s3, s3_client
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.accounts import add_account, grant
from imagesync_pipelines.web.head_office.app import build_app
from imagesync_pipelines.web.head_office.office import HeadOffice, HeadOfficeSettings
from imagesync_pipelines.web.head_office.tokens import hash_password

USERNAME, PASSWORD = "edge", "sandbox-only"


@dataclass(frozen=True, kw_only=True)
class HeadOfficeSandbox(StandIn):
    """A running head office on loopback; `url` has no path and no slash at its end.

    `stores` are the ids of the open stores that the account may read. `switches` steer the original and do nothing for
    head office's own service. `clock` is head office's: moving it skews every stamp and lets tokens expire.
    `s3` is the bucket as head office itself and an edge that may read it reach it; its faults and calls are apart.
    """

    url: str
    username: str = USERNAME
    password: str = PASSWORD
    stores: tuple[UUID, ...]
    closed_store: UUID
    foreign_store: UUID
    s3: S3Place
    engine: sa.Engine
    office: HeadOffice
    beginning: Beginning
    s3_faults: FaultPlan
    s3_ledger: CallLedger
    switches: OriginalSwitches
    bench: Bench
    watch: Watch

    def mutate(self, operator: str, **arguments: Any) -> OfficeMutation:
        """Change head office's data now; operators and arguments as in mutation.py."""
        return mutate(self.bench, operator, **arguments)

    def between_pages(self, pages: int, action: Callable[[], object]) -> None:
        """Do something as soon as so many more pages of a listing were made, before their reader can ask for another.

        An action that fails does not disturb the reader; its error is raised when the sandbox ends.
        """
        self.moments.before(PAGE_MADE, action, skip=pages - 1)

    def reports(self) -> tuple[Report, ...]:
        """What edges reported and head office accepted, in the order of arrival, repetitions included."""
        with self.watch.lock:
            return tuple(self.watch.reports)


@contextmanager
def head_office_sandbox(
    database_url: str,
    *,
    photos: int = 150,
    stores: int = 2,
    seed: int = 1,
    original: bool = False,
    folder: Path,
    port: int = 0,
    clock: SandboxClock | None = None,
) -> Iterator[HeadOfficeSandbox]:
    """Run head office on a free port of loopback, with its objects below `folder` and its tables in the database.

    Empty tables are filled from the seed: the first store sees `photos` photos, each other store a part of them. With
    `original` the routes, bugs and silence of the first head office answer, otherwise our own service.
    """
    clock = clock if clock is not None else SandboxClock()
    beginning = make_beginning(seed, photos, stores, clock.now())
    engine = sa.create_engine(database_url, pool_size=10, max_overflow=30)
    try:
        t.create_tables(engine)
        with engine.connect() as connection:
            is_empty = connection.execute(sa.select(t.company.c.id).limit(1)).first() is None
        if is_empty:
            fill(engine, folder / BUCKET, beginning)
        with embedded_s3(folder) as s3:
            yield from _serve(engine, s3, beginning, clock, original=original, port=port)
    finally:
        engine.dispose()


def _serve(
    engine: sa.Engine, behind: S3Place, beginning: Beginning, clock: SandboxClock, *, original: bool, port: int
) -> Iterator[HeadOfficeSandbox]:
    listener, door_listener = bind(port), bind()
    s3 = replace(behind, endpoint_url=url_of(door_listener))
    secret = secrets.token_hex(32)
    # The defaults, whatever this machine's environment says.
    settings = HeadOfficeSettings.model_construct()
    office = HeadOffice(engine, s3_client(s3), s3.bucket, settings, SecretStr(secret), clock.now, place=s3)
    add_account(office, USERNAME, hash_password(PASSWORD))
    for store in (*beginning.stores, beginning.closed_store):
        grant(office, USERNAME, store.id)
    sandbox = HeadOfficeSandbox(
        clock=clock,
        url=url_of(listener),
        stores=tuple(store.id for store in beginning.stores),
        closed_store=beginning.closed_store.id,
        foreign_store=beginning.foreign_store.id,
        s3=s3,
        engine=engine,
        office=office,
        beginning=beginning,
        s3_faults=FaultPlan(),
        s3_ledger=CallLedger(),
        switches=OriginalSwitches(),
        bench=open_bench(office, beginning, silent=original),
        watch=Watch(),
    )
    app = _original(office, secret, sandbox.switches) if original else build_app(office)
    seen = sandbox.watched(watched(app, sandbox.watch, sandbox.moments), place)
    with bucket_door(behind, is_public=original) as through, closing(office.s3):
        door = sandbox.watched(through, bucket_place, sandbox.s3_ledger, sandbox.s3_faults)
        with running((_steered(seen, sandbox), listener), (door, door_listener)):
            yield sandbox
    if sandbox.moments.failed:
        raise sandbox.moments.failed[0]


def _steered(app: ASGIApp, sandbox: HeadOfficeSandbox) -> ASGIApp:
    def state() -> Values:
        stores = [{"id": str(store.id), "code": store.code} for store in sandbox.beginning.stores]
        return {"seed": sandbox.beginning.seed, "stores": stores}

    def change(values: Values) -> Values:
        named = {name: _argument(name, value) for name, value in values.items()}
        return asdict(sandbox.mutate(str(named.pop("operator", "")), **named))

    actions = {"mutate": change, "day": lambda _: demo_changes(sandbox)}
    return steered(app, sandbox, state, actions, sandbox.switches)


def _argument(name: str, value: Any) -> Any:
    """What an operator takes: ids are UUIDs, bytes are written as a text."""
    if name.endswith("_id"):
        try:
            return UUID(str(value))
        except ValueError as error:
            raise SteeringError(f"{name} is a UUID") from error
    return value.encode() if name == "content" and isinstance(value, str) else value


def _original(office: HeadOffice, secret: str, switches: OriginalSwitches) -> ASGIApp:
    def is_active(username: str) -> bool | None:
        with office.engine.connect() as connection:
            active: bool | None = connection.scalar(
                sa.select(t.account.c.is_active).where(t.account.c.username == username)
            )
            return active

    tokens = OfficeTokens(
        secret=secret,
        now=office.clock,
        lives={
            ACCESS: timedelta(minutes=office.settings.access_minutes),
            REFRESH: timedelta(minutes=office.settings.refresh_minutes),
        },
        passwords={USERNAME: PASSWORD},
        is_active=is_active,
    )
    return original_app(OriginalOffice(office.engine, office.s3, office.bucket, tokens, office.clock, switches))


PORT = 8803
# The variable that the accounts of the sandbox name for the password.
PASSWORD_VARIABLE = "HEAD_OFFICE_PASSWORD"


def accounts_of(sandbox: HeadOfficeSandbox) -> list[str]:
    """The lines of an accounts file (IMAGESYNC_ACCOUNTS) with every open store of the sandbox."""
    lines = [
        "[edge.head_office]",
        f'url = "{sandbox.url}"',
        f'username = "{sandbox.username}"',
        f'password = "env:{PASSWORD_VARIABLE}"',
    ]
    for nth, store in enumerate(sandbox.stores, start=1):
        lines += [f"[edge.stores.store{nth}]", f'store_id = "{store}"', "capacity_gb = 5"]
    return lines


def write_accounts(sandbox: HeadOfficeSandbox, path: Path) -> None:
    """Write the accounts file; a reader sees all of it or nothing."""
    write_whole(UPath(path), "\n".join([*accounts_of(sandbox), ""]).encode())


def lines_of(sandbox: HeadOfficeSandbox, *, accounts_file: Path | None = None) -> Iterator[str]:
    """What points to a sandbox, as lines for the terminal: the section for IMAGESYNC_ACCOUNTS, also in a file."""
    yield f"# head office of the sandbox; its password: {sandbox.password}; control: {sandbox.url}{ROOT}state"
    yield from accounts_of(sandbox)
    if accounts_file is not None:
        write_accounts(sandbox, accounts_file)


def demo_changes(sandbox: HeadOfficeSandbox) -> list[str]:
    """Let a day pass at head office and give what changed: one line per change, in order."""
    return change_a_day(sandbox.bench)
