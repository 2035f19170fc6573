"""What came of a plan: rows counted as they are done, and what those that were not mean for the quarantine."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pandas as pd

from imagesync_pipelines.errors import ImagesyncError, unforeseen_kind
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.quarantine import QuarantineItem
from imagesync_pipelines.sync.model import EFFECTS, Change, Outcome, RowResult
from imagesync_pipelines.sync.targets import Quarantine

APPLY_STAGE = N_("apply")
SHOWN_ERRORS = 20
# So many groups in a row without an answer, or with the same error that nobody expects, are no matter of single groups.
GIVE_UP_AFTER = 10
_CHANGES = {str(change): change for change in Change}


class ProgramFaultError(ImagesyncError):
    """What failed is this program and no single item: every one met the same error, which nobody expects."""

    retryable = False


@dataclass(frozen=True)
class Applied:
    """What came of a plan, in rows; `undone` are at most 20 that were not written, the numbers are exact.

    kept: of groups that were not refused. affected: the groups in which something was written. refused_in: the groups
    that were not written, because they moved since the plan or an earlier outcome is unknown. gone: the keys that the
    target does not hold any more, removed or under another key. stale: why the first group was refused of which the
    plan rests on what is otherwise now, '' when none was.
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
    undone: tuple[RowResult, ...] = ()
    gone: frozenset[str] = frozenset()
    stale: str = ""

    @property
    def errors(self) -> tuple[str, ...]:
        """The rows of `undone` in a sentence each."""
        return tuple(f"{one.key}: {one.outcome}: {one.reason}" for one in self.undone)

    def plus(self, again: "Applied") -> "Applied":
        """This and what came of planning its refused groups again; a group counts once, and so does a reject."""
        numbers = ("added", "updated", "removed", "kept", "failed", "unknown")
        mine = (one for one in self.undone if one.outcome != Outcome.REFUSED)
        return Applied(
            **{name: getattr(self, name) + getattr(again, name) for name in numbers},
            rejected=max(self.rejected, again.rejected),
            refused=again.refused,
            affected=self.affected | again.affected,
            refused_in=again.refused_in,
            undone=(*mine, *again.undone)[:SHOWN_ERRORS],
            gone=self.gone | again.gone,
            stale=again.stale,
        )

    def refusing(self, rows: pd.DataFrame, why: Mapping[str, str]) -> "Applied":
        """This, and changing rows of a plan that were not even tried; why: the reason, by group."""
        first = rows.head(SHOWN_ERRORS)
        results = (
            RowResult(key, group, _CHANGES[change], Outcome.REFUSED, why[group])
            for key, group, change in zip(first["key"], first["group"], first["change"], strict=True)
        )
        return replace(
            self,
            refused=self.refused + len(rows),
            refused_in=self.refused_in | why.keys(),
            undone=(*self.undone, *results)[:SHOWN_ERRORS],
            stale=next(iter(why.values()), self.stale),
        )


@dataclass
class Tally:
    """Results as they come in, and what they mean for the quarantine. Used from one thread."""

    quarantine: Quarantine
    numbers: Counter[str] = field(default_factory=Counter)
    affected: set[str] = field(default_factory=set)
    refused_in: set[str] = field(default_factory=set)
    undone: list[RowResult] = field(default_factory=list)
    undone_keys: set[str] = field(default_factory=set)
    unforeseen: str = ""
    unforeseen_in: set[str] = field(default_factory=set)
    failed_before: frozenset[str] | None = None

    def take(self, results: Iterable[RowResult]) -> None:
        """Count results and put the failed ones in quarantine, at once: a crash later on must not lose them.

        Raises ProgramFaultError when nothing was done yet and ten groups in a row failed by the same unforeseen error.
        Those that failed in an earlier run count no more: ten bad ones that come first hold nobody up for good.
        """
        failed = []
        for result in results:
            if result.outcome == Outcome.DONE:
                self.numbers[result.change] += 1
                self.affected.add(result.group)
                continue
            self.numbers[result.outcome] += 1
            self.undone_keys.add(result.key)
            if result.outcome == Outcome.REFUSED:
                self.refused_in.add(result.group)
            elif result.outcome == Outcome.FAILED:
                failed.append(QuarantineItem(result.key, result.group, APPLY_STAGE, result.reason, None))
                self._note_unforeseen(result)
            if len(self.undone) < SHOWN_ERRORS:
                self.undone.append(result)
        if failed:
            self.quarantine.put(failed)
        if len(self.unforeseen_in) >= GIVE_UP_AFTER and not self.affected:
            raise ProgramFaultError(
                f"{len(self.unforeseen_in)} in a row failed by the same error and none was written, the last of them "
                f"{failed[-1].key} ({failed[-1].reason}). That is a fault of this program and not of what it was to "
                "write: the run ends here. Report it; what failed is in quarantine and is tried again."
            )

    def _note_unforeseen(self, result: RowResult) -> None:
        kind = unforeseen_kind(result.reason)
        if kind and self.failed_before is None:
            waiting = self.quarantine.list()
            self.failed_before = frozenset(str(item.group) for item in waiting if item.stage == APPLY_STAGE)
        if kind and result.group in (self.failed_before or ()):
            return
        if kind != self.unforeseen:
            self.unforeseen, self.unforeseen_in = kind, set()
        if kind:
            self.unforeseen_in.add(result.group)

    def take_frame(self, results: pd.DataFrame) -> None:
        """As take, for a frame of outcomes: what was done is counted without an object per row."""
        done = results["outcome"] == Outcome.DONE
        self.numbers.update(Counter(results.loc[done, "change"].tolist()))
        self.affected.update(results.loc[done, "group"].unique().tolist())
        self.take(map(RowResult._make, results[~done].itertuples(index=False, name=None)))

    @contextmanager
    def telling(self, plan: pd.DataFrame, broke: Callable[[Applied], None]) -> Iterator[None]:
        """Tell what was counted so far when the `with` block raises."""
        try:
            yield
        except BaseException:
            broke(self._sum(plan))
            raise

    def result(self, plan: pd.DataFrame) -> Applied:
        """The sum, with the rows of the plan that needed nothing; takes out of quarantine what is as wanted now."""
        self._release(plan)
        return self._sum(plan)

    def _sum(self, plan: pd.DataFrame) -> Applied:
        kept = plan.loc[plan["change"] == Change.KEEP, "group"]
        moved = (plan["change"] == Change.UPDATE) & (plan["key_before"] != plan["key"])
        leaving = plan[(plan["change"] == Change.REMOVE) | moved]
        return Applied(
            added=self.numbers[Change.ADD],
            updated=self.numbers[Change.UPDATE],
            removed=self.numbers[Change.REMOVE],
            kept=int((~kept.isin(list(self.refused_in))).sum()),
            rejected=int((plan["change"] == Change.REJECT).sum()),
            failed=self.numbers[Outcome.FAILED],
            refused=self.numbers[Outcome.REFUSED],
            unknown=self.numbers[Outcome.UNKNOWN],
            affected=frozenset(self.affected),
            refused_in=frozenset(self.refused_in),
            undone=tuple(self.undone),
            gone=frozenset(leaving.loc[~leaving["key"].isin(list(self.undone_keys)), "key_before"].dropna()),
        )

    def _release(self, plan: pd.DataFrame) -> None:
        """Clear what was done, and what an earlier run did before it could say so: it is unchanged by now."""
        waiting = {item.key for item in self.quarantine.list()} - self.undone_keys
        if not waiting:
            return
        rows = plan[plan["key"].isin(list(waiting))]
        as_wanted = rows["change"].isin(EFFECTS) | rows["fingerprint_after"].notna()
        released = set(rows.loc[as_wanted, "key"])
        if released:
            self.quarantine.clear(released)
