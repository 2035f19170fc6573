"""The plan: what would have to change so that the target becomes what is wanted.

What belongs here: the join of wanted and current, renames, and the digests of groups. What does not: whether a removal
may happen (guard.py), the payload of a row (the room looks it up for rows that change), applying. Everything here works
on whole columns: a million rows are planned in seconds.
"""

from itertools import groupby
from operator import itemgetter

import numpy as np
import pandas as pd

from imagesync_pipelines.sync.frames import (
    PLAN_COLUMNS,
    among,
    check_rejected,
    check_rows,
    check_scope,
    in_scope,
    refuse_keys_elsewhere,
    refuse_moved_keys,
)
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
_KEPT, _NEW, _CHANGED, _MOVED, _FORCED, _GONE, _DELETED = range(len(_KINDS))
RENAMED = "renamed"


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
    for the guard. The same content in a group under a new key (or with match_position the same position) is one update
    with key_before, where the scope proves that the old key is gone. A rejected key (columns key, group, reason) is
    neither written nor removed: its current row is kept, with a `reject` row beside it. force rewrites unchanged rows.

    Raises ValueError for frames that are not as described and for wanted rows outside the scope.
    """
    wanted = check_rows(wanted, "wanted")
    check_scope(wanted, scope)
    current = check_rows(current, "current")
    here = in_scope(current["group"], scope)
    refuse_keys_elsewhere(wanted["key"], current.loc[~here, "key"])
    current = current[here]
    rejects = _rejects_in_scope(rejected, scope)
    wanted = wanted[~among(wanted["key"], rejects["key"])]
    joined = _join(wanted, current)
    refuse_moved_keys(joined["key"], joined["group_before"], joined["group_after"])
    kinds = _kinds(joined, scope, force=force)
    plan = _plan_rows(joined, kinds)
    # A rejected key is not wanted, so the join took it for gone; it stays, whatever the proof.
    spared = among(plan["key"], rejects["key"])
    renames = _renames(wanted, current, plan[~spared], scope, match_position=match_position)
    plan = _with_rejects(plan, spared, rejects)
    plan = _with_renames(plan, renames)
    return plan.sort_values(["group", "position", "key"], ignore_index=True, kind="stable")


def group_states(current: pd.DataFrame) -> dict[str, str]:
    """The digest of every group of `current` from its keys, fingerprints and positions; the order of rows is nothing.

    A group without rows is not in the result; its digest is `group_state(())`.
    """
    ordered = current.sort_values("group", kind="stable")
    positions = ordered["position"].astype(object).where(ordered["position"].notna(), None)
    rows = zip(ordered["group"], ordered["key"], ordered["fingerprint"], positions, strict=True)
    return {group: group_state(row[1:] for row in members) for group, members in groupby(rows, key=itemgetter(0))}


def _rejects_in_scope(rejected: pd.DataFrame | None, scope: Scope) -> pd.DataFrame:
    """Rejects of the scope's groups; one without a group may belong to any of them."""
    rejects = check_rejected(rejected)
    return rejects[rejects["group"].isna() | in_scope(rejects["group"], scope)]


def _join(wanted: pd.DataFrame, current: pd.DataFrame) -> pd.DataFrame:
    """Outer join on the key, without content. Columns: key; group, position, fingerprint, each _before and _after."""
    carried = ["key", "group", "position", "fingerprint"]
    return current[carried].merge(wanted[carried], on="key", how="outer", suffixes=("_before", "_after"))


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
    return pd.DataFrame(
        {
            "key": joined["key"],
            "key_before": joined["key"].where(joined["fingerprint_before"].notna()),
            "group": joined["group_after"].fillna(joined["group_before"]),
            "position": joined["position_after"],
            "position_before": joined["position_before"],
            "change": changes.take(kinds),
            "reason": reasons.take(kinds),
            "fingerprint_before": joined["fingerprint_before"],
            "fingerprint_after": joined["fingerprint_after"],
        }
    )


def _renames(
    wanted: pd.DataFrame, current: pd.DataFrame, plan: pd.DataFrame, scope: Scope, *, match_position: bool
) -> pd.DataFrame:
    """Additions that are a removal's row under a new key. Columns: key, key_before."""
    proven = scope.proof is not None and scope.proof.complete
    removed = plan["change"] == Change.REMOVE
    if not proven:
        removed &= plan["key"].isin(list(scope.absent))
    new = wanted[among(wanted["key"], plan.loc[plan["change"] == Change.ADD, "key"])]
    old = current[among(current["key"], plan.loc[removed, "key"])]
    pairs = _pairs(new, old, "content")
    if not match_position:
        return pairs
    rest = _pairs(new[~among(new["key"], pairs["key"])], old[~among(old["key"], pairs["key_before"])], "position")
    return pd.concat([pairs, rest], ignore_index=True)


def _pairs(new: pd.DataFrame, old: pd.DataFrame, same: str) -> pd.DataFrame:
    """New and old rows of one group with the same value in the column `same`; several of them pair by position, key."""
    return _numbered(new, same).merge(
        _numbered(old, same).rename(columns={"key": "key_before"}), on=["group", same, "nth"]
    )[["key", "key_before"]]


def _numbered(rows: pd.DataFrame, same: str) -> pd.DataFrame:
    """Columns key, group, `same`, nth: which of the rows with the same value in its group this one is."""
    rows = rows[rows[same].notna()].sort_values(["position", "key"])
    return rows.assign(nth=rows.groupby(["group", same]).cumcount())[["key", "group", same, "nth"]]


def _with_renames(plan: pd.DataFrame, renames: pd.DataFrame) -> pd.DataFrame:
    """The plan with each pair of addition and removal as one update."""
    if renames.empty:
        return plan
    before = plan[["key", "position_before", "fingerprint_before"]].rename(columns={"key": "key_before"})
    found = renames.merge(before, on="key_before")
    new = among(plan["key"], renames["key"])
    after = plan.loc[new, ["key", "group", "position", "fingerprint_after"]]
    updates = after.merge(found, on="key").assign(change=str(Change.UPDATE), reason=RENAMED)
    settled = new | among(plan["key"], renames["key_before"])
    return pd.concat([plan[~settled], updates[list(PLAN_COLUMNS)]], ignore_index=True)


def _with_rejects(plan: pd.DataFrame, spared: pd.Series, rejects: pd.DataFrame) -> pd.DataFrame:
    """The plan with the rows of rejected keys kept for that reason, and a row per reject."""
    if rejects.empty:
        return plan
    reasons = rejects.drop_duplicates("key").set_index("key")["reason"]
    kept = plan[spared].assign(change=str(Change.KEEP), reason=plan.loc[spared, "key"].map(reasons))
    rows = rejects.assign(change=str(Change.REJECT)).reindex(columns=list(PLAN_COLUMNS)).astype(plan.dtypes.to_dict())
    return pd.concat([plan[~spared], kept, rows], ignore_index=True)
