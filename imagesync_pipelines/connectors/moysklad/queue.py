"""The queue of requests: which entities somebody wants to be synchronised soon, into which child account.

A request names an entity and nothing else of it counts: its images are read from the main account when the run
begins, so an old request can never undo a newer change.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.languages import told
from imagesync_pipelines.storage.database import among, read_rows
from imagesync_pipelines.storage.schema_accounts import moysklad_queue as table
from imagesync_pipelines.storage.statistics import analyze_if_many

PRIORITY = 50
ATTEMPTS = 3
# Pauses after the first and after the second attempt that failed.
PAUSES = (timedelta(minutes=1), timedelta(minutes=5))
# Requests that one run takes: the next run goes on, and what is urgent need not wait for what is not.
TAKEN_AT_ONCE = 1000


class State(StrEnum):
    """Where a request is. set_aside: it could not be understood; failed: all its attempts failed."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SET_ASIDE = "set_aside"


class NewRequest(NamedTuple):
    """A wish that came in. entity_id: in the main account; payload: the JSON text as it came, unknown fields included.

    once: a second wish with the same words here is the same wish ('': every wish is its own). note: what of it was
    skipped, shown until the request is done.
    """

    child: str
    entity_type: str
    entity_id: str
    payload: str
    priority: int = PRIORITY
    once: str = ""
    note: str = ""


class UnreadableRequest(NamedTuple):
    """What came in and could not be understood; the reason names the field."""

    payload: str
    reason: str


class Request(NamedTuple):
    """A request that a run has taken. attempts: the present one included."""

    id: int
    child: str
    entity_type: str
    entity_id: str
    priority: int
    attempts: int

    @property
    def entity(self) -> str:
        """The key of the entity, as everywhere in the connector."""
        return f"{self.entity_type}:{self.entity_id}"


_REQUEST = [table.c[name] for name in Request._fields]


class Due(NamedTuple):
    """What a run could take now for a child. mark: another text whenever other requests or attempts are due."""

    requests: int
    mark: str


class QueueError(NamedTuple):
    """Why a request failed, waits for another attempt, was set aside, or is done with nothing to do; what was skipped.

    child and entity: '' when set aside.
    """

    id: int
    child: str
    entity: str
    state: str
    attempts: int
    changed_at: datetime
    error: str


@dataclass(frozen=True)
class QueueView:
    """The queue for people: numbers per child ('': what was set aside) and state, the newest errors first."""

    counts: Mapping[str, Mapping[str, int]]
    errors: tuple[QueueError, ...]

    def total(self, state: State) -> int:
        """The requests in this state, of all children."""
        return sum(numbers.get(state, 0) for numbers in self.counts.values())


@dataclass(frozen=True)
class Queue:
    """The queue of this installation. Times are aware and handed in. Used from several threads and processes."""

    engine: sa.Engine

    def add(self, requests: Sequence[NewRequest | UnreadableRequest], now: datetime) -> int:
        """Put wishes in, all or none; returns how many are new: those that came before are passed over."""
        if not requests:
            return 0
        rows = [_row(request, now) for request in requests]
        names = list(rows[0])
        # One array per column: several times as fast as a row at a time, and МойСклад waits for it.
        arrays = (sa.literal([row[name] for row in rows], sa.ARRAY(table.c[name].type)) for name in names)
        statement = insert(table).from_select(names, sa.select(*(sa.func.unnest(array) for array in arrays)))
        new = statement.on_conflict_do_nothing(index_elements=["once"]).returning(table.c.id)
        with self.engine.begin() as connection:
            added = len(connection.execute(new).all())
            analyze_if_many(connection, table, added)
        return added

    def due(self, now: datetime) -> dict[str, Due]:
        """The children for which a run could take requests now, those with the most urgent request first."""
        words = sa.cast(table.c.id, sa.Text) + ":" + sa.cast(table.c.attempts, sa.Text)
        mark = sa.func.md5(sa.func.string_agg(words, sa.literal(",")).aggregate_order_by(table.c.id))
        query = sa.select(table.c.child, sa.func.count(), mark).where(_is_due(now)).group_by(table.c.child)
        urgency = (sa.func.max(table.c.priority).desc(), sa.func.min(table.c.due_at), table.c.child)
        with self.engine.connect() as connection:
            return {child: Due(number, text) for child, number, text in connection.execute(query.order_by(*urgency))}

    def take(self, child: str, run_id: str, now: datetime) -> tuple[Request, ...]:
        """Take what is due for a child, at most 1,000, the highest priority first; no other run gets the same."""
        urgency = (table.c.priority.desc(), table.c.due_at, table.c.id)
        chosen = sa.select(table.c.id).where(_is_due(now), table.c.child == child).order_by(*urgency)
        update = (
            table.update()
            .where(table.c.id.in_(chosen.limit(TAKEN_AT_ONCE).with_for_update(skip_locked=True)))
            .values(state=State.RUNNING, run_id=run_id, attempts=table.c.attempts + 1, changed_at=now)
            .returning(*_REQUEST)
        )
        with self.engine.begin() as connection:
            taken = [Request(*row) for row in connection.execute(update)]
        return tuple(sorted(taken, key=lambda request: (-request.priority, request.id)))

    def held(self, run_id: str) -> tuple[Request, ...]:
        """What a run has taken and not told of yet, the highest priority first."""
        query = sa.select(*_REQUEST).where(_running(run_id)).order_by(table.c.priority.desc(), table.c.id)
        return tuple(read_rows(self.engine, query, Request))

    def finish(self, run_id: str, ids: Collection[int], now: datetime, note: str = "") -> None:
        """Note that the run has done these; what it does not hold (any more) stays as it is.

        note: why there was nothing to do, and another attempt would be of no use.
        """
        self._change(_held(run_id, ids), state=State.DONE, last_error=_words(note), changed_at=now)

    def fail(self, run_id: str, ids: Collection[int], error: str, now: datetime) -> None:
        """Note why the run's attempt failed: the next is made after 1 minute, then after 5; after the third, none."""
        self._fail(_held(run_id, ids), error, now)

    def dismiss(self, child: str, why: str, now: datetime) -> int:
        """Let what waits for a child fail for good, and say why; returns how many."""
        waiting = (table.c.child == child) & (table.c.state == State.PENDING)
        return self._change(waiting, state=State.FAILED, last_error=_words(why), changed_at=now)

    def runs(self) -> tuple[str, ...]:
        """The runs that hold requests; one of them that has ended is to be told with `release`."""
        query = sa.select(table.c.run_id).distinct().where(table.c.state == State.RUNNING)
        with self.engine.connect() as connection:
            return tuple(sorted(connection.scalars(query)))

    def release(self, run_id: str, now: datetime) -> int:
        """Take back what a run held when it ended without a word; returns how many. The attempt counts as failed."""
        return self._fail(_running(run_id), told(f"Run {run_id} ended before it was done with it."), now)

    def view(self) -> QueueView:
        """The queue as it is now."""
        numbers = sa.select(table.c.child, table.c.state, sa.func.count()).group_by(table.c.child, table.c.state)
        entity = sa.func.concat_ws(":", *(sa.func.nullif(table.c[name], "") for name in ("entity_type", "entity_id")))
        shown = (table.c[name] for name in ("id", "child", "state", "attempts", "changed_at"))
        first_try = [(State.PENDING, 0), (State.RUNNING, 1)]  # nothing failed yet: what it says is a note
        is_note = sa.tuple_(table.c.state, table.c.attempts).in_(first_try)
        wrong = sa.select(*shown, entity.label("entity"), table.c.last_error.label("error")).where(
            table.c.last_error != ""
        )
        newest = wrong.order_by(is_note, table.c.changed_at.desc(), table.c.id.desc()).limit(10)
        counts: dict[str, dict[str, int]] = {}
        with self.engine.connect() as connection:
            for child, state, number in connection.execute(numbers.order_by(table.c.child)):
                counts.setdefault(child, {})[state] = number
        return QueueView(counts, tuple(read_rows(self.engine, newest, QueueError)))

    def forget_done(self, before: datetime) -> int:
        """Forget requests that were done before that time; all others stay."""
        old = (table.c.state == State.DONE) & (table.c.changed_at < before)
        with self.engine.begin() as connection:
            return int(connection.execute(table.delete().where(old)).rowcount)

    def _fail(self, which: sa.ColumnElement[bool], error: str, now: datetime) -> int:
        due_at = sa.case((table.c.attempts <= 1, now + PAUSES[0]), else_=now + PAUSES[1])
        state = sa.case((table.c.attempts >= ATTEMPTS, State.FAILED), else_=State.PENDING)
        words = _words(error) or told("It failed without a word.")
        return self._change(which, state=state, due_at=due_at, last_error=words, changed_at=now)

    def _change(self, which: sa.ColumnElement[bool], **values: object) -> int:
        with self.engine.begin() as connection:
            return int(connection.execute(table.update().where(which).values(**values)).rowcount)


def _words(text: str) -> str:
    """What PostgreSQL can keep of a sentence, and people read."""
    return text.replace("\x00", "\ufffd")[:500]


def _is_due(now: datetime) -> sa.ColumnElement[bool]:
    return (table.c.state == State.PENDING) & (table.c.due_at <= now)


def _running(run_id: str) -> sa.ColumnElement[bool]:
    return (table.c.run_id == run_id) & (table.c.state == State.RUNNING)


def _held(run_id: str, ids: Collection[int]) -> sa.ColumnElement[bool]:
    """Of these requests, those that the run holds: what it reports late must not touch what another took since."""
    return _running(run_id) & among(table.c.id, ids)


def _row(request: NewRequest | UnreadableRequest, now: datetime) -> dict[str, object]:
    """As what a wish begins; its note is the first that last_error says, and an attempt that fails writes over it."""
    state = State.PENDING
    if isinstance(request, UnreadableRequest):
        request, state = NewRequest("", "", "", request.payload, note=request.reason), State.SET_ASIDE
    row: dict[str, object] = request._asdict()
    row["last_error"] = _words(str(row.pop("note")))
    return row | {"once": request.once or None, "state": state, "due_at": now, "created_at": now, "changed_at": now}
