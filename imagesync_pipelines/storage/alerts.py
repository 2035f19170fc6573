"""Alerts: what people are to be told, in one table, until a message of it got out.

An alert is its connector, partition (an account, a store, a block of pages) and error; the same one again within the
pause is counted, and the next message says how often. One that reached no target waits and is sent again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.storage.database import fields_of, read_rows, storable, write_rows
from imagesync_pipelines.storage.schema import alert as table

LONGEST_WAIT_MINUTES = 30
# A moment further ahead than this was written before the clock was set back, and says nothing.
_AHEAD = timedelta(minutes=LONGEST_WAIT_MINUTES)

# Sends a title and a body, and gives a line for each target that was not reached.
Send = Callable[[str, str], Sequence[str]]


class AlertNotSentError(ImagesyncError):
    """A message reached none of its targets; the text names them by kind only, because their URLs hold secrets."""


@dataclass(frozen=True)
class Alert:
    """What is to be told, as plain text. connector, partition: '' where it is about none. link: where to look."""

    connector: str
    partition: str
    error: str
    title: str
    body: str
    link: str


@dataclass(frozen=True)
class KeptAlert(Alert):
    """An alert in the table.

    noted_at: when it last happened. more: how often it happened beside that since the last message. sent_at: of that
    message. due_at: when it is to be sent, None: nothing waits. attempts: how often sending what waits failed.
    """

    noted_at: datetime
    more: int
    sent_at: datetime | None
    due_at: datetime | None
    attempts: int


def note_alert(engine: sa.Engine, alert: Alert, now: datetime, pause: timedelta) -> bool:
    """Write down that it happened; says whether a message of it waits to be sent, else it was counted."""
    new = insert(table).values(**storable(vars(alert)), noted_at=now, due_at=now)
    waits = table.c.due_at.is_not(None)
    rests = (table.c.sent_at > now - pause) & (table.c.sent_at <= now + _AHEAD)
    again = new.on_conflict_do_update(
        index_elements=["connector", "partition", "error"],
        set_={
            **{name: new.excluded[name] for name in ("title", "body", "link", "noted_at")},
            "more": table.c.more + sa.case((waits | rests, 1), else_=0),
            "due_at": sa.case((waits, table.c.due_at), (rests, None), else_=now),
        },
    )
    with engine.begin() as connection:
        return connection.execute(again.returning(table.c.due_at)).scalar_one() is not None


def send_due(engine: sa.Engine, send: Send, now: datetime) -> tuple[int, list[str]]:
    """Send what is due, the oldest first; gives how many got out, and what there is to say about targets.

    One that reaches nobody waits for a time that doubles; two processes never send one twice.
    """
    sent = 0
    problems: list[str] = []
    due = sa.select(*fields_of(KeptAlert, table)).where((table.c.due_at <= now) | (table.c.due_at > now + _AHEAD))
    due = due.order_by(table.c.noted_at, table.c.connector, table.c.partition, table.c.error).limit(1)
    while True:
        with engine.begin() as connection:
            row = connection.execute(due.with_for_update(skip_locked=True)).first()
            if row is None:
                return sent, problems
            kept = KeptAlert(**row._mapping)
            try:
                problems += send(kept.title, message_of(kept))
                change = {"sent_at": now, "due_at": None, "more": 0, "attempts": 0}
                sent += 1
            except AlertNotSentError as error:
                problems.append(f"{kept.title}: {error}; it is kept and sent again.")
                wait = timedelta(minutes=min(2**kept.attempts, LONGEST_WAIT_MINUTES))
                change = {"due_at": now + wait, "attempts": kept.attempts + 1}
            connection.execute(table.update().where(_same(kept.connector, kept.partition, kept.error)).values(**change))


def message_of(kept: KeptAlert) -> str:
    """The body of a message: what happened, what was not told before it, where to look."""
    before = f" since {kept.sent_at:%Y-%m-%d %H:%M} UTC" if kept.sent_at is not None else ""
    lines = [
        kept.body,
        f"{kept.more} more failures of this kind were not sent{before}." if kept.more else "",
        f"Noted at {kept.noted_at:%Y-%m-%d %H:%M} UTC; no target could be reached before." if kept.attempts else "",
        kept.link,
    ]
    return "\n".join(line for line in lines if line)


def kept_alerts(engine: sa.Engine, *, waiting: bool = False, error: str | None = None) -> list[KeptAlert]:
    """What was ever told or waits, the one noted last first; only what waits to be sent, only of an error."""
    query = sa.select(*fields_of(KeptAlert, table)).order_by(table.c.noted_at.desc(), table.c.connector)
    query = query.where(table.c.due_at.is_not(None)) if waiting else query
    return read_rows(engine, query if error is None else query.where(table.c.error == error), KeptAlert)


def forget_alert(engine: sa.Engine, connector: str, partition: str, error: str) -> bool:
    """Forget one whose reason is over, so that the next is told at once; says whether it was there.

    What waits to be sent stays until it is sent.
    """
    told = _same(connector, partition, error) & table.c.due_at.is_(None)
    return write_rows(engine, table.delete().where(told)) > 0


def _same(connector: str, partition: str, error: str) -> sa.ColumnElement[bool]:
    return (table.c.connector == connector) & (table.c.partition == partition) & (table.c.error == error)
