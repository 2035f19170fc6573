"""The engine alone on 1,000,000 rows: seconds and peak memory of a plan, and the time per applied row.

Each case runs in a process of its own, so that its peak is its own: a quiet night (1 % of the rows change) and the
worst one (every key is new).
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

import pandas as pd

from benchmarks.measuring import peak_of
from imagesync_pipelines.storage.quarantine import QuarantineItem
from imagesync_pipelines.sync.apply import apply_database, outcomes
from imagesync_pipelines.sync.guard import guard
from imagesync_pipelines.sync.model import DeletionLimits, Outcome, Proof, Scope
from imagesync_pipelines.sync.plan import build_plan, group_states

ROWS = 1_000_000
ROWS_PER_GROUP = 4
APPLIED_ROWS = 100_000
LIMITS = DeletionLimits(share=1.0, count=ROWS, bare=ROWS, floor=0)
SCOPE = Scope(None, Proof(1, True, ""))
T = TypeVar("T")


class Measured(NamedTuple):
    """One case: what changes, seconds per step, peak memory of its process, and that of the frames it was given."""

    case: str
    changes: dict[str, int]
    plan_seconds: float
    guard_seconds: float
    states_seconds: float
    peak_bytes: int
    input_bytes: int


class _Instant:
    """A target that does nothing, at once, so that what is left is the engine's own time."""

    def apply_batch(self, rows: pd.DataFrame, digests: Mapping[str, str] | None) -> pd.DataFrame:
        return outcomes(rows, Outcome.DONE)


class _NoQuarantine:
    """Nothing fails here."""

    def put(self, items: Sequence[QuarantineItem]) -> None:
        """Never called."""

    def list(self) -> Sequence[QuarantineItem]:
        return ()

    def clear(self, keys: Collection[str]) -> None:
        """Never called."""


def rows(count: int, *, keys: str = "image", changed_every: int = 0) -> pd.DataFrame:
    """Rows as connectors have them: keys and contents of about 40 characters; every nth has another fingerprint."""
    numbers = pd.Series(range(count))
    group = "product-" + (numbers // ROWS_PER_GROUP).astype("str")
    fingerprint = pd.Series("0123456789abcdef0123456789abcdef", index=numbers.index, dtype="str")
    if changed_every:
        fingerprint = fingerprint.mask(numbers % changed_every == 0, "fedcba9876543210fedcba9876543210")
    return pd.DataFrame(
        {
            "key": group + "/" + keys + "-" + numbers.astype("str"),
            "group": group,
            "position": (numbers % ROWS_PER_GROUP).astype("Int64"),
            "fingerprint": fingerprint,
            "content": "https://example.com/originals/" + numbers.astype("str"),
        }
    )


def measure(case: str, count: int = ROWS) -> Measured:
    """Plan `count` rows; the case is `quiet` or `renamed`."""
    current = rows(count)
    wanted = rows(count, changed_every=100) if case == "quiet" else rows(count, keys="picture")
    input_bytes = peak_of(os.getpid())
    plan, plan_seconds = _timed(lambda: build_plan(wanted, current, SCOPE))
    guarded, guard_seconds = _timed(lambda: guard(plan, SCOPE, LIMITS))
    peak = peak_of(os.getpid())
    _, states_seconds = _timed(lambda: group_states(current))
    changes = {str(change): int(number) for change, number in guarded.plan["change"].value_counts().items()}
    return Measured(case, changes, plan_seconds, guard_seconds, states_seconds, peak, input_bytes)


def apply_microseconds_per_row(count: int = APPLIED_ROWS) -> float:
    """The engine's own time per applied row, without any target's."""
    plan = build_plan(rows(count), rows(0), SCOPE)
    _, seconds = _timed(lambda: apply_database(plan, _Instant(), _NoQuarantine(), states={}))
    return seconds / count * 1e6


def in_own_process(work: Callable[..., T], *arguments: object) -> T:
    """What `work` returns when it runs in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def main() -> None:
    """Print the figures of all cases."""
    for case in ("quiet", "renamed"):
        found = in_own_process(measure, case)
        changes = ", ".join(f"{number:,} {name}" for name, number in found.changes.items())
        print(
            f"plan {ROWS:,} rows, {case} ({changes}): {found.plan_seconds:.1f} s, guard {found.guard_seconds:.1f} s, "
            f"digests of all groups {found.states_seconds:.1f} s; "
            f"peak {found.peak_bytes / 1e9:.2f} GB, {found.input_bytes / 1e9:.2f} GB of it before planning"
        )
    print(f"apply, engine only: {in_own_process(apply_microseconds_per_row):.1f} µs per row")


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    return work(), time.perf_counter() - started


if __name__ == "__main__":
    main()
