"""Alerts: what people are to be told, in one table, until a message of it got out.

An alert is its connector, partition (an account, a store, a block of pages) and error; the same one again within the
pause is counted, and the next message says how often. One that reached no target waits and is sent again. When what it
tells of is over that is told once, and the alert is forgotten: the next one is news.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines import languages
from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.storage.database import fields_of, read_rows, storable, write_rows
from imagesync_pipelines.storage.schema import alert as table

LONGEST_WAIT_MINUTES = 30
# A moment further ahead than this was written before the clock was set back, and says nothing.
_AHEAD = timedelta(minutes=LONGEST_WAIT_MINUTES)
SIGN = "imagesync: "

# Sends a title and a body, the third says whether it is good news; gives a line for each target that was not reached.
Send = Callable[[str, str, bool], Sequence[str]]


class AlertNotSentError(ImagesyncError):
    """A message reached none of its targets; the text names them by kind only, because their URLs hold secrets."""


@dataclass(frozen=True)
class Alert:
    """What is to be told, as plain text. connector, partition: '' where it is about none. link: where to look.

    ends_with: what can end it, such as "run <id>"; '' for what lasts until whoever told it sees that it is over.
    """

    connector: str
    partition: str
    error: str
    title: str
    body: str
    link: str
    ends_with: str = field(default="", kw_only=True)


@dataclass(frozen=True)
class KeptAlert(Alert):
    """An alert in the table.

    noted_at: when it last happened. more: how often it happened beside that since the last message. sent_at: of that
    message. due_at: when it is to be sent, None: nothing waits. attempts: how often sending what waits failed.
    over_at: since when it is over, which waits to be told; None: it is not.
    """

    noted_at: datetime
    more: int
    sent_at: datetime | None
    due_at: datetime | None
    attempts: int
    over_at: datetime | None = None


def note_alert(engine: sa.Engine, alert: Alert, now: datetime, pause: timedelta) -> bool:
    """Write down that it happened; says whether a message of it waits to be sent, else it was counted."""
    new = insert(table).values(**storable(vars(alert)), noted_at=now, due_at=now)
    lasts = table.c.over_at.is_(None)
    waits = lasts & table.c.due_at.is_not(None)
    rests = lasts & (table.c.sent_at > now - pause) & (table.c.sent_at <= now + _AHEAD)
    again = new.on_conflict_do_update(
        index_elements=["connector", "partition", "error"],
        set_={
            **{name: new.excluded[name] for name in ("title", "body", "link", "ends_with", "noted_at")},
            "more": table.c.more + sa.case((waits | rests, 1), else_=0),
            "due_at": sa.case((waits, table.c.due_at), (rests, None), else_=now),
            "over_at": None,
        },
    )
    with engine.begin() as connection:
        return connection.execute(again.returning(table.c.due_at)).scalar_one() is not None


def end_alerts(engine: sa.Engine, ended: Collection[KeptAlert], now: datetime) -> int:
    """Note that what these tell of is over; returns how many are to be told so.

    Only what was told, and did not happen again since it was read here: nobody hears of the end of what he never knew.
    """
    told = table.c.sent_at.is_not(None) & table.c.due_at.is_(None)
    rows = [(table.c.noted_at == one.noted_at) & _same(one.connector, one.partition, one.error) for one in ended]
    return write_rows(engine, table.update().where(told, sa.or_(*rows)).values(over_at=now, due_at=now)) if rows else 0


def send_due(engine: sa.Engine, send: Send, now: datetime) -> tuple[int, list[str]]:
    """Send what is due, the oldest first; gives how many got out, and what there is to say about targets.

    What is over of one connector and partition is one message. One that reaches nobody waits for a time that doubles;
    two processes never send one twice.
    """
    sent = 0
    problems: list[str] = []
    due = sa.select(*fields_of(KeptAlert, table)).where((table.c.due_at <= now) | (table.c.due_at > now + _AHEAD))
    due = due.order_by(table.c.noted_at, table.c.connector, table.c.partition, table.c.error)
    while True:
        with engine.begin() as connection:
            row = connection.execute(due.limit(1).with_for_update(skip_locked=True)).first()
            if row is None:
                return sent, problems
            found = [KeptAlert(**row._mapping)]
            if is_over := found[0].over_at is not None:
                where = (table.c.connector == found[0].connector) & (table.c.partition == found[0].partition)
                together = due.where(where, table.c.over_at.is_not(None)).with_for_update(skip_locked=True)
                found = [KeptAlert(**one._mapping) for one in connection.execute(together)]
            title, body = over_message(found) if is_over else (found[0].title, message_of(found[0]))
            mine = sa.or_(*(_same(one.connector, one.partition, one.error) for one in found))
            change: sa.Update | sa.Delete = table.delete()
            try:
                problems += send(title, body, is_over)
                if not is_over:
                    change = table.update().values(sent_at=now, due_at=None, more=0, attempts=0)
                sent += 1
            except AlertNotSentError as error:
                problems.append(languages.told(f"{title}: {error}; it is kept and sent again."))
                wait = timedelta(minutes=min(2 ** max(one.attempts for one in found), LONGEST_WAIT_MINUTES))
                change = table.update().values(due_at=now + wait, attempts=table.c.attempts + 1)
            connection.execute(change.where(mine))


def message_of(kept: KeptAlert) -> str:
    """The body of a message: what happened, what was not told before it, where to look."""
    untold = languages.told(
        f"{kept.more} more failures of this kind were not sent since {kept.sent_at:%Y-%m-%d %H:%M} UTC."
        if kept.sent_at is not None
        else f"{kept.more} more failures of this kind were not sent."
    )
    lines = [
        kept.body,
        untold if kept.more else "",
        languages.told(f"Noted at {kept.noted_at:%Y-%m-%d %H:%M} UTC; no target could be reached before.")
        if kept.attempts
        else "",
        kept.link,
    ]
    return "\n".join(line for line in lines if line)


def over_message(ended: Sequence[KeptAlert]) -> tuple[str, str]:
    """Title and body of the message that what was told of one connector and partition is over."""
    first = ended[0]
    titles = [one.title.removeprefix(SIGN) for one in ended]
    whose = "/".join(part for part in (first.connector, first.partition) if part)
    title = (
        titles[0]
        if len(ended) == 1
        else (languages.told(f"{len(ended)} troubles of {whose}" if whose else f"{len(ended)} troubles"))
    )
    lines = []
    for one, what in zip(ended, titles, strict=True):
        # What lasts was noted at every look; it happened once.
        lines.append(
            languages.told(
                f"Over: {what}. It was last met at {one.noted_at:%Y-%m-%d %H:%M} UTC, and {one.more} times more that "
                "were not sent."
                if one.more and one.ends_with
                else f"Over: {what}. It was last met at {one.noted_at:%Y-%m-%d %H:%M} UTC."
            )
        )
    return SIGN + languages.told(f"over: {title}"), "\n".join([*lines, first.link])


def kept_alerts(
    engine: sa.Engine, *, waiting: bool = False, error: str | None = None, after: datetime | None = None
) -> list[KeptAlert]:
    """What was ever told or waits, the one noted last first.

    waiting: only what waits to be sent; error: only of this one; after: only what was noted later than that.
    """
    query = sa.select(*fields_of(KeptAlert, table)).order_by(table.c.noted_at.desc(), table.c.connector)
    which: list[sa.ColumnElement[bool]] = [
        *([table.c.due_at.is_not(None)] if waiting else []),
        *([table.c.error == error] if error is not None else []),
        *([table.c.noted_at > after] if after is not None else []),
    ]
    return read_rows(engine, query.where(*which), KeptAlert)


def forget_alert(engine: sa.Engine, connector: str, partition: str, error: str) -> bool:
    """Forget one without a word, so that the next is told at once; says whether it was there.

    What waits to be sent stays until it is sent.
    """
    told = _same(connector, partition, error) & table.c.due_at.is_(None)
    return write_rows(engine, table.delete().where(told)) > 0


def _same(connector: str, partition: str, error: str) -> sa.ColumnElement[bool]:
    return (table.c.connector == connector) & (table.c.partition == partition) & (table.c.error == error)
