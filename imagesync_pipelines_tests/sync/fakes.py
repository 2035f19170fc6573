"""A database with transactions, a remote system that loses answers, an intent log with its ledger, a quarantine.

Every effect first asks the `Crash` whether the process dies here; a KeyboardInterrupt stands for its death, because no
`except Exception` may catch it. What a fake has committed stays, as on a disk.
"""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import pandas as pd

from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.storage.effects import EffectRow
from imagesync_pipelines.storage.errors import LockLostError
from imagesync_pipelines.storage.outbox import Intent
from imagesync_pipelines.storage.quarantine import QuarantineItem
from imagesync_pipelines.sync.apply import group_works, outcomes
from imagesync_pipelines.sync.effects import done_as_seen, done_by
from imagesync_pipelines.sync.frames import ROW_COLUMNS
from imagesync_pipelines.sync.model import Change, GroupWork, Outcome, PlanRow, RowResult
from imagesync_pipelines.sync.plan import group_states
from imagesync_pipelines.sync.remote import MOVED, moved_groups

TYPES = {"key": "str", "group": "str", "position": "Int64", "fingerprint": "str", "content": "str"}
Row = tuple[str, str, int | None, str, str | None]


def frame(*rows: Row) -> pd.DataFrame:
    """Rows (key, group, position, fingerprint, content) as the engine gets them."""
    return pd.DataFrame(rows, columns=list(ROW_COLUMNS)).astype(TYPES)


def rejects(*rows: tuple[str, str | None, str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["key", "group", "reason"]).astype("str")


def rows_of(table: pd.DataFrame) -> dict[str, Row]:
    """The rows of a frame by key, with None for NA."""
    plain = table.loc[:, list(ROW_COLUMNS)].astype(object)
    return {row[0]: row for row in plain.where(plain.notna(), None).itertuples(index=False, name=None)}


@dataclass
class Crash:
    """Dies at the nth effect (counted from 1; 0: never) and counts the effects it has seen."""

    at: int = 0
    seen: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def point(self) -> None:
        with self.lock:
            self.seen += 1
            if self.seen == self.at:
                raise KeyboardInterrupt(f"killed at effect {self.at}")


def effect(rows: dict[str, Row], change: PlanRow, wanted: dict[str, Row]) -> None:
    """One row of a plan on the rows of a target; what is done twice or to nothing is an error of the engine."""
    if change.change is Change.ADD:
        assert change.key not in rows, f"{change.key} would be there twice"
    else:
        assert change.key_before in rows, f"{change.key_before} is not there"
        del rows[change.key_before]
    if change.change is not Change.REMOVE:
        rows[change.key] = wanted[change.key]


def done(work: GroupWork) -> list[RowResult]:
    return [RowResult(row.key, row.group, row.change, Outcome.DONE, row.reason) for row in work.rows]


@dataclass
class FakeQuarantine:
    items: dict[str, QuarantineItem] = field(default_factory=dict)

    def put(self, items: Sequence[QuarantineItem]) -> None:
        self.items.update({item.key: item for item in items})

    def list(self) -> Sequence[QuarantineItem]:
        return tuple(self.items.values())

    def clear(self, keys: Collection[str]) -> None:
        for key in keys:
            self.items.pop(key, None)


@dataclass
class FakeDatabase:
    """`poison`: keys that it does not accept; `gone`: the server is not there. Counts its transactions."""

    rows: dict[str, Row]
    wanted: dict[str, Row]
    poison: Collection[str] = ()
    crash: Crash = field(default_factory=Crash)
    sizes: list[int] = field(default_factory=list)

    def apply_batch(self, rows: pd.DataFrame, digests: Mapping[str, str] | None) -> pd.DataFrame:
        self.sizes.append(len(rows))
        self.crash.point()
        works = list(group_works(rows, digests))
        moved = moved_groups(works, group_states(self.current()))
        copy = dict(self.rows)
        for row in (row for work in works if work.group not in moved for row in work.rows):
            if row.key in self.poison:
                raise ValueError(f"value too long for {row.key}\nDETAIL: secret")
            effect(copy, row, self.wanted)
        self.rows = copy  # commit
        self.crash.point()  # committed, and the answer is lost
        refused = rows["group"].isin(list(moved))
        return pd.concat([outcomes(rows[refused], Outcome.REFUSED, MOVED), outcomes(rows[~refused], Outcome.DONE)])

    def current(self) -> pd.DataFrame:
        return frame(*self.rows.values())


@dataclass
class FakeRemote:
    """Somebody else's system. `loses`: groups whose answer is lost once, True where the call had its effect before.

    `poison`: keys that it refuses in its answer. `breaks`: groups at which it raises after its first row.
    """

    rows: dict[str, Row]
    wanted: dict[str, Row]
    loses: dict[str, bool] = field(default_factory=dict)
    poison: Collection[str] = ()
    breaks: Collection[str] = ()
    stopped: str = ""
    crash: Crash = field(default_factory=Crash)
    calls: list[str] = field(default_factory=list)
    reads: list[tuple[str, ...]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def apply(self, work: GroupWork) -> Sequence[RowResult]:
        with self.lock:
            self.calls.append(work.group)
            self.crash.point()
            lost_after = self.loses.pop(work.group, None)
            if lost_after is False:
                raise AnswerLostError("read timed out")
            results = []
            for nth, row in enumerate(work.rows):
                if work.group in self.breaks and nth == 1:
                    raise ConnectionError("500 from the far side")
                if row.key in self.poison:
                    results.append(RowResult(row.key, row.group, row.change, Outcome.FAILED, "refused by the far side"))
                    continue
                effect(self.rows, row, self.wanted)
                self.crash.point()  # the effect is done, and nobody hears of it
                results.append(RowResult(row.key, row.group, row.change, Outcome.DONE, row.reason))
            if lost_after:
                raise AnswerLostError("connection reset")
            return results

    def read(self, groups: Sequence[str]) -> pd.DataFrame:
        with self.lock:
            self.reads.append(tuple(groups))
            return frame(*(row for row in self.rows.values() if row[1] in groups))


@dataclass
class FakeIntents:
    """Intents and, in the same transactions, the ledger: what we know that the target holds, and the history (told)."""

    ledger: dict[str, Row]
    wanted: dict[str, Row]
    open: dict[str, Intent] = field(default_factory=dict)
    told: list[EffectRow] = field(default_factory=list)
    crash: Crash = field(default_factory=Crash)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def open_intents(self) -> Sequence[Intent]:
        return tuple(self.open.values())

    def begin(self, intent: Intent) -> None:
        with self.lock:
            self.crash.point()
            self.open[intent.group] = intent

    def finish(self, work: GroupWork, results: Sequence[RowResult]) -> None:
        with self.lock:
            self.crash.point()
            succeeded = {result.key for result in results if result.outcome is Outcome.DONE}
            for row in work.rows:
                if row.key in succeeded:
                    effect(self.ledger, row, self.wanted)
            self.told += filter(None, map(done_by(results), self.open.pop(work.group).rows))
            self.crash.point()  # the outcome is written, and the process dies

    def settle(self, current: pd.DataFrame, groups: Collection[str]) -> None:
        with self.lock:
            self.crash.point()
            kept = {key: row for key, row in self.ledger.items() if row[1] not in groups}
            self.ledger = kept | rows_of(current)
            for group in groups:
                self.told += filter(None, map(done_as_seen(current), self.open.pop(group).rows))

    def current(self) -> pd.DataFrame:
        return frame(*self.ledger.values())

    def assert_told_once(self, before: Mapping[str, Row], now: Mapping[str, Row]) -> None:
        """The history, from what was there before, gives what is there now; nothing is in it twice."""
        rows = dict(before)
        for row in self.told:
            change = Change(row.change)
            key_before = None if change is Change.ADD else row.key_before or row.key
            told = PlanRow(row.key, key_before, "", None, change, "", None, None)
            effect(rows, told, self.wanted)
        assert rows == now


def changes(plan: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Change, key and reason of every row of a plan."""
    return list(plan[["change", "key", "reason"]].itertuples(index=False, name=None))


def lost_after(groups: int) -> Callable[[], None]:
    """A lock that is lost after so many writes."""
    writes = count(1)

    def check() -> None:
        if next(writes) > groups:
            raise LockLostError("the lock was lost")

    return check
