"""The engine's reference model: what the target holds once a guarded plan was applied, as a plain slow function.

The tests of the engine and of every connector compare with it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd

from imagesync_pipelines.sync.model import DeletionLimits, Scope


class _Row(NamedTuple):
    key: str
    group: str
    position: int | None
    fingerprint: str
    content: str | None


def target_state(
    wanted: pd.DataFrame,
    current: pd.DataFrame,
    scope: Scope,
    deletion_limits: DeletionLimits,
    *,
    rejected: pd.DataFrame | None = None,
    match_position: bool = False,
    marks: Mapping[str, str] = MappingProxyType({}),
    excluded: Collection[str] = (),
) -> pd.DataFrame:
    """What `current` becomes (key, group, position, fingerprint, content; by key), rows outside the scope included.

    Every wanted row is there as wanted, unless its key was rejected. A row that is not wanted stays, unless it is in
    scope, not rejected, proven to be gone, and the deletion limits let it go. A rename takes the old row away without
    the deletion limits; other content in the same place has a limit of its own, above which the old row stays and the
    new one does not come. marks: by key, what the source wants there that a person undid: as long as it wants that
    ('' to be gone, the place with the fingerprint where only that differs), nothing of it happens, nor counts; neither
    does anything in the groups that are excluded.
    """
    bad = set() if rejected is None else set(rejected["key"])
    now = _rows(current)
    want = {key: row for key, row in _rows(wanted).items() if key not in bad}
    here = {key: row for key, row in now.items() if scope.groups is None or row.group in scope.groups}
    gone = {key: row for key, row in here.items() if key not in want and key not in bad and _proven(key, scope)}
    new = {key: row for key, row in want.items() if key not in here}
    renamed = _paired(new.values(), gone.values(), "content")
    replaced = _replaced(new, gone, renamed) if match_position else {}
    before = {key: now.get(renamed.get(key, replaced.get(key, key))) for key in want}
    undone = {key for key, row in want.items() if marks.get(key) == _word(before[key], row)}
    stay = {old.key for key, old in before.items() if old is not None and key in undone}
    stay |= {key for key in gone if marks.get(key) == "" and key not in (renamed | replaced).values()}
    undone |= {key for key, row in want.items() if row.group in excluded}
    stay |= {key for key, row in gone.items() if row.group in excluded}
    want = {key: row for key, row in want.items() if key not in undone}
    gone = {key: row for key, row in gone.items() if key not in stay}
    renamed, replaced = ({key: old for key, old in of.items() if key not in undone} for of in (renamed, replaced))
    if _too_many_replaced(len(replaced), len(here), deletion_limits):
        want = {key: row for key, row in want.items() if key not in replaced}
        gone = {key: row for key, row in gone.items() if key not in replaced.values()}
    else:
        renamed |= replaced
    leaving = {key for key in gone if key not in renamed.values()}
    after = {key: row for key, row in now.items() if key not in renamed.values()}
    for key, row in want.items():
        same = key in now and now[key][:4] == row[:4]
        after[key] = now[key] if same else row
    staying = {row.group for key, row in after.items() if key not in leaving}
    bare = {here[key].group for key in leaving} - staying
    if not _limits_hold(len(leaving), len(here), len(bare), deletion_limits):
        after = {key: row for key, row in after.items() if key not in leaving}
    return _frame(after[key] for key in sorted(after))


def _word(before: _Row | None, wanted: _Row) -> str:
    """What a mark says of a wanted row."""
    if before is None or (before.key, before.fingerprint) != (wanted.key, wanted.fingerprint):
        return wanted.fingerprint
    return f"{wanted.fingerprint} at {'no place' if wanted.position is None else wanted.position}"


def _proven(key: str, scope: Scope) -> bool:
    return key in scope.absent or (scope.proof is not None and scope.proof.complete)


def _limits_hold(removals: int, rows: int, bare: int, deletion_limits: DeletionLimits) -> bool:
    if deletion_limits.lifted:
        return False
    too_large_a_share = removals > deletion_limits.floor and removals > deletion_limits.share * rows
    return too_large_a_share or removals > deletion_limits.count or bare > deletion_limits.bare


def _too_many_replaced(replaced: int, rows: int, deletion_limits: DeletionLimits) -> bool:
    above = replaced > deletion_limits.replaced_floor and replaced > deletion_limits.replaced_share * rows
    return above and not deletion_limits.lifted


def _replaced(new: Mapping[str, _Row], gone: Mapping[str, _Row], renamed: Mapping[str, str]) -> dict[str, str]:
    """The old key of every new one that takes its place: of what is no rename, by position."""
    rest = [row for row in new.values() if row.key not in renamed]
    free = [row for row in gone.values() if row.key not in renamed.values()]
    return _paired(rest, free, "position")


def _paired(new: Iterable[_Row], gone: Iterable[_Row], same: str) -> dict[str, str]:
    left, right = _alike(new, same), _alike(gone, same)
    return {
        after.key: before.key
        for value in left.keys() & right.keys()
        for after, before in zip(left[value], right[value], strict=False)
    }


def _alike(rows: Iterable[_Row], same: str) -> dict[tuple[str, object], list[_Row]]:
    """Rows of one group with the same value, by position (those without come last), then key."""
    found: dict[tuple[str, object], list[_Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.position is None, row.position or 0, row.key)):
        if getattr(row, same) is not None:
            found[row.group, getattr(row, same)].append(row)
    return found


def _rows(frame: pd.DataFrame) -> dict[str, _Row]:
    plain = frame.loc[:, list(_Row._fields)].astype(object)
    values = plain.where(plain.notna(), None).itertuples(index=False, name=None)
    return {row.key: row for row in map(_Row._make, values)}


def _frame(rows: Iterable[_Row]) -> pd.DataFrame:
    types = {"key": "str", "group": "str", "position": "Int64", "fingerprint": "str", "content": "str"}
    return pd.DataFrame(list(rows), columns=list(_Row._fields)).astype(types)
