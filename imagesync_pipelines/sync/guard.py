"""The guard: which removals of a plan may happen, and what proves that a full scan saw everything.

The guard holds removals back and nothing else; a rename is no removal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from imagesync_pipelines.sync.frames import PLAN_COLUMNS, among, check_columns
from imagesync_pipelines.sync.model import Change, DeletionLimits, Scope

HELD_BACK = "held back: "
_LIFT = "If they are right, run once with the deletion limits lifted."


@dataclass(frozen=True)
class Guarded:
    """What the guard says of a plan.

    plan: what may be applied. held: the removals that were held back, with why (PLAN columns, change still `remove`).
    warnings: a sentence for people per reason, empty when nothing was held back.
    """

    plan: pd.DataFrame
    held: pd.DataFrame
    warnings: tuple[str, ...]


def guard(plan: pd.DataFrame, scope: Scope, deletion_limits: DeletionLimits) -> Guarded:
    """Turn removals that may not happen into `keep` with the reason "held back: …".

    A removal needs the scope's complete proof or the source's word about its key (`scope.absent`). Those that have it
    are all held back when they are more than the deletion limits allow. Raises ValueError when a column of a plan is
    missing.
    """
    check_columns(plan, "plan", PLAN_COLUMNS)
    removed = plan["change"] == Change.REMOVE
    complete = scope.proof is not None and scope.proof.complete
    unproven = removed & ~(plan["key"].isin(list(scope.absent)) | complete)
    because = _why_unproven(scope)
    why = pd.Series(HELD_BACK + because, index=plan.index, dtype="str")
    warnings = [f"{int(unproven.sum())} removals are held back: {because}."] if unproven.any() else []
    tripped = _why_tripped(plan, removed & ~unproven, deletion_limits)
    if tripped:
        why[removed & ~unproven] = HELD_BACK + tripped
        warnings.append(f"All {int((removed & ~unproven).sum())} removals are held back: {tripped}. {_LIFT}")
    held_back = removed if tripped else unproven
    held = plan[held_back].assign(reason=why[held_back])
    kept = plan.assign(
        change=plan["change"].mask(held_back, str(Change.KEEP)), reason=plan["reason"].mask(held_back, why)
    )
    return Guarded(kept, held.reset_index(drop=True), tuple(warnings))


def why_unproven(counts: Sequence[int], distinct: int, *, rows: str, source: str, illegible: str = "") -> str:
    """Why a full scan that lists rows in pages does not prove to be complete, for people; '' when it does.

    Rows move between pages while somebody works at the source, so a scan proves something only when every page named
    the same count (`counts`, one at least) and exactly that many different keys were read (`distinct`). illegible: what
    is wrong with rows that have no legible key, '' when there are none. rows, source: their names in the sentence, such
    as "photos" and "the API".
    """
    if min(counts) != max(counts):
        return f"the number of {rows} changed while reading, between {min(counts)} and {max(counts)}"
    if illegible:
        return illegible
    if distinct != counts[-1]:
        return f"{distinct} different {rows} were read, but {source} counts {counts[-1]}: some moved between pages"
    return ""


def _why_unproven(scope: Scope) -> str:
    if scope.proof is None:
        return "only a part of the source was read, so nothing shows that they are gone"
    return f"scan {scope.proof.scan_id} does not show that they are gone ({scope.proof.reason or 'it is not complete'})"


def _why_tripped(plan: pd.DataFrame, removed: pd.Series, deletion_limits: DeletionLimits) -> str:
    """Why the deletion limits hold these removals back; empty when they do not."""
    removals = int(removed.sum())
    if deletion_limits.lifted or not removals:
        return ""
    if removals > deletion_limits.count:
        return f"{removals} removals are more than {deletion_limits.count}"
    # Additions count as rows: else limits that trip today would let the same removals pass tomorrow.
    rows = int((plan["change"] != Change.REJECT).sum())
    if removals > deletion_limits.floor and removals > deletion_limits.share * rows:
        return f"{removals} removals of {rows} rows are more than {deletion_limits.share:.0%}"
    losing = plan.loc[removed, "group"]
    staying = plan.loc[~removed & (plan["change"] != Change.REJECT), "group"]
    bare = int(losing[~among(losing, staying)].nunique())
    if bare > deletion_limits.bare:
        return f"{bare} groups would be left without any row, more than {deletion_limits.bare}"
    return ""
