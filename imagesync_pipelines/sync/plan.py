"""The plan: what would have to change so that the target becomes what is wanted.

Everything here works on whole columns: a million rows are planned in seconds. Keys and groups are numbers (their places
among all of them, sorted) until the plan is made, so that its texts are the only ones that are made.
"""

from itertools import islice
from typing import NamedTuple

import numpy as np
import pandas as pd

from imagesync_pipelines.languages import N_
from imagesync_pipelines.sync.frames import (
    ONE_GROUP,
    PLAN_COLUMNS,
    among,
    check_rejected,
    check_rows,
    in_scope,
    only,
    refuse,
)
from imagesync_pipelines.sync.model import Change, Scope, group_state

# The reasons of an update under another key: the same content, or other content in the same place.
RENAMED, REPLACED = N_("renamed"), N_("replaced")
# What can come of a row: the change and its reason.
_KINDS = (
    (Change.KEEP, N_("unchanged")),
    (Change.ADD, N_("new")),
    (Change.UPDATE, N_("changed")),
    (Change.UPDATE, N_("position")),
    (Change.UPDATE, N_("forced")),
    (Change.REMOVE, N_("no longer at the source")),
    (Change.REMOVE, N_("deleted at the source")),
    (Change.UPDATE, RENAMED),
    (Change.UPDATE, REPLACED),
    (Change.KEEP, ""),
    (Change.REJECT, ""),
)
_KEPT, _NEW, _CHANGED, _MOVED, _FORCED, _GONE, _DELETED, _RENAMED, _REPLACED, _SPARED, _REJECT = range(len(_KINDS))
# A row that another key takes over: none of the plan.
_TAKEN = len(_KINDS)
# Below every position, so that NA equals NA.
_NO_POSITION = -(2**63)
# So many rows are compared, or are Python objects, at one time: they need memory beside the frames.
_SLICE = 20_000


class _Joined(NamedTuple):
    """Every key once, sorted, then the rejects.

    before, after: the key's place in current and in wanted. group: that of its group in groups. -1: there is none.
    """

    keys: pd.Index
    before: np.ndarray
    after: np.ndarray
    groups: pd.Index
    group: np.ndarray


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
    current = only(current, here)
    rejects = check_rejected(rejected)
    # One without a group may belong to any of them.
    rejects = rejects[rejects["group"].isna() | in_scope(rejects["group"], scope)].sort_values(["key", "reason"])
    wanted = only(wanted, ~among(wanted["key"], rejects["key"]))
    joined = _join(wanted, current, rejects)
    kinds = _kinds(joined, wanted, current, rejects, scope, force=force)
    new, old = _rename_candidates(joined, kinds, wanted, current, scope)
    renames = _renames(new, old, match_position=match_position)
    taker, taken = (renames[name].to_numpy(np.int64) for name in ("new", "old"))
    joined.before[taker] = joined.before[taken]
    kinds[taker], kinds[taken] = renames["kind"], _TAKEN
    return _plan_rows(joined, kinds, wanted, current, rejects)


def group_states(current: pd.DataFrame) -> dict[str, str]:
    """The digest of every group of `current` from its keys, fingerprints and positions; the order of rows is nothing.

    A group without rows is not in the result; its digest is `group_state(())`.
    """
    codes, groups = pd.factorize(current["group"])
    order, ends = np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))
    states: dict[str, str] = {}
    first = 0
    while first < len(groups):
        start = ends[first - 1] if first else 0
        behind = max(first + 1, int(np.searchsorted(ends, start + _SLICE, side="right")))
        part = current.iloc[order[start : ends[behind - 1]]]
        positions = part["position"].astype(object).where(part["position"].notna(), None)
        rows = zip(*(column.tolist() for column in (part["key"], part["fingerprint"], positions)), strict=True)
        sizes = np.diff(ends[first:behind], prepend=start).tolist()
        for group, size in zip(groups[first:behind].tolist(), sizes, strict=True):
            states[group] = group_state(islice(rows, size))
        first = behind
    return states


def _join(wanted: pd.DataFrame, current: pd.DataFrame, rejects: pd.DataFrame) -> _Joined:
    """Outer join on the key. Raises ValueError for a key that has another group in wanted than in current."""
    codes, keys = pd.factorize(pd.concat([current["key"], wanted["key"]]), sort=True)
    grouped, groups = pd.factorize(pd.concat([current["group"], wanted["group"], rejects["group"]]), sort=True)
    before, after, group = (np.full(len(keys) + len(rejects), -1, dtype=np.int32) for _ in range(3))
    old, new = codes[: len(current)], codes[len(current) :]
    before[old], after[new] = np.arange(len(old)), np.arange(len(new))
    group[new], group[len(keys) :] = grouped[len(old) : len(codes)], grouped[len(codes) :]
    moved = old[(after[old] >= 0) & (group[old] != grouped[: len(old)])]
    refuse(pd.Series(keys[np.sort(moved)]), "{} keys have another group in wanted than in current", ONE_GROUP)
    group[old] = grouped[: len(old)]
    return _Joined(keys.append(pd.Index(rejects["key"])), before, after, groups, group)


def _kinds(
    joined: _Joined, wanted: pd.DataFrame, current: pd.DataFrame, rejects: pd.DataFrame, scope: Scope, *, force: bool
) -> np.ndarray:
    """A place in _KINDS for every place of the join."""
    kinds = np.where(joined.before < 0, _NEW, np.where(joined.after < 0, _GONE, _FORCED if force else _KEPT))
    both = np.flatnonzero((joined.before >= 0) & (joined.after >= 0))
    for start in range(0, len(both), _SLICE):
        part = both[start : start + _SLICE]
        sides = ((current, joined.before[part]), (wanted, joined.after[part]))
        old, new = (rows["position"].array.take(at).to_numpy(np.int64, na_value=_NO_POSITION) for rows, at in sides)
        kinds[part[old != new]] = _MOVED
        old, new = (rows["fingerprint"].array.take(at) for rows, at in sides)
        kinds[part[np.asarray(old != new)]] = _CHANGED
    gone = np.flatnonzero(kinds == _GONE)
    kinds[gone[among(pd.Series(joined.keys[gone]), pd.Series(list(scope.absent), dtype="str"))]] = _DELETED
    # A rejected key is not wanted, so the join took it for gone; it stays, whatever the proof.
    kinds[among(pd.Series(joined.keys), rejects["key"])] = _SPARED
    kinds[len(kinds) - len(rejects) :] = _REJECT
    return kinds


def _rename_candidates(
    joined: _Joined, kinds: np.ndarray, wanted: pd.DataFrame, current: pd.DataFrame, scope: Scope
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Additions, and removals that are proven, by their places in the join. Columns: group, position, content."""
    proven = [_GONE, _DELETED] if scope.proof is not None and scope.proof.complete else [_DELETED]
    old = np.flatnonzero(np.isin(kinds, proven))
    new = np.flatnonzero(kinds == _NEW)
    new = new[np.isin(joined.group[new], joined.group[old])]  # all may be new

    def candidates(keys: np.ndarray, rows: pd.DataFrame) -> pd.DataFrame:
        return rows[["position", "content"]].set_axis(keys).assign(group=joined.group[keys])

    return (candidates(new, wanted.iloc[joined.after[new]]), candidates(old, current.iloc[joined.before[old]]))


def _renames(new: pd.DataFrame, old: pd.DataFrame, *, match_position: bool) -> pd.DataFrame:
    """Which addition takes which removal's row. Columns: new, old, as places in the join; kind."""
    pairs = _pairs(new, old, "content").assign(kind=_RENAMED)
    if not match_position:
        return pairs
    rest = _pairs(new[~new.index.isin(pairs["new"])], old[~old.index.isin(pairs["old"])], "position")
    return pd.concat([pairs, rest.assign(kind=_REPLACED)], ignore_index=True)


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


def _plan_rows(
    joined: _Joined, kinds: np.ndarray, wanted: pd.DataFrame, current: pd.DataFrame, rejects: pd.DataFrame
) -> pd.DataFrame:
    """The plan, sorted; a key whose rejects spare it is kept for the first of their reasons."""
    changes, reasons = (pd.array([str(kind[at]) for kind in _KINDS], dtype="str") for at in range(2))
    why = kinds.copy()
    rejected = np.arange(len(_KINDS), len(_KINDS) + len(rejects))
    why[len(kinds) - len(rejects) :] = rejected
    spared = kinds == _SPARED
    first = ~rejects["key"].duplicated().to_numpy()
    why[spared] = rejected[first][pd.Index(rejects["key"][first]).get_indexer(joined.keys[spared])]
    position = wanted["position"].array.take(joined.after, allow_fill=True)
    none = position.isna()
    group = np.where(joined.group < 0, len(joined.groups), joined.group)
    order = np.lexsort((position.to_numpy(np.int64, na_value=0), none, group))  # the places go by key
    order = order[kinds[order] != _TAKEN]
    before, after = joined.before[order], joined.after[order]
    return pd.DataFrame(
        {
            "key": joined.keys.array.take(order),
            "key_before": current["key"].array.take(before, allow_fill=True),
            "group": joined.groups.array.take(joined.group[order], allow_fill=True),
            "position": position.take(order),
            "change": changes.take(kinds[order]),
            "reason": pd.array([*reasons, *rejects["reason"]], dtype="str").take(why[order]),
            "fingerprint_before": current["fingerprint"].array.take(before, allow_fill=True),
            "fingerprint_after": wanted["fingerprint"].array.take(after, allow_fill=True),
            "position_before": current["position"].array.take(before, allow_fill=True),
        },
        columns=list(PLAN_COLUMNS),
    )
