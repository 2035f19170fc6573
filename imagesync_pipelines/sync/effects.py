"""What the history says of a group that somebody else's system is given: planned before the call, told after it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import pandas as pd

from imagesync_pipelines.storage.effects import EffectRow
from imagesync_pipelines.sync.model import GroupWork, Outcome, RowResult

Done = Callable[[EffectRow], EffectRow | None]
"""A row as it was done; None when it was not."""


def planned_rows(work: GroupWork) -> tuple[EffectRow, ...]:
    """The rows of a group as the history has them if they are done."""
    return tuple(
        EffectRow(
            key=row.key,
            change=str(row.change),
            reason=row.reason,
            key_before=row.key_before if row.key_before != row.key else None,
            position=row.position,
            fingerprint_before=row.fingerprint_before,
            fingerprint_after=row.fingerprint_after,
        )
        for row in work.rows
    )


def done_by(results: Iterable[RowResult]) -> Done:
    """As the target answered."""
    done = {result.key for result in results if result.outcome is Outcome.DONE}
    return lambda row: row if row.key in done else None


def done_as_seen(current: pd.DataFrame) -> Done:
    """As the target holds it, where nobody heard an answer; current: frames.ROW_COLUMNS.

    What is there as it was to be, and was not so before, was done by the call; what is there otherwise than before was
    done in part.
    """
    fingerprints, positions = (
        current[name].astype(object).where(current[name].notna(), None).tolist() for name in ("fingerprint", "position")
    )
    there = dict(zip(current["key"], zip(fingerprints, positions, strict=True), strict=True))
    wanted = as_wanted(there)

    def done(row: EffectRow) -> EffectRow | None:
        if wanted(row):
            return row
        seen, _ = there.get(row.key, (None, None))
        in_part = None not in (row.fingerprint_after, seen) and seen != row.fingerprint_before
        return replace(row, fingerprint_after=seen) if in_part else None

    return done


def as_wanted(there: Mapping[str, tuple[str, int | None]]) -> Callable[[EffectRow], bool]:
    """Whether what is there is as a row wants it; there: fingerprint and position, by key."""

    def wanted(row: EffectRow) -> bool:
        if row.fingerprint_after is None:
            return (row.key_before or row.key) not in there
        fingerprint, position = there.get(row.key, (None, None))
        moved_only = row.key_before is None and row.fingerprint_before == row.fingerprint_after
        return fingerprint == row.fingerprint_after and (position == row.position or not moved_only)

    return wanted
