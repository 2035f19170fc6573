"""The history of every effect: what was done to a group of a target, by whom, when and why. Rows are only ever added.

Whoever has an effect notes it in the transaction of that effect, or of its outcome where the target is somebody else's.
Many at a time are noted by effect_frames.py: they are about our own product images, of whose changes webhooks tell as
`/changes` does. The others wait to be told of where somebody asked for their connector.
"""

import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.database import among, storable
from imagesync_pipelines.storage.schema_effects import effect, effects_known
from imagesync_pipelines.storage.schema_webhooks import webhook_effect


@dataclass(frozen=True)
class EffectRow:
    """What became of one image of a group.

    change: as in plans; primary, pin, unpin, pin_moved, pin_dormant, order, unorder, rule and rule_ended beside.
    before: what the target had, enough to write it again; None for what was not there. after: what cannot be read
    anywhere else later. lost: why what was before cannot be brought back.
    """

    key: str
    change: str
    reason: str
    key_before: str | None = None
    position: int | None = None
    position_before: int | None = None
    fingerprint_before: str | None = None
    fingerprint_after: str | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    lost: str | None = None


@dataclass(frozen=True)
class Author:
    """Who does something: a run, with the plan that it carries out, or a person by hand.

    person: who started the run, where that is known. undoes_run: the run whose effects are taken back by it.
    """

    run_id: str | None = None
    person: str | None = None
    plan_id: int | None = None
    undoes_run: str | None = None


NOBODY = Author()


@dataclass(frozen=True)
class Effect:
    """What was done to one group in one transaction. at: None until it is noted, which is then; id: in that order."""

    connector: str
    account: str
    group: str
    rows: tuple[EffectRow, ...]
    by: Author = NOBODY
    at: datetime | None = None
    id: int = 0


_INTO = """
noted AS (
INSERT INTO imagesync.effect (at, connector, account, group_key, run_id, person, plan_id, undoes_run, rows)"""
# It costs nothing where nobody asked, and no statement of its own where somebody did.
_AND_TELL = """
RETURNING id, connector
), waiting AS (
INSERT INTO imagesync.webhook_effect (id)
SELECT id FROM noted WHERE EXISTS (SELECT FROM imagesync.webhook_subscription WHERE noted.connector = ANY(connectors))
)
SELECT count(*) FROM noted
"""
_NOTE = f"""WITH {_INTO}
SELECT coalesce(at, clock_timestamp()), connector, account, group_key, run_id, person, plan_id, undoes_run,
       rows
  FROM ROWS FROM (
           unnest(CAST(:at AS timestamptz[]), CAST(:connector AS text[]), CAST(:account AS text[]),
                  CAST(:group_key AS text[]), CAST(:run_id AS text[]), CAST(:person AS text[]),
                  CAST(:plan_id AS bigint[]), CAST(:undoes_run AS text[])),
           jsonb_array_elements(CAST(:rows AS jsonb))
       ) WITH ORDINALITY
       AS e (at, connector, account, group_key, run_id, person, plan_id, undoes_run, rows, place)
 ORDER BY place{_AND_TELL}"""  # noqa: S608 - constants of this module
# Those that are known are few, if any: looked up first, they are found by the index.
_NOTE_NEW = f"""
WITH told AS MATERIALIZED (
SELECT CAST(one ->> 0 AS timestamptz) AS at, one ->> 1 AS group_key, one -> 2 AS rows, place
  FROM jsonb_array_elements(CAST(:told AS jsonb)) WITH ORDINALITY AS e (one, place)
), known AS MATERIALIZED (
SELECT group_key, at FROM imagesync.effect
 WHERE connector = :connector AND account = :account AND group_key = ANY(ARRAY(SELECT group_key FROM told))
   AND at >= (SELECT min(at) FROM told)
), {_INTO}
SELECT at, :connector, :account, group_key, CAST(:run_id AS text), CAST(:person AS text), CAST(:plan_id AS bigint),
       CAST(:undoes_run AS text), rows
  FROM told
 WHERE NOT EXISTS (SELECT FROM known WHERE known.group_key = told.group_key AND known.at = told.at)
 ORDER BY place{_AND_TELL}"""  # noqa: S608 - constants of this module
_CHANGED_AFTER = """
SELECT DISTINCT ON (group_key) group_key, run_id, person, plan_id, undoes_run FROM imagesync.effect
 WHERE connector = :connector AND account = :account AND id > :last AND run_id IS DISTINCT FROM :run_id
   AND rows @? '$[*] ? (@.change == "add" || @.change == "update" || @.change == "remove")'
 ORDER BY group_key, id DESC
"""
_METADATA_AS_TEXT = """
(SELECT jsonb_agg(CASE WHEN one #> '{before,metadata}' IS NULL THEN one
                       ELSE jsonb_set(one, '{before,metadata}', to_jsonb(CAST(one #> '{before,metadata}' AS text))) END
                  ORDER BY place)
   FROM jsonb_array_elements(rows) WITH ORDINALITY AS e (one, place))
"""
# What people call a picture by (sync.timeline): its key without its product.
_NAMED = "coalesce(nullif(substr(one ->> '{0}', strpos(one ->> '{0}', '/') + 1), ''), one ->> '{0}')"
_RENAMED = f"""
SELECT DISTINCT unnest(ARRAY[{_NAMED.format("key")}, {_NAMED.format("key_before")}])
  FROM imagesync.effect, jsonb_array_elements(rows) AS e (one)
 WHERE run_id = :run_id AND one ->> 'key_before' <> one ->> 'key'
   AND ({_NAMED.format("key")} = ANY(:names) OR {_NAMED.format("key_before")} = ANY(:names))
"""  # noqa: S608 - constants of this module
_IS_ABOUT = f"""
EXISTS (SELECT FROM jsonb_array_elements(rows) AS e (one) WHERE {_NAMED.format("key")} = ANY(:names))
"""
# The reason of what a plan takes away because its product is excluded.
TAKEN_AWAY = N_("taken away: its product is excluded")
_READ_AT_ONCE = 1000
_WHOLE_ID = 36
BY = [field.name for field in fields(Author)]
FIELDS = [field.name for field in fields(EffectRow)]


def note_effects(connection: sa.Connection, effects: Iterable[Effect]) -> None:
    """Note effects in the transaction of the caller, with one statement; none without any."""
    noted = list(effects)
    if noted:
        values: dict[str, list[Any]] = {name: [getattr(one.by, name) for one in noted] for name in BY}
        values |= {name: [getattr(one, name) for one in noted] for name in ("at", "connector", "account")}
        # As one text, see note_new.
        rows = json.dumps(storable([[_told(row) for row in one.rows] for one in noted]))
        connection.execute(sa.text(_NOTE), {**values, "group_key": [one.group for one in noted], "rows": rows})


def note_new(connection: sa.Connection, connector: str, account: str, by: Author, told: Iterable[str]) -> int:
    """Note effects as somebody else's database tells of them, without those that are noted already; how many.

    told: of each moment, group and rows, as a list in JSON; known is one by its group and moment. All go as one text:
    no row becomes an object, and of many texts the driver looks through each for what an array would have to quote.
    """
    values = {"connector": connector, "account": account, "told": f"[{','.join(told)}]", **vars(by)}
    number: int = connection.execute(sa.text(_NOTE_NEW), values).scalar_one()
    return number


def take_untold(connection: sa.Connection, limit: int) -> list[Effect]:
    """So many effects that webhooks are still to tell of, the newest last; they wait no more when the caller commits.

    What is committed meanwhile waits for the next call, whatever its number: none is passed over.
    """
    some = sa.select(webhook_effect.c.id).order_by(webhook_effect.c.id).limit(limit)
    taken = webhook_effect.delete().where(webhook_effect.c.id.in_(some)).returning(webhook_effect.c.id)
    ids = list(connection.scalars(taken))
    return _read(connection, effect.c.id.in_(ids)) if ids else []


def has_untold(connection: sa.Connection) -> bool:
    """Whether any effect waits to be told of."""
    return connection.execute(sa.select(webhook_effect.c.id).limit(1)).first() is not None


def effects_of_run(engine: sa.Engine, run_id: str, limit: int | None = None) -> list[Effect]:
    """What a run did, the newest last; limit: the newest so many."""
    with engine.connect() as connection:
        return _read(connection, effect.c.run_id == run_id, limit)


def effects_on_picture(engine: sa.Engine, run_id: str, image: str, limit: int) -> tuple[list[Effect], set[str]]:
    """The newest so many of what a run did to a picture, the newest last, and all that it is called in the run.

    Also before and after it was renamed. Only these are read, however much the run did.
    """
    names, more = set[str](), {image}
    with engine.connect() as connection:
        while more:
            names |= more
            asked = {"run_id": run_id, "names": sorted(names)}
            more = set(connection.scalars(sa.text(_RENAMED), asked)) - names
        which = (effect.c.run_id == run_id) & sa.text(_IS_ABOUT).bindparams(names=sorted(names))
        return _read(connection, which, limit), names


def effects_to_undo(engine: sa.Engine, run_id: str, connector: str) -> Iterator[Effect]:
    """What a run did in a connector, the newest last, to be written again: metadata of `before` is JSON in a text.

    As objects of Python it is several times as large, and its numbers would not be the same.
    """
    rows = sa.literal_column(_METADATA_AS_TEXT, JSONB).label("rows")
    which = (effect.c.run_id == run_id) & (effect.c.connector == connector)
    columns = [column for column in effect.c if column.name != "rows"]
    with engine.connect().execution_options(yield_per=_READ_AT_ONCE) as connection:
        for row in connection.execute(sa.select(*columns, rows).where(which).order_by(effect.c.id)):
            yield _effect_of(row)


def runs_beginning(engine: sa.Engine, beginning: str) -> dict[str, int]:
    """The runs that did something and whose ids begin so, each with how many groups it wrote."""
    count = sa.func.count()
    found = sa.select(effect.c.run_id, count).where(effect.c.run_id.startswith(beginning, autoescape=True))
    with engine.connect() as connection:
        return {run: int(number) for run, number in connection.execute(found.group_by(effect.c.run_id))}


def effects_of_group(engine: sa.Engine, connector: str, account: str, group: str) -> list[Effect]:
    """What was done to a group, the newest last."""
    mine = (effect.c.connector == connector) & (effect.c.account == account) & (effect.c.group_key == group)
    with engine.connect() as connection:
        return _read(connection, mine)


def effects_about(
    connection: sa.Connection,
    groups: Collection[tuple[str, str]],
    *,
    after: datetime | None = None,
    before: int | None = None,
    limit: int | None = None,
) -> list[Effect]:
    """What was done to any of these groups (connector, group) in any account, the newest last.

    after: later than that. before: earlier than the effect with this id. limit: the newest so many.
    """
    which: sa.ColumnElement[bool] = sa.tuple_(effect.c.connector, effect.c.group_key).in_(groups)
    if after is not None:
        which &= effect.c.at > after
    if before is not None:
        which &= effect.c.id < before
    return _read(connection, which, limit)


@dataclass(frozen=True)
class Touched:
    """Whose images a run changed."""

    run_id: str
    connector: str
    account: str


def touched_by(connection: sa.Connection, run: str) -> list[Touched]:
    """Whose images the runs changed whose ids begin so."""
    found = sa.select(effect.c.run_id, effect.c.connector, effect.c.account).distinct()
    # Dagster's ids have 36 characters: a whole one is looked up.
    mine = effect.c.run_id == run if len(run) == _WHOLE_ID else effect.c.run_id.startswith(run, autoescape=True)
    return [Touched(*row) for row in connection.execute(found.where(mine).order_by(*found.selected_columns))]


def undone_by(connection: sa.Connection, run_id: str) -> str | None:
    """The run that a run took back, None where it took back none."""
    mine = (effect.c.run_id == run_id) & effect.c.undoes_run.is_not(None)
    return connection.scalar(sa.select(effect.c.undoes_run).where(mine).limit(1))


def took_away(connection: sa.Connection, run_id: str) -> bool:
    """Whether a run took away what was there of excluded products."""
    # One effect of its plan tells of all: the run may have millions, and is asked for each group that is undone.
    mine = (effect.c.run_id == run_id) & effect.c.plan_id.is_not(None)
    rows = connection.scalar(sa.select(effect.c.rows).where(mine).limit(1))
    return any(row["reason"] == TAKEN_AWAY for row in rows or ())


def plan_of(connection: sa.Connection, run_id: str) -> int | None:
    """The newest plan of which a run did something; None: nothing of it is known."""
    plan_id: int | None = connection.scalar(sa.select(sa.func.max(effect.c.plan_id)).where(effect.c.run_id == run_id))
    return plan_id


def changed_after(connection: sa.Connection, connector: str, account: str, run_id: str, last: int) -> dict[str, Author]:
    """By group, who changed an image of it after the effect `last` of a run; the newest of them counts."""
    asked = {"connector": connector, "account": account, "run_id": run_id, "last": last}
    found = connection.execute(sa.text(_CHANGED_AFTER), asked)
    return {group: Author(*by) for group, *by in found}


def effects_after(
    connection: sa.Connection, connector: str, account: str, groups: Collection[str], last: int
) -> list[Effect]:
    """What was done to these groups after the effect `last`, the newest last."""
    mine = (effect.c.connector == connector) & (effect.c.account == account) & among(effect.c.group_key, groups)
    return _read(connection, mine & (effect.c.id > last)) if groups else []


def known_since(connection: sa.Connection) -> datetime:
    """Since when every effect is known: the upgrade that began to note them, or the newest that was forgotten."""
    since: datetime = connection.execute(sa.select(effects_known.c.since)).scalar_one()
    return since


def _read(connection: sa.Connection, which: sa.ColumnElement[bool], limit: int | None = None) -> list[Effect]:
    found = connection.execute(sa.select(effect).where(which).order_by(effect.c.id.desc()).limit(limit)).all()
    return [_effect_of(row) for row in reversed(found)]


def _effect_of(row: Any) -> Effect:
    return Effect(
        row.connector,
        row.account,
        row.group_key,
        tuple(EffectRow(**{name: _known(value) for name, value in one.items() if name in FIELDS}) for one in row.rows),
        Author(row.run_id, row.person, row.plan_id, row.undoes_run),
        row.at,
        row.id,
    )


def _known(value: Any) -> Any:
    """A value with the names of an object, of which there are few, each once in memory."""
    return {sys.intern(name): one for name, one in value.items()} if isinstance(value, dict) else value


def _told(row: EffectRow) -> dict[str, Any]:
    """A row as it is kept: without what is None."""
    return {name: value for name in FIELDS if (value := getattr(row, name)) is not None}
