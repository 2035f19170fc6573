"""Undo: what groups of a target held before a run, from what is noted of its effects and what they hold now. Pure."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.storage.effects import NOBODY, Author, Effect, EffectRow
from imagesync_pipelines.sync.frames import row_frame
from imagesync_pipelines.sync.guard import wants
from imagesync_pipelines.sync.held import UNDONE, HeldRow
from imagesync_pipelines.sync.model import EFFECTS, Change, Proof

# A person's command is the proof of what an undo takes away.
BY_COMMAND = Proof(0, True, "")
_CHANGED = N_("{key} was changed since by {who}")
# Of a row of an effect, what marks_of looks at as it is.
_MARKED = ("key", "fingerprint_before", "fingerprint_after", "position", "position_before")


class _Held(NamedTuple):
    """A row of a group. back: its position was just given back. lost: it only holds its place in a list."""

    fingerprint: str
    position: int | None
    values: Mapping[str, Any] | None = None
    back: bool = False
    lost: bool = False


class _ChangedError(Exception):
    """A row is not as the run left it; the message is its key."""


@dataclass(frozen=True)
class Reversal:
    """What is to be written so that groups are as they were before a run.

    wanted: frames.ROW_COLUMNS, without contents, of whole groups. values: what the target had in the rows that the run
    replaced or took away, by key. refused: groups that are left alone, each with the reason. lost: keys whose former
    picture cannot be brought back, with the reason; they stay as they are.
    """

    wanted: pd.DataFrame
    values: Mapping[str, Mapping[str, Any]]
    refused: Mapping[str, str]
    lost: Mapping[str, str]


def reverse(
    effects: Iterable[Effect], current: pd.DataFrame, since: Mapping[str, Author], *, listed: bool = False
) -> Reversal:
    """Take back effects of one run on one account, the newest first; rows that it did not touch stay as they are.

    effects: the newest last, after them those of undos of the run, which are taken back first. current: key, group,
    position and fingerprint of these groups, as they are now. since: by group, who changed it after the run, as far as
    it is known. A group is refused when a row of it is not as the run left it. listed: a position is a place in a list,
    so what is given back moves the others.
    """
    by_group: defaultdict[str, list[Effect]] = defaultdict(list)
    for effect in effects:
        by_group[effect.group].append(effect)
    now: dict[str, dict[str, _Held]] = {group: {} for group in by_group}
    positions = current["position"].astype(object).where(current["position"].notna(), None)
    columns = (current["group"], current["key"], current["fingerprint"], positions)
    for group, key, fingerprint, position in zip(*(column.tolist() for column in columns), strict=True):
        if group in now:
            now[group][key] = _Held(fingerprint, position)
    refused, lost = dict[str, str](), dict[str, str]()
    for group, done in by_group.items():
        gone = {row.key: row.lost for effect in done for row in effect.rows if row.change in EFFECTS and row.lost}
        state = dict(now[group])
        try:
            for effect in reversed(done):
                rows = [row for row in reversed(effect.rows) if row.change in EFFECTS]
                state = _taken_back(state, rows, gone, listed=listed)
        except _ChangedError as error:
            refused[group] = _CHANGED.format(key=error, who=_who(since.get(group, NOBODY), done[0].by.run_id))
        else:
            now[group] = {key: held for key, held in state.items() if not held.lost}
            # What only an undo lost had been brought by the run.
            of_run = [row for effect in done if effect.by.run_id == done[0].by.run_id for row in effect.rows]
            lost |= {row.key: row.lost for row in of_run if row.change in EFFECTS and row.lost}
    wanted = [
        (key, group, held.position, held.fingerprint, None)
        for group, rows in now.items()
        if group not in refused
        for key, held in rows.items()
    ]
    values = {key: held.values for rows in now.values() for key, held in rows.items() if held.values is not None}
    return Reversal(row_frame(wanted), values, refused, lost)


def taken_away(current: pd.DataFrame, theirs: pd.Series | None = None) -> Reversal:
    """What is to be written so that nothing of ours is in groups any more; current: as in reverse.

    theirs: which rows are somebody else's, which stay as they are; None: none.
    """
    stays = current.iloc[:0] if theirs is None else current[theirs.astype(bool)]
    positions = stays["position"].astype(object).where(stays["position"].notna(), None)
    columns = (stays["key"], stays["group"], positions, stays["fingerprint"])
    wanted = ((*row, None) for row in zip(*(column.tolist() for column in columns), strict=True))
    return Reversal(row_frame(wanted), {}, {}, {})


def marks_of(rows: pd.DataFrame, why: str) -> list[HeldRow]:
    """The marks of rows of an undo's plan: what the source wants there, which is what the undo takes back.

    Where the undo brings a picture back, the source wants it to be gone. Each key has one mark.
    """
    was = rows.rename(columns={"fingerprint_before": "fingerprint_after", "fingerprint_after": "fingerprint_before"})
    there = was["key_before"].notna()
    # What the run made of a row is under the key that the row has before the undo.
    was = was.assign(key=rows["key_before"], key_before=rows["key"], position=rows["position_before"])[there]
    old = was["fingerprint_before"].notna()
    change = old.map({True: str(Change.UPDATE), False: str(Change.ADD)})
    made = zip(was["key"], was["group"], wants(was), change, strict=True)
    back = rows[rows["fingerprint_after"].notna() & ~(rows["key_before"] == rows["key"])]
    gone = ((key, group, "", str(Change.REMOVE)) for key, group in zip(back["key"], back["group"], strict=True))
    # What was there counts, where another picture comes in its place.
    said = {key: (group, word, change) for key, group, word, change in (*gone, *made)}
    return [HeldRow(key, group, word, UNDONE, why, change) for key, (group, word, change) in said.items()]


def left_by(rows: pd.DataFrame) -> dict[str, str]:
    """What rows of a plan leave under each key, in the words of guard.wants."""
    gone = rows.loc[rows["key_before"].notna(), "key_before"]
    return {**dict.fromkeys(gone, ""), **dict(zip(rows["key"], wants(rows), strict=True))}


def rows_of_effects(effects: Iterable[Effect]) -> pd.DataFrame:
    """What was done as rows of the plan that was carried out, as marks_of takes them."""
    rows = [
        {**{name: getattr(row, name) for name in _MARKED}, "key_before": before, "group": effect.group}
        for effect in effects
        for row in effect.rows
        if row.change in EFFECTS
        for before in (None if row.change == Change.ADD else row.key_before or row.key,)
    ]
    texts = dict.fromkeys(("key", "key_before", "group", "fingerprint_before", "fingerprint_after"), "str")
    numbers = dict.fromkeys(("position", "position_before"), "Int64")
    return pd.DataFrame(rows, columns=[*_MARKED, "key_before", "group"]).astype({**texts, **numbers})


def run_words(run_id: str) -> str:
    """A run for people: the beginning of its id, by which every command and page finds it."""
    return told(f"run {run_id[:8]}")


def _who(by: Author, undone: str | None) -> str:
    """Who changed something after the run `undone`, for people; what an undo of it did is taken back before."""
    if by.run_id is None or by.undoes_run == undone:
        return by.person if by.run_id is None and by.person else told("somebody else")
    return run_words(by.run_id)


def _taken_back(
    state: Mapping[str, _Held], rows: Sequence[EffectRow], gone: Collection[str], *, listed: bool
) -> dict[str, _Held]:
    """The rows of a group as they were before one effect, but those of `gone`. Raises _ChangedError."""
    if listed:
        _refuse_other_order(state, rows)
    before = dict(state)
    for row in rows:
        if row.key not in gone:
            _take_back(before, row, listed=listed)
        elif listed and row.change == Change.REMOVE and row.key not in before:
            before[row.key] = _Held(row.fingerprint_before or "", row.position_before, back=True, lost=True)
    return _in_line(before) if listed else before


def _refuse_other_order(state: Mapping[str, _Held], rows: Sequence[EffectRow]) -> None:
    """Raise _ChangedError where rows of a list are not in the order any more in which they were put."""
    put = [row for row in rows if row.position is not None and row.change != Change.REMOVE and row.key in state]
    if any(moved_only(row) for row in put):
        wanted = [row.key for row in sorted(put, key=lambda row: row.position or 0)]
        for key, there in zip(wanted, sorted(wanted, key=lambda key: state[key].position or 0), strict=True):
            if key != there:
                raise _ChangedError(key)


def _in_line(state: Mapping[str, _Held]) -> dict[str, _Held]:
    """The rows of a list: what was given back at its former places, the others between that in their order."""
    at = {key: held.position or 0 for key, held in state.items()}
    line = sorted((key for key, held in state.items() if not held.back), key=at.__getitem__)
    for key in sorted((key for key, held in state.items() if held.back), key=at.__getitem__):
        line.insert(at[key], key)
    return {key: state[key]._replace(position=place, back=False) for place, key in enumerate(line)}


def moved_only(row: EffectRow) -> bool:
    """Whether nothing but the place of a row was changed."""
    return row.key_before in (None, row.key) and row.fingerprint_before == row.fingerprint_after


def _take_back(state: dict[str, _Held], row: EffectRow, *, listed: bool) -> None:
    """Change the rows of a group to what they were before one row of an effect. Raises _ChangedError."""
    old = row.key_before or row.key
    there = state.pop(row.key, None)
    if (there is None) is not (row.change == Change.REMOVE):
        raise _ChangedError(row.key)
    if there is not None and there.fingerprint != row.fingerprint_after:
        raise _ChangedError(row.key)
    if row.change == Change.ADD:
        return
    moved = there is not None and moved_only(row)
    if moved and not listed and row.position is not None and there is not None and there.position != row.position:
        raise _ChangedError(row.key)
    if old in state:
        raise _ChangedError(old)
    values = there.values if moved and there is not None and row.before is None else row.before
    unknown = listed and row.position_before is None
    position = (there.position if there is not None else len(state)) if unknown else row.position_before
    state[old] = _Held(row.fingerprint_before or "", position, values, back=not unknown)
