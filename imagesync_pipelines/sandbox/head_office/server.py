"""Head office's stand-in, ready to use: the service or the original, with faults, a clock and a ledger around it.

What belongs here: putting the parts together. What does not: the parts. The service is web/head_office, not a copy;
only what stands between it and its callers is the sandbox's.
"""

import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from pydantic import SecretStr
from starlette.types import ASGIApp

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import FaultPlan
from imagesync_pipelines.sandbox.head_office.beginning import Beginning, make_beginning
from imagesync_pipelines.sandbox.head_office.bucket import at_the_door, bucket_door, bucket_place
from imagesync_pipelines.sandbox.head_office.changes.bench import Bench, Mutation, open_bench
from imagesync_pipelines.sandbox.head_office.changes.mutator import mutate
from imagesync_pipelines.sandbox.head_office.control import steered
from imagesync_pipelines.sandbox.head_office.filling import fill
from imagesync_pipelines.sandbox.head_office.original.app import original_app
from imagesync_pipelines.sandbox.head_office.original.model import Original, OriginalSwitches
from imagesync_pipelines.sandbox.head_office.original.tokens import Accounts, Tokens
from imagesync_pipelines.sandbox.head_office.watching import Action, Report, Watch, place, watched
from imagesync_pipelines.sandbox.ledger import Ledger
from imagesync_pipelines.sandbox.serving import LOOPBACK, bind, running
from imagesync_pipelines.sandbox.steering import Steered
from imagesync_pipelines.sandbox.wire import observed
from imagesync_pipelines.storage.embedded_s3 import BUCKET, embedded_s3
from imagesync_pipelines.storage.objects import S3Place, s3_client
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.app import build_app
from imagesync_pipelines.web.head_office.catalogue import add_account, grant
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.settings import HeadOfficeSettings
from imagesync_pipelines.web.head_office.tokens import hash_password

USERNAME, PASSWORD = "edge", "sandbox-only"


@dataclass(frozen=True)
class HeadOfficeSandbox:
    """A running head office on loopback; `url` has no path and no slash at its end.

    `stores` are the ids of the open stores that the account may read. `switches` steer the original and do nothing for
    head office's own service. `clock` is head office's: moving it skews every stamp and lets tokens expire.
    `s3` is the bucket as head office itself and an edge that may read it reach it; its faults and calls are apart.
    """

    url: str
    username: str
    password: str
    stores: tuple[UUID, ...]
    closed_store: UUID
    foreign_store: UUID
    s3: S3Place
    engine: sa.Engine
    office: HeadOffice
    beginning: Beginning
    faults: FaultPlan
    ledger: Ledger
    s3_faults: FaultPlan
    s3_ledger: Ledger
    clock: SandboxClock
    switches: OriginalSwitches
    bench: Bench
    watch: Watch

    def mutate(self, operator: str, **arguments: Any) -> Mutation:
        """Change head office's data now; operators and arguments as in changes/mutator.py."""
        return mutate(self.bench, operator, **arguments)

    def between_pages(self, pages: int, action: Action) -> None:
        """Do something as soon as so many more pages of a listing were made, before their reader can ask for another.

        An action that fails does not disturb the reader; its error is raised when the sandbox ends.
        """
        self.watch.after_pages(pages, action)

    def reports(self) -> tuple[Report, ...]:
        """What edges reported and head office accepted, in the order of arrival, repetitions included."""
        with self.watch.lock:
            return tuple(self.watch.reports)

    def listed(self, store_id: UUID) -> list[sa.Row[Any]]:
        """The photos that a store sees now, by id: all columns of the photo, and the product's sku and name."""
        seen = t.scope().subquery()
        mine = sa.select(seen.c.photo_id).where(seen.c.store_id == store_id)
        rows = sa.select(t.photo, t.product.c.sku, t.product.c.name)
        rows = rows.join(t.product, t.product.c.id == t.photo.c.product_id).where(t.photo.c.id.in_(mine))
        with self.engine.connect() as connection:
            return list(connection.execute(rows.order_by(t.photo.c.id)))


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
        if _is_empty(engine):
            fill(engine, folder / BUCKET, beginning)
        with embedded_s3(folder) as s3:
            yield from _serve(engine, s3, beginning, clock, original=original, port=port)
    finally:
        engine.dispose()


def _serve(
    engine: sa.Engine, behind: S3Place, beginning: Beginning, clock: SandboxClock, *, original: bool, port: int
) -> Iterator[HeadOfficeSandbox]:
    listener, door_listener = bind(port), bind()
    s3 = at_the_door(behind, _url(door_listener))
    secret = secrets.token_hex(32)
    # The defaults, whatever this machine's environment says.
    settings = HeadOfficeSettings.model_construct()
    office = HeadOffice(engine, s3_client(s3), s3.bucket, settings, SecretStr(secret), clock.now)
    add_account(office, USERNAME, hash_password(PASSWORD))
    for store in (*beginning.stores, beginning.closed_store):
        grant(office, USERNAME, store.id)
    sandbox = HeadOfficeSandbox(
        url=_url(listener),
        username=USERNAME,
        password=PASSWORD,
        stores=tuple(store.id for store in beginning.stores),
        closed_store=beginning.closed_store.id,
        foreign_store=beginning.foreign_store.id,
        s3=s3,
        engine=engine,
        office=office,
        beginning=beginning,
        faults=FaultPlan(),
        ledger=Ledger(),
        s3_faults=FaultPlan(),
        s3_ledger=Ledger(),
        clock=clock,
        switches=OriginalSwitches(),
        bench=open_bench(office, beginning, silent=original),
        watch=Watch(),
    )
    app = _original(office, secret, sandbox.switches) if original else build_app(office)
    seen = observed(watched(app, sandbox.watch), place, sandbox.faults, sandbox.ledger, clock)
    steerable = steered(seen, sandbox.bench, Steered(sandbox.faults, sandbox.ledger, clock))
    door = observed(bucket_door(behind), bucket_place, sandbox.s3_faults, sandbox.s3_ledger, clock)
    with running((steerable, listener), (door, door_listener)):
        yield sandbox
    if sandbox.watch.failed:
        raise sandbox.watch.failed[0]


def _url(listener: socket.socket) -> str:
    return f"http://{LOOPBACK}:{listener.getsockname()[1]}"


def _is_empty(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        return connection.execute(sa.select(t.company.c.id).limit(1)).first() is None


def _original(office: HeadOffice, secret: str, switches: OriginalSwitches) -> ASGIApp:
    def is_active(username: str) -> bool | None:
        with office.engine.connect() as connection:
            active: bool | None = connection.scalar(
                sa.select(t.account.c.is_active).where(t.account.c.username == username)
            )
            return active

    tokens = Tokens(
        secret=secret,
        now=office.clock,
        access=timedelta(minutes=office.settings.access_minutes),
        refresh=timedelta(minutes=office.settings.refresh_minutes),
        accounts=Accounts({USERNAME: PASSWORD}, is_active),
    )
    return original_app(Original(office.engine, office.s3, office.bucket, tokens, office.clock, switches))
