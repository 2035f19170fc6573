"""What is under way to other systems: calls whose outcome is not known, and reports that wait.

An intent is there only between the commit before a call and the commit of its outcome, so one that is found at a start
means: unknown. The outbox holds reports to an upstream until they could be sent, per connector and account; of a key
there is one, the newest: it replaces an older one that was not sent.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, insert

from imagesync_pipelines.storage.database import among, fields_of, read_rows, storable, write_rows
from imagesync_pipelines.storage.effects import NOBODY, Author, Effect, EffectRow, note_effects
from imagesync_pipelines.storage.schema import intent as intents
from imagesync_pipelines.storage.schema import report_outbox as table
from imagesync_pipelines.storage.statistics import analyze_if_many


@dataclass(frozen=True)
class Intent:
    """A group that is about to be written to a remote target; `fingerprint` is the digest of the rows it is to get.

    rows: what is to become of it, and by: by whom, for the history.
    """

    group: str
    fingerprint: str
    rows: tuple[EffectRow, ...] = ()
    by: Author = NOBODY


def begin_intent(engine: sa.Engine, owner: str, intent: Intent, run_id: str | None) -> None:
    """Write and commit that a run is about to write a group; a second attempt on it replaces the first."""
    values = {
        "fingerprint": intent.fingerprint,
        "run_id": run_id,
        "started_at": sa.func.now(),
        "rows": storable([_told(row) for row in intent.rows]),
        "details": {},
        "by": _told(intent.by),
    }
    statement = insert(intents).values(connector=owner, group_key=intent.group, **values)
    write_rows(engine, statement.on_conflict_do_update(index_elements=["connector", "group_key"], set_=values))


def open_intents(engine: sa.Engine, owner: str) -> list[Intent]:
    """The groups of a connector, or of one account of it, whose outcome is unknown, the oldest first."""
    query = sa.select(intents.c.group_key.label("group"), intents.c.fingerprint).where(intents.c.connector == owner)
    return read_rows(engine, query.order_by(intents.c.started_at, intents.c.group_key), Intent)


Details = Mapping[str, Mapping[str, Any] | None]
"""What a target says of rows, by their keys, just before it writes them: fields of EffectRow, such as `before`.

None: there is nothing to be done, for it is there already. IN_PART: said afterwards, of a row that is not done: with
these fields otherwise it is.
"""
IN_PART = "in_part"
NO_DETAILS: Details = MappingProxyType({})


def note_details(connection: sa.Connection, owner: str, details: Mapping[str, Details]) -> None:
    """Note what a target says of the rows of groups; of each row, what is said last counts."""
    rows = [{"of": group, "said": storable(dict(of_rows))} for group, of_rows in details.items() if of_rows]
    mine = (intents.c.connector == owner) & (intents.c.group_key == sa.bindparam("of"))
    said = intents.c.details.concat(sa.bindparam("said", type_=JSONB))
    if rows:
        connection.execute(intents.update().where(mine).values(details=said), rows)


def close_intents(
    connection: sa.Connection,
    owner: str,
    groups: Collection[str],
    done: Callable[[EffectRow], EffectRow | None] = lambda row: None,
) -> list[Effect]:
    """Take intents away in the caller's transaction, the one that writes what their groups now hold.

    What was done of them goes into the history and is returned; done: a row as it was done, None when it was not.
    """
    gone = intents.delete().where(intents.c.connector == owner, among(intents.c.group_key, groups))
    connector, _, account = owner.partition("/")
    effects = []
    for one in connection.execute(gone.returning(intents)).all():
        rows = tuple(row for told in one.rows if (row := _as_done(told, one.details.get(told["key"], {}), done)))
        if rows:
            effects.append(Effect(connector, account, one.group_key, rows, Author(**one.by)))
    note_effects(connection, effects)
    return effects


def _as_done(
    told: Mapping[str, Any], details: Mapping[str, Any] | None, done: Callable[[EffectRow], EffectRow | None]
) -> EffectRow | None:
    """A row of an intent as the history has it; None when nothing was done."""
    if details is None:
        return None
    said = {name: value for name, value in details.items() if name != IN_PART}
    row = EffectRow(**{**told, **said})
    return done(row) or (replace(row, **details[IN_PART]) if IN_PART in details else None)


def _told(one: EffectRow | Author) -> dict[str, Any]:
    """Its fields, without what is None."""
    return {name: value for name, value in vars(one).items() if value is not None}


@dataclass(frozen=True)
class WaitingReport:
    """A report that waits; `attempts` counts how often it was refused."""

    key: str
    payload: dict[str, Any]
    queued_at: datetime
    attempts: int


def queue_reports(engine: sa.Engine, connector: str, account: str, reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Put reports in (key to payload), all or none; they replace older ones of the same keys."""
    owner = {"connector": connector, "account": account}
    statement = insert(table)
    # Not now(): a report that replaces one in the same transaction must not look like it.
    again = {"payload": statement.excluded.payload, "queued_at": sa.func.clock_timestamp(), "attempts": 0}
    statement = statement.on_conflict_do_update(index_elements=["connector", "account", "key"], set_=again)
    rows = [{**owner, "key": key, "payload": payload} for key, payload in reports.items()]
    if rows:
        with engine.begin() as connection:
            connection.execute(statement, rows)
            analyze_if_many(connection, table, len(rows))


def waiting_keys(engine: sa.Engine, connector: str, account: str) -> list[str]:
    """The keys of those that wait: what was refused least often first, then the oldest."""
    query = sa.select(table.c.key).where(_of(connector, account))
    with engine.connect() as connection:
        return list(connection.scalars(query.order_by(table.c.attempts, table.c.queued_at, table.c.key)))


def waiting_reports(engine: sa.Engine, connector: str, account: str, keys: Collection[str]) -> list[WaitingReport]:
    """Those of these keys that wait, in the order of waiting_keys."""
    query = sa.select(*fields_of(WaitingReport, table)).where(_of(connector, account), among(table.c.key, keys))
    return read_rows(engine, query.order_by(table.c.attempts, table.c.queued_at, table.c.key), WaitingReport)


def take_out(engine: sa.Engine, connector: str, account: str, reports: Sequence[WaitingReport]) -> None:
    """Take out reports that were sent; one that was replaced since stays."""
    same = sa.tuple_(table.c.key, table.c.queued_at).in_([(report.key, report.queued_at) for report in reports])
    write_rows(engine, table.delete().where(_of(connector, account), same))


def count_waiting(engine: sa.Engine, connector: str, account: str) -> int:
    """How many reports wait."""
    with engine.connect() as connection:
        query = sa.select(sa.func.count()).where(_of(connector, account))
        return int(connection.execute(query).scalar_one())


def note_attempt(engine: sa.Engine, connector: str, account: str, keys: Collection[str]) -> None:
    """Note that these were refused once more."""
    failed = table.update().where(_of(connector, account), among(table.c.key, keys))
    write_rows(engine, failed.values(attempts=table.c.attempts + 1))


def drop_after(engine: sa.Engine, connector: str, account: str, attempts: int) -> int:
    """Drop reports that were refused at least that often; returns how many."""
    return write_rows(engine, table.delete().where(_of(connector, account), table.c.attempts >= attempts))


def _of(connector: str, account: str) -> sa.ColumnElement[bool]:
    return (table.c.connector == connector) & (table.c.account == account)
