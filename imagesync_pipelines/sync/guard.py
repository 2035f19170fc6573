"""The guard: which removals and replacements of a plan may happen, and what proves that a full scan saw everything.

It holds back what takes something away and nothing else; additions never trip it, and a rename is no removal. What a
person undid stays undone, whatever it is; and in a product that a person excluded nothing is done at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.sync.frames import PLAN_COLUMNS, among, check_columns
from imagesync_pipelines.sync.model import EFFECTS, Change, DeletionLimits, Ruling, Scope, Undone
from imagesync_pipelines.sync.plan import REPLACED

_HELD, _NOT_JUDGED = N_("held back: {why}"), N_("not judged: {why}")
HELD_BACK, NOT_JUDGED = _HELD.format(why=""), _NOT_JUDGED.format(why="")
# The column of a guarded plan with the guard's Ruling, '' where it said nothing.
RULING = "ruling"
# What waits for a person.
HELD = (Ruling.LIMIT, Ruling.DOUBT)
_KEPT = N_("a person keeps it")
_ALL_REMOVALS = N_("All {number:d} removals are held back: {why}.")
_ALL_REPLACEMENTS = N_("All {number:d} replacements are held back: {why}.")
_UNDONE = N_("{why}; `imagesync held allow` releases it")


@dataclass(frozen=True)
class Guarded:
    """What the guard says of a plan.

    plan: what may be applied, with the column RULING. held: what was held back by a limit or a doubt, with why (PLAN
    columns and RULING, change as it was). owned: key and group of all that we own in the target. warnings: a sentence
    for people per reason, empty when nothing was held back.
    """

    plan: pd.DataFrame
    held: pd.DataFrame
    owned: pd.DataFrame
    warnings: tuple[str, ...]


def guard(
    plan: pd.DataFrame,
    scope: Scope,
    deletion_limits: DeletionLimits,
    *,
    owned: pd.DataFrame | None = None,
    doubts: Mapping[str, str] | None = None,
) -> Guarded:
    """Turn removals and replacements that may not happen into `keep` with the reason "held back: …".

    First what a person undid and the source still wants, and all of groups that a person excluded: it is kept, with the
    mark or the exclusion as the reason, and counts nowhere. A removal needs the scope's complete proof or the source's
    word about its key (`scope.absent`), else it is not judged; what a person allowed had its proof when it was held.
    What is judged is all held back when it is more than the deletion limits allow. owned: key and group of all that we
    own in the whole target, None: what the plan was made from. doubts: key or group to why it is doubted that anything
    of it is gone. Raises ValueError when a column of a plan is missing.
    """
    check_columns(plan, "plan", PLAN_COLUMNS)
    plan, undone = _keep_undone(plan, deletion_limits.memory.undone)
    plan, excluded = _keep_excluded(plan, deletion_limits.memory.excluded)
    if owned is None:
        there = plan[plan["fingerprint_before"].notna()]
        owned = pd.DataFrame({"key": there["key_before"], "group": there["group"]})
    leaving = plan[(plan["change"] == Change.REMOVE) | is_replacement(plan)]
    judged, warnings = _judged(leaving, plan, scope, deletion_limits, owned, doubts or {})
    stays = judged[judged[RULING].isin([*HELD, Ruling.UNPROVEN, Ruling.KEPT])]
    ruling = pd.Series("", index=plan.index, dtype="str")
    ruling[undone], ruling[excluded] = str(Ruling.KEPT), str(Ruling.EXCLUDED)
    ruling[judged.index] = judged[RULING]
    change, reason = plan["change"].copy(), plan["reason"].copy()
    change[stays.index], reason[stays.index] = str(Change.KEEP), stays["reason"]
    return Guarded(
        plan.assign(**{RULING: ruling, "change": change, "reason": reason}),
        judged[judged[RULING].isin(HELD)].reset_index(drop=True),
        owned.loc[:, ["key", "group"]].reset_index(drop=True),
        tuple(warnings),
    )


def wants(plan: pd.DataFrame) -> pd.Series:
    """What the source wants of rows that change, as a mark has it: the fingerprint, '' where it is to go.

    Where nothing but the place is to change, the place is a part of it.
    """
    wanted = plan["fingerprint_after"].fillna("")
    moved = (plan["fingerprint_before"] == wanted) & (plan["key_before"] == plan["key"])
    return wanted.mask(moved, wanted + " at " + plan["position"].astype("str").fillna("no place"))


def _keep_undone(plan: pd.DataFrame, undone: Mapping[str, Undone]) -> tuple[pd.DataFrame, pd.Index]:
    """The plan with what a person undid as it is at the target, and which rows these are."""
    if not undone:
        return plan, plan.index[:0]
    rows = plan[plan["change"].isin(EFFECTS) & among(plan["key"], pd.Series(list(undone), dtype="str"))]
    marks = rows["key"].map({key: mark.wanted for key, mark in undone.items()})
    at = rows.index[(wants(rows) == marks).fillna(False).astype(bool)]
    return _kept(plan, at, [_UNDONE.format(why=undone[key].why) for key in plan.loc[at, "key"]]), at


def _keep_excluded(plan: pd.DataFrame, excluded: Mapping[str, str]) -> tuple[pd.DataFrame, pd.Index]:
    """The plan with what is in excluded groups as it is at the target, and which rows these are."""
    if not excluded:
        return plan, plan.index[:0]
    here = among(plan["group"], pd.Series(list(excluded), dtype="str"))
    at = plan.index[plan["change"].isin(EFFECTS) & here]
    return _kept(plan, at, [excluded[group] for group in plan.loc[at, "group"]]), at


def _kept(plan: pd.DataFrame, at: pd.Index, reasons: Sequence[str]) -> pd.DataFrame:
    """The plan with some rows as they are at the target."""
    kept = plan.copy()
    kept.loc[at, "change"] = str(Change.KEEP)
    kept.loc[at, "reason"] = reasons
    kept.loc[at, "position"] = plan.loc[at, "position_before"]
    return kept


def _judged(
    leaving: pd.DataFrame,
    plan: pd.DataFrame,
    scope: Scope,
    deletion_limits: DeletionLimits,
    owned: pd.DataFrame,
    doubts: Mapping[str, str],
) -> tuple[pd.DataFrame, list[str]]:
    """The rows that take something away, with RULING and why it is so, and a sentence per reason for holding back."""
    memory, old = deletion_limits.memory, leaving["key_before"]
    removed, replaced = leaving["change"] == Change.REMOVE, leaving["change"] == Change.UPDATE
    ruling = pd.Series("", index=leaving.index, dtype="str")
    why = leaving["reason"].copy()

    def rule(rows: pd.Series, said: Ruling, reason: str | pd.Series) -> None:
        ruling[rows] = str(said)
        why[rows] = reason

    complete = scope.proof is not None and scope.proof.complete
    allowed = (old.map(memory.allowed) == leaving["fingerprint_before"]).fillna(False).astype(bool)
    unproven = removed & ~allowed & ~(leaving["key"].isin(list(scope.absent)) | complete)
    because = _why_unproven(scope)
    kept = ~unproven & old.isin(list(memory.kept))
    reasons = _doubts(leaving, doubts)
    doubted = ~unproven & ~kept & ~allowed & reasons.notna()
    rule(unproven, Ruling.UNPROVEN, NOT_JUDGED + because)
    rule(allowed, Ruling.ALLOWED, leaving["reason"])
    rule(kept, Ruling.KEPT, _KEPT)
    rule(doubted, Ruling.DOUBT, HELD_BACK + reasons[doubted])
    warnings = [told(f"{int(doubted.sum())} removals are held back: {text}.") for text in reasons[doubted].unique()]
    # An incremental reading has nothing to say of what it did not read; a full one that proved nothing has.
    if unproven.any() and scope.proof is not None:
        warnings.append(told(f"{int(unproven.sum())} removals are not judged: {because}."))
    for rows, trip, said in (
        (leaving[removed & (ruling == "")], _why_removals_trip, _ALL_REMOVALS),
        (leaving[replaced & (ruling == "")], _why_replacements_trip, _ALL_REPLACEMENTS),
    ):
        if rows.empty:
            continue
        if deletion_limits.lifted:
            ruling[rows.index] = str(Ruling.ALLOWED)
        elif tripped := trip(plan, rows, owned, deletion_limits):
            ruling[rows.index], why[rows.index] = str(Ruling.LIMIT), HELD_BACK + tripped
            warnings.append(said.format(number=len(rows), why=tripped))
    return leaving.assign(**{RULING: ruling, "reason": why}), warnings


def approved(plan: pd.DataFrame, but: frozenset[str] = frozenset()) -> pd.DataFrame:
    """A guarded plan as a person approves it: what the limits held back may happen, but in groups with one of `but`.

    A plan of an earlier release, which has no rulings, is as it was.
    """
    if RULING not in plan:
        return plan
    limited = plan[RULING] == Ruling.LIMIT
    stay = plan.loc[limited & plan["key_before"].isin(list(but)), "group"]
    rows = limited & ~plan["group"].isin(list(stay))
    change = plan["fingerprint_after"].isna().map({True: str(Change.REMOVE), False: str(Change.UPDATE)})
    return plan.assign(
        change=plan["change"].mask(rows, change),
        reason=plan["reason"].mask(rows & (change == Change.UPDATE), REPLACED),
        **{RULING: plan[RULING].mask(rows, str(Ruling.ALLOWED))},
    )


def is_limited(plan: pd.DataFrame) -> bool:
    """Whether the limits hold anything of a guarded plan back, which a person may approve."""
    return bool((plan[RULING] == Ruling.LIMIT).any())


def held_rows(plan: pd.DataFrame) -> pd.DataFrame:
    """The rows of a guarded plan that are held back; none of a plan of an earlier release."""
    return plan[plan[RULING].isin(HELD)] if RULING in plan else plan.iloc[:0]


def is_replacement(plan: pd.DataFrame) -> pd.Series:
    """Which rows put other content under another key in a place (True/False)."""
    return (plan["change"] == Change.UPDATE) & (plan["reason"] == REPLACED)


def why_unproven(counts: Sequence[int], distinct: int, *, rows: str, source: str, illegible: str = "") -> str:
    """Why a full scan that lists rows in pages does not prove to be complete, for people; '' when it does.

    Rows move between pages while somebody works at the source, so a scan proves something only when every page named
    the same count (`counts`, one at least) and exactly that many different keys were read (`distinct`). illegible: what
    is wrong with rows that have no legible key, '' when there are none. rows, source: their names in the sentence, such
    as "photos" and "the API".
    """
    if min(counts) != max(counts):
        return told(f"the number of {rows} changed while reading, between {min(counts)} and {max(counts)}")
    if illegible:
        return illegible
    if distinct != counts[-1]:
        return told(
            f"{distinct} different {rows} were read, but {source} counts {counts[-1]}: some moved between pages"
        )
    return ""


def _why_unproven(scope: Scope) -> str:
    if scope.proof is None:
        return told("only a part of the source was read, so nothing shows that they are gone")
    return told(
        f"scan {scope.proof.scan_id} does not show that they are gone "
        f"({scope.proof.reason or told('it is not complete')})"
    )


def _doubts(plan: pd.DataFrame, doubts: Mapping[str, str]) -> pd.Series:
    """Why each row is doubted, NA where it is not."""
    if not doubts:
        return pd.Series(pd.NA, index=plan.index, dtype="str")
    return plan["key_before"].map(doubts).astype("str").fillna(plan["group"].map(doubts).astype("str"))


def _why_removals_trip(
    plan: pd.DataFrame, removed: pd.DataFrame, owned: pd.DataFrame, deletion_limits: DeletionLimits
) -> str:
    """Why the deletion limits hold these removals back; empty when they do not."""
    old = removed["key_before"]
    earlier = _gone_earlier(deletion_limits.memory.removed, owned, old)
    removals = len(old) + len(earlier)
    said = (
        told(f"{removals} removals ({len(earlier)} of them in the last 24 hours)")
        if earlier
        else told(f"{removals} removals")
    )
    if removals > deletion_limits.count:
        return told(f"{said} are more than {deletion_limits.count}")
    there = len(owned) + len(earlier)
    if removals > deletion_limits.floor and removals > deletion_limits.share * there:
        return told(f"{said} of {there} rows are more than {deletion_limits.share:.0%}")
    losing = pd.concat([removed["group"], pd.Series(list(earlier.values()), dtype="str")], ignore_index=True)
    added = plan.loc[plan["change"].isin([Change.ADD, Change.UPDATE]), "group"]
    # Only groups that lose anything are looked at: there may be a million others.
    theirs = owned[among(owned["group"], losing)]
    staying = pd.concat([theirs.loc[~among(theirs["key"], old), "group"], added])
    bare = int(losing[~among(losing, staying)].nunique())
    if bare > deletion_limits.bare:
        return told(f"{bare} groups would be left without any row, more than {deletion_limits.bare}")
    return ""


def _why_replacements_trip(
    plan: pd.DataFrame, replaced: pd.DataFrame, owned: pd.DataFrame, deletion_limits: DeletionLimits
) -> str:
    """Why the limit of replacements holds these back; empty when it does not."""
    old = replaced["key_before"]
    earlier = _gone_earlier(deletion_limits.memory.replaced, owned, old)
    number, there, share = len(old) + len(earlier), len(owned), deletion_limits.replaced_share
    if number > deletion_limits.replaced_floor and number > share * there:
        said = (
            told(f"{number} replacements ({len(earlier)} of them in the last 24 hours)")
            if earlier
            else told(f"{number} replacements")
        )
        return told(f"{said} of {there} rows are more than {share:.0%}")
    return ""


def _gone_earlier(remembered: Mapping[str, str], owned: pd.DataFrame, now: pd.Series) -> dict[str, str]:
    """Of the remembered keys (to their groups) those that are gone: not there any more, or back, and not in `now`.

    A run that broke off noted all that it was about to take away; what is still there was not.
    """
    if not remembered:
        return {}
    keys = pd.Series(list(remembered), dtype="str")
    still = among(keys, owned["key"]) | among(keys, now)
    return {key: remembered[key] for key in keys[~still]}
