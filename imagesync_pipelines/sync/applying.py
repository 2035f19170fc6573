"""A plan into a database: batches of whole groups, each one transaction; a bad group costs nobody else.

What belongs here: batching, halving, counting, quarantine. What does not: the effects (a room's applying.py) and remote
targets, whose answers can be lost (remote.py).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from typing import Any

import pandas as pd

from imagesync_pipelines.sync.model import (
    EFFECTS,
    Change,
    GroupWork,
    Outcome,
    PlanRow,
    QuarantineItem,
    RowResult,
)

APPLY_STAGE = "apply"
SHOWN_ERRORS = 20


@dataclass(frozen=True)
class Applied:
    """What came of a plan, in rows; `errors` are at most 20 sentences, the numbers are exact.

    affected: the groups in which something was written; refused_in: the groups that moved since the plan.
    """

    added: int = 0
    updated: int = 0
    removed: int = 0
    kept: int = 0
    rejected: int = 0
    failed: int = 0
    refused: int = 0
    unknown: int = 0
    affected: frozenset[str] = frozenset()
    refused_in: frozenset[str] = frozenset()
    errors: tuple[str, ...] = ()

    def plus(self, other: "Applied") -> "Applied":
        """Two applications as one; a group counts once."""
        numbers = ("added", "updated", "removed", "kept", "rejected", "failed", "refused", "unknown")
        return Applied(
            **{name: getattr(self, name) + getattr(other, name) for name in numbers},
            affected=self.affected | other.affected,
            refused_in=self.refused_in | other.refused_in,
            errors=(*self.errors, *other.errors)[:SHOWN_ERRORS],
        )


@dataclass
class Tally:
    """Results as they come in; `result` gives the frozen sum."""

    numbers: Counter[str] = field(default_factory=Counter)
    affected: set[str] = field(default_factory=set)
    refused_in: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)

    def take(self, results: Iterable[RowResult]) -> None:
        """Count results."""
        for result in results:
            if result.outcome is Outcome.DONE:
                self.numbers[result.change] += 1
                self.affected.add(result.group)
                continue
            self.numbers[result.outcome] += 1
            if result.outcome is Outcome.REFUSED:
                self.refused_in.add(result.group)
            if len(self.errors) < SHOWN_ERRORS:
                self.errors.append(f"{result.key}: {result.outcome}: {result.reason}")

    def result(self, plan: pd.DataFrame) -> Applied:
        """The sum, with the rows of the plan that needed nothing."""
        quiet = plan["change"].value_counts()
        return Applied(
            added=self.numbers[Change.ADD],
            updated=self.numbers[Change.UPDATE],
            removed=self.numbers[Change.REMOVE],
            kept=int(quiet.get(str(Change.KEEP), 0)),
            rejected=int(quiet.get(str(Change.REJECT), 0)),
            failed=self.numbers[Outcome.FAILED],
            refused=self.numbers[Outcome.REFUSED],
            unknown=self.numbers[Outcome.UNKNOWN],
            affected=frozenset(self.affected),
            refused_in=frozenset(self.refused_in),
            errors=tuple(self.errors),
        )


def group_works(plan: pd.DataFrame, states: Mapping[str, str] | None = None) -> Iterator[GroupWork]:
    """The rows of a plan that change, group by group in the order of the plan; `states` as they were planned."""
    changing = plan[plan["change"].isin(EFFECTS)]
    members: dict[str, list[PlanRow]] = {}
    columns = [changing[name].astype(object).where(changing[name].notna(), None) for name in PlanRow._fields]
    for values in zip(*columns, strict=True):
        row = PlanRow(*values[:4], Change(values[4]), *values[5:])
        members.setdefault(row.group, []).append(row)
    for group, rows in members.items():
        yield GroupWork(group, tuple(rows), None if states is None else states.get(group))


def apply_database(
    plan: pd.DataFrame,
    target: Any,
    quarantine: Any,
    *,
    states: Mapping[str, str] | None = None,
    rows_per_batch: int = 1000,
    fatal: tuple[type[BaseException], ...] = (),
    on_progress: Callable[[int], None] | None = None,
) -> Applied:
    """Apply the changing rows of a guarded plan.

    A batch that raises is halved down to the one group that cannot be written: its rows fail with the error's text and
    go to quarantine, the others are written. Errors in `fatal` (the server is gone) are raised as they are: what was
    written stays, and the next run plans what is missing.
    """
    tally, done = Tally(), 0
    for batch in _batches(group_works(plan, states), rows_per_batch):
        results = _apply_halving(batch, target, fatal)
        failed = [result for result in results if result.outcome is Outcome.FAILED]
        quarantine.put([QuarantineItem(r.key, r.group, APPLY_STAGE, r.reason, None) for r in failed])
        written = [result.key for result in results if result.outcome is Outcome.DONE]
        quarantine.clear(written)
        tally.take(results)
        done += sum(len(work.rows) for work in batch)
        if on_progress is not None:
            on_progress(done)
    return tally.result(plan)


def _batches(works: Iterable[GroupWork], rows_per_batch: int) -> Iterator[list[GroupWork]]:
    batch: list[GroupWork] = []
    rows = 0
    for work in works:
        if batch and rows + len(work.rows) > rows_per_batch:
            yield batch
            batch, rows = [], 0
        batch.append(work)
        rows += len(work.rows)
    if batch:
        yield batch


def _apply_halving(works: Sequence[GroupWork], target: Any, fatal: tuple[type[BaseException], ...]) -> list[RowResult]:
    try:
        return list(target.apply(works))
    except fatal:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a row does to a target, the other groups go on
        if len(works) == 1:
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:500]
            return [RowResult(row.key, row.group, row.change, Outcome.FAILED, reason) for row in works[0].rows]
    middle = len(works) // 2
    return _apply_halving(works[:middle], target, fatal) + _apply_halving(works[middle:], target, fatal)
