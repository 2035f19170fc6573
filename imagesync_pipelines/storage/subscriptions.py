"""Webhooks out: who wants to be told of changes, what there is to tell, what came of it. No HTTP, no secret.

Events are numbered in the order in which the changes were committed; a subscription's cursor is the last event that is
done. What came of a delivery is written with the cursor, in one transaction: a process that is killed between sending
and writing sends the same message, by the same id, once more.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.database import fields_of, read_rows, write_rows
from imagesync_pipelines.storage.schema_webhooks import webhook_delivery as deliveries
from imagesync_pipelines.storage.schema_webhooks import webhook_event as events
from imagesync_pipelines.storage.schema_webhooks import webhook_subscription as table

# Of the newest event that there ever was, also when it was forgotten.
_LAST_NUMBER = sa.func.coalesce(
    sa.func.pg_sequence_last_value(sa.cast("imagesync.webhook_event_id_seq", postgresql.REGCLASS)), 0
)
# The name of the alert of a receiver that is not tried any more.
DISABLED = N_("webhook disabled")


class SubscriptionError(ImagesyncError):
    """A subscription is not there, is there already, or cannot be as it was asked for; the text is for people."""


class State(StrEnum):
    """What is done with what a subscription is to be told: sent, kept for later, kept because sending failed long."""

    ACTIVE = "active"
    PAUSED = "paused"
    DISABLED = "disabled"


@dataclass(frozen=True)
class NewSubscription:
    """What a person asks for. secret: `env:NAME`. connectors, events, skus (patterns): empty for all.

    Of connectors: all that bring product images; one that writes into another system is named.
    """

    name: str
    form: str
    url: str
    secret: str
    connectors: Sequence[str] = ()
    events: Sequence[str] = ()
    skus: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Subscription(NewSubscription):
    """One that is there, and how far it is.

    old_secret is valid beside `secret` until old_secret_until. cursor: the last event that is done. attempts: that
    failed in a row, since failing_since; the next one is not before due_at.
    """

    id: int
    old_secret: str | None
    old_secret_until: datetime | None
    state: str
    said: str
    cursor: int
    attempts: int
    failing_since: datetime | None
    due_at: datetime | None
    delivered_at: datetime | None
    created_at: datetime


@dataclass(frozen=True)
class Event:
    """Something to tell. message_id: the same however often it is sent; body: JSON as it is signed."""

    message_id: str
    sku: str
    connectors: Sequence[str]
    events: Sequence[str]
    addresses: Sequence[str]
    body: str
    changed_at: datetime


@dataclass(frozen=True, kw_only=True)
class StoredEvent(Event):
    """An event with its number, by which replays begin."""

    id: int


@dataclass(frozen=True)
class Attempt:
    """One sending, as the delivery log has it. status: of HTTP, None without an answer; said: why it failed."""

    event_id: int | None
    message_id: str
    sku: str
    attempt: int
    at: datetime
    accepted: bool
    status: int | None
    seconds: float
    said: str


def add(engine: sa.Engine, new: NewSubscription) -> Subscription:
    """Add a subscription, to be told of what happens from now on. Raises SubscriptionError for a name that is taken."""
    values = {**vars(new), "connectors": list(new.connectors), "events": list(new.events), "skus": list(new.skus)}
    try:
        write_rows(engine, table.insert().values(**values, cursor=_LAST_NUMBER))
    except sa.exc.IntegrityError:
        raise SubscriptionError(f"There is a webhook {new.name} already; choose another name, or remove it.") from None
    return named(engine, new.name)


def every(engine: sa.Engine) -> list[Subscription]:
    """All subscriptions, by name."""
    return read_rows(engine, sa.select(*fields_of(Subscription, table)).order_by(table.c.name), Subscription)


def named(engine: sa.Engine, name: str) -> Subscription:
    """The subscription of this name. Raises SubscriptionError naming those that there are."""
    known = {one.name: one for one in every(engine)}
    if name not in known:
        raise SubscriptionError(f"There is no webhook {name!r}; there are: {', '.join(known) or 'none'}.")
    return known[name]


def remove(engine: sa.Engine, name: str) -> None:
    """Forget a subscription and its delivery log. Raises SubscriptionError."""
    write_rows(engine, table.delete().where(table.c.id == named(engine, name).id))


def pause(engine: sa.Engine, name: str, said: str) -> None:
    """Send nothing until it is resumed; what happens meanwhile is kept. Raises SubscriptionError."""
    _change(engine, name, state=State.PAUSED, said=said)


def resume(engine: sa.Engine, name: str) -> int:
    """Go on where it was, at once, also after it was disabled. Raises SubscriptionError.

    Gives how many events that it had not had were forgotten meanwhile, which are passed over.
    """
    one = named(engine, name)
    oldest = sa.select(sa.func.coalesce(sa.func.min(events.c.id), _LAST_NUMBER + 1))
    with engine.connect() as connection:
        gone = max(int(connection.execute(oldest).scalar_one()) - 1 - one.cursor, 0)
    values = {"state": State.ACTIVE, "said": "", "attempts": 0, "failing_since": None, "due_at": None}
    _change(engine, name, **values, cursor=one.cursor + gone)
    return gone


def rotate(engine: sa.Engine, one: Subscription, secret: str, old_secret: str, until: datetime) -> None:
    """Sign with another secret, and with the one before too until a moment. Raises SubscriptionError."""
    if old_secret == secret:
        raise SubscriptionError(f"{one.name} is signed with {secret} already; name another variable.")
    values = {"secret": secret, "old_secret": old_secret, "old_secret_until": until}
    as_read = table.c.id == one.id, table.c.secret == one.secret
    if not write_rows(engine, table.update().where(*as_read).values(**values)):
        raise SubscriptionError(f"The secret of {one.name} was changed by somebody else meanwhile; look at it again.")


def replay(engine: sa.Engine, name: str, first: int) -> int:
    """Send again from an event on, in order; what was sent already has the id that it had.

    Gives how many events are ahead, wanted by the subscription or not. Raises SubscriptionError.
    """
    newest = newest_event(engine)
    if not 1 <= first <= newest + 1:
        raise SubscriptionError(f"There is no event {first}; the newest is {newest}.")
    _change(engine, name, cursor=first - 1, attempts=0, failing_since=None, due_at=None)
    with engine.connect() as connection:
        ahead = sa.select(sa.func.count()).select_from(events).where(events.c.id >= first)
        return int(connection.execute(ahead).scalar_one())


def first_event_since(engine: sa.Engine, moment: datetime) -> int:
    """The number of the first event of a change at that moment or later; one after the newest where there is none."""
    first = sa.select(sa.func.min(events.c.id)).where(events.c.changed_at >= moment)
    newest = sa.select(sa.func.coalesce(sa.func.max(events.c.id), 0))
    with engine.connect() as connection:
        found = connection.execute(first).scalar()
        return int(connection.execute(newest).scalar_one()) + 1 if found is None else int(found)


def _change(engine: sa.Engine, name: str, **values: object) -> None:
    write_rows(engine, table.update().where(table.c.id == named(engine, name).id).values(**values))


def next_events(engine: sa.Engine, after: int, limit: int) -> list[StoredEvent]:
    """So many events after a number, in order."""
    query = sa.select(*fields_of(StoredEvent, events)).where(events.c.id > after).order_by(events.c.id).limit(limit)
    return read_rows(engine, query, StoredEvent)


def newest_event(engine: sa.Engine) -> int:
    """The number of the newest event; 0 without any."""
    with engine.connect() as connection:
        return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(events.c.id), 0))).scalar_one())


def waiting(engine: sa.Engine, now: datetime) -> list[Subscription]:
    """The subscriptions that are to be tried now: active, with events after their cursor, and due."""
    newest = newest_event(engine)
    is_due = table.c.due_at.is_(None) | (table.c.due_at <= now)
    query = sa.select(*fields_of(Subscription, table)).where(table.c.state == State.ACTIVE, table.c.cursor < newest)
    return read_rows(engine, query.where(is_due).order_by(table.c.id), Subscription)


def pass_over(engine: sa.Engine, one: Subscription, to: int) -> bool:
    """Move the cursor over events that the subscription does not want; False where somebody moved it meanwhile."""
    return write_rows(engine, table.update().where(*_as_read(one)).values(cursor=to)) > 0


def accepted(engine: sa.Engine, one: Subscription, made: Sequence[Attempt]) -> bool:
    """Write that events were delivered, and go on behind the last; False where somebody moved the cursor meanwhile."""
    last = max(attempt.event_id or 0 for attempt in made)
    values = {"cursor": last, "attempts": 0, "failing_since": None, "due_at": None, "delivered_at": made[-1].at}
    return _write(engine, one, made, values)


def failed(engine: sa.Engine, one: Subscription, made: Sequence[Attempt], due_at: datetime, disabled: str) -> bool:
    """Write that events were not delivered, and when they are tried again.

    disabled: why they are not any more, '' where they are. False where somebody moved the cursor meanwhile.
    """
    since = one.failing_since or made[0].at
    values: dict[str, Any] = {"attempts": one.attempts + 1, "failing_since": since, "due_at": due_at}
    if disabled:
        values |= {"state": State.DISABLED, "said": disabled}
    return _write(engine, one, made, values)


def _write(engine: sa.Engine, one: Subscription, made: Sequence[Attempt], values: Mapping[str, Any]) -> bool:
    """The log, and the subscription where it still is as it was read."""
    with engine.begin() as connection:
        changed = connection.execute(table.update().where(*_as_read(one)).values(**values)).rowcount
        _log(connection, one.id, made)
        return changed > 0


def _as_read(one: Subscription) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.id == one.id, table.c.cursor == one.cursor, table.c.state == one.state


def note(engine: sa.Engine, one: Subscription, made: Attempt) -> None:
    """Write an attempt that is no delivery of an event, such as a test."""
    with engine.begin() as connection:
        _log(connection, one.id, [made])


def _log(connection: sa.Connection, subscription_id: int, made: Sequence[Attempt]) -> None:
    # Somebody may have removed the subscription, and its log with it.
    there = sa.select(table.c.id).where(table.c.id == subscription_id).with_for_update(read=True)
    if connection.execute(there).first() is not None:
        rows = [{**vars(attempt), "subscription_id": subscription_id} for attempt in made]
        connection.execute(deliveries.insert(), rows)


def log_of(engine: sa.Engine, one: Subscription, limit: int) -> list[Attempt]:
    """The last attempts, the newest first."""
    mine = sa.select(*fields_of(Attempt, deliveries)).where(deliveries.c.subscription_id == one.id)
    return read_rows(engine, mine.order_by(deliveries.c.id.desc()).limit(limit), Attempt)


def behind(engine: sa.Engine, one: Subscription) -> int:
    """How many events are after its cursor, wanted by it or not."""
    with engine.connect() as connection:
        ahead = sa.select(sa.func.count()).select_from(events).where(events.c.id > one.cursor)
        return int(connection.execute(ahead).scalar_one())


def write_events(connection: sa.Connection, new: Sequence[Event]) -> None:
    """Append events, in this order, in the caller's transaction."""
    if new:
        rows = [{**vars(one), **{name: list(getattr(one, name)) for name in _LISTS}} for one in new]
        connection.execute(events.insert(), rows)


_LISTS = ("connectors", "events", "addresses")
