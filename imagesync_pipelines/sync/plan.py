"""The plan: what would have to change so that the target becomes what is wanted.

Everything here works on whole columns: a million rows are planned in seconds.
"""

from itertools import groupby
from operator import itemgetter

import numpy as np
import pandas as pd

from imagesync_pipelines.sync.frames import ONE_GROUP, PLAN_COLUMNS, among, check_rejected, check_rows, in_scope, refuse
from imagesync_pipelines.sync.model import Change, Scope, group_state

# What can come of the join: the change and its reason. np.select below gives places in this table.
_KINDS = (
    (Change.KEEP, "unchanged"),
    (Change.ADD, "new"),
    (Change.UPDATE, "changed"),
    (Change.UPDATE, "position"),
    (Change.UPDATE, "forced"),
    (Change.REMOVE, "no longer at the source"),
    (Change.REMOVE, "deleted at the source"),
)
# The reasons of an update under another key: the same content, or other content in the same place.
RENAMED, REPLACED = "renamed", "replaced"
_KEPT, _NEW, _CHANGED, _MOVED, _FORCED, _GONE, _DELETED = range(len(_KINDS))


def build_plan(
    wanted: pd.DataFrame,
    current: pd.DataFrame,
    scope: Scope,
    *,
    rejected: pd.DataFrame | None = None,
    match_position: bool = False,
    force: bool = False,
) -> pd.DataFrame:
    """Plan from two frames with the columns key, group, position, fingerprint, content (frames.ROW_COLUMNS).

    Returns frames.PLAN_COLUMNS, a row per key, sorted by group, position and key; the order of the input is nothing.
    current is cut to the scope first. A removal is planned for every row that is not wanted; whether it may happen is
    for the guard. The same content in a group under a new key (RENAMED), and with match_position other content in the
    same place (REPLACED), is one update with key_before, where the scope proves that the old key is gone; the n-th new
    row of a place takes that of the n-th old one. A rejected key (columns key, group, reason) is
    neither written nor removed: its current row is kept, with a `reject` row beside it. force rewrites unchanged rows.

    Raises ValueError for frames that are not as described and for wanted rows outside the scope.
    """
    wanted = check_rows(wanted, "wanted")
    # Else the maker of the rows and the scope's disagree.
    refuse(wanted.loc[~in_scope(wanted["group"], scope), "key"], "wanted: {} rows lie outside the scope")
    current = check_rows(current, "current")
    here = in_scope(current["group"], scope)
    elsewhere = among(wanted["key"], current.loc[~here, "key"])
    refuse(wanted.loc[elsewhere, "key"], "{} wanted keys lie in current outside the scope", ONE_GROUP)
    current = current[here]
    rejects = check_rejected(rejected)
    # One without a group may belong to any of them.
    rejects = rejects[rejects["group"].isna() | in_scope(rejects["group"], scope)]
    wanted = wanted[~among(wanted["key"], rejects["key"])]
    joined = _join(wanted, current)
    before, after = joined["group_before"], joined["group_after"]
    moved = before.notna() & after.notna() & (before != after)
    refuse(joined.loc[moved, "key"], "{} keys have another group in wanted than in current", ONE_GROUP)
    plan = _plan_rows(joined, _kinds(joined, scope, force=force))
    # A rejected key is not wanted, so the join took it for gone; it stays, whatever the proof.
    spared = among(plan["key"], rejects["key"])
    new, old = _rename_candidates(plan[~spared], joined, wanted, current, scope)
    renames = _renames(new, old, match_position=match_position)
    plan = _with_renames(plan, renames)
    plan = _with_rejects(plan, spared, rejects)
    return plan.sort_values(["group", "position"], ignore_index=True, kind="stable")


def group_states(current: pd.DataFrame) -> dict[str, str]:
    """The digest of every group of `current` from its keys, fingerprints and positions; the order of rows is nothing.

    A group without rows is not in the result; its digest is `group_state(())`.
    """
    ordered = current.sort_values("group", kind="stable")
    positions = ordered["position"].astype(object).where(ordered["position"].notna(), None)
    columns = (ordered["group"], ordered["key"], ordered["fingerprint"], positions)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return {group: group_state(row[1:] for row in members) for group, members in groupby(rows, key=itemgetter(0))}


def _join(wanted: pd.DataFrame, current: pd.DataFrame) -> pd.DataFrame:
    """Outer join on the key, without content, sorted by the key.

    Columns: key; group, position, fingerprint and row (where it is in wanted or current), each _before and _after.
    """
    carried = ["key", "group", "position", "fingerprint", "row"]
    before = current.assign(row=np.arange(len(current)))[carried]
    after = wanted.assign(row=np.arange(len(wanted)))[carried]
    return before.merge(after, on="key", how="outer", suffixes=("_before", "_after"))


def _kinds(joined: pd.DataFrame, scope: Scope, *, force: bool) -> np.ndarray:
    """A place in _KINDS for every row of the join."""
    missing = joined["fingerprint_before"].isna().to_numpy()
    unwanted = joined["fingerprint_after"].isna().to_numpy()
    changed = (joined["fingerprint_before"] != joined["fingerprint_after"]).to_numpy()
    no_position = -(2**63)  # below every position, so that NA equals NA
    before = joined["position_before"].fillna(no_position).to_numpy(np.int64)
    after = joined["position_after"].fillna(no_position).to_numpy(np.int64)
    deleted = joined["key"].isin(list(scope.absent)).to_numpy()
    return np.select(
        [missing, unwanted & deleted, unwanted, changed, before != after],
        [_NEW, _DELETED, _GONE, _CHANGED, _MOVED],
        default=_FORCED if force else _KEPT,
    )


def _plan_rows(joined: pd.DataFrame, kinds: np.ndarray) -> pd.DataFrame:
    changes = pd.array([str(change) for change, _ in _KINDS], dtype="str")
    reasons = pd.array([reason for _, reason in _KINDS], dtype="str")
    return joined.assign(
        key_before=joined["key"].where(joined["fingerprint_before"].notna()),
        group=joined["group_after"].fillna(joined["group_before"]),
        position=joined["position_after"],
        change=changes.take(kinds),
        reason=reasons.take(kinds),
    )[list(PLAN_COLUMNS)]


def _rename_candidates(
    plan: pd.DataFrame, joined: pd.DataFrame, wanted: pd.DataFrame, current: pd.DataFrame, scope: Scope
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Additions, and removals that are proven, with the index of the plan. Columns: group, position, content."""
    added = plan[plan["change"] == Change.ADD]
    removed = plan[plan["change"] == Change.REMOVE]
    if scope.proof is None or not scope.proof.complete:
        removed = removed[removed["key"].isin(list(scope.absent))]
    new = added[["group", "position"]]
    old = removed[["group"]].assign(position=removed["position_before"])
    return (
        new.assign(content=wanted["content"].array.take(joined.loc[new.index, "row_after"].astype(int))),
        old.assign(content=current["content"].array.take(joined.loc[old.index, "row_before"].astype(int))),
    )


def _renames(new: pd.DataFrame, old: pd.DataFrame, *, match_position: bool) -> pd.DataFrame:
    """Which addition takes which removal's row, and the reason. Columns: new, old, as places in the plan; reason."""
    pairs = _pairs(new, old, "content").assign(reason=RENAMED)
    if not match_position:
        return pairs
    rest = _pairs(new[~new.index.isin(pairs["new"])], old[~old.index.isin(pairs["old"])], "position")
    return pd.concat([pairs, rest.assign(reason=REPLACED)], ignore_index=True)


def _pairs(new: pd.DataFrame, old: pd.DataFrame, same: str) -> pd.DataFrame:
    """New and old rows of one group with the same value in the column `same`; several of them pair by position, key."""
    rows = pd.concat([new.assign(is_new=True), old.assign(is_new=False)])
    rows = rows[rows[same].notna()].sort_values("position", kind="stable")  # the places in the plan go by key
    alike = rows.groupby(["group", same], sort=False).ngroup()
    nth = rows.groupby([alike, "is_new"], sort=False).cumcount()
    numbered = pd.DataFrame({"row": rows.index, "alike": alike.array, "nth": nth.array})
    is_new = rows["is_new"].to_numpy()
    pairs = numbered[is_new].merge(numbered[~is_new], on=["alike", "nth"], suffixes=("_new", "_old"))
    return pd.DataFrame({"new": pairs["row_new"], "old": pairs["row_old"]})


def _with_renames(plan: pd.DataFrame, renames: pd.DataFrame) -> pd.DataFrame:
    if renames.empty:
        return plan
    plan = plan.copy()
    for column in ("key_before", "position_before", "fingerprint_before"):
        plan.loc[renames["new"], column] = plan.loc[renames["old"], column].array
    plan.loc[renames["new"], "change"] = str(Change.UPDATE)
    plan.loc[renames["new"], "reason"] = renames["reason"].array
    return plan[~plan.index.isin(renames["old"])]


def _with_rejects(plan: pd.DataFrame, spared: pd.Series, rejects: pd.DataFrame) -> pd.DataFrame:
    """The plan with the rows of rejected keys kept for that reason, and after them a row per reject."""
    if rejects.empty:
        return plan
    spared = spared.loc[plan.index]
    rejects = rejects.sort_values(["key", "reason"])
    reasons = rejects.drop_duplicates("key").set_index("key")["reason"]
    kept = plan.assign(
        change=plan["change"].mask(spared, str(Change.KEEP)),
        reason=plan["reason"].mask(spared, plan["key"].map(reasons)),
    )
    rows = rejects.assign(change=str(Change.REJECT)).reindex(columns=list(PLAN_COLUMNS)).astype(plan.dtypes.to_dict())
    return pd.concat([kept, rows], ignore_index=True)
