"""Undo: what groups of a target held before a run, from what is noted of its effects and what they hold now. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from imagesync_pipelines.storage.effects import NOBODY, Author, Effect, EffectRow
from imagesync_pipelines.sync.frames import row_frame
from imagesync_pipelines.sync.guard import wants
from imagesync_pipelines.sync.held import UNDONE, HeldRow
from imagesync_pipelines.sync.model import EFFECTS, Change, Proof

# A person's command is the proof of what an undo takes away.
BY_COMMAND = Proof(0, True, "")
_CHANGED = "{} was changed since by {}"


class _Held(NamedTuple):
    fingerprint: str
    position: int | None
    values: Mapping[str, Any] | None = None


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


def reverse(effects: Iterable[Effect], current: pd.DataFrame, since: Mapping[str, Author]) -> Reversal:
    """Take back effects of one run on one account, the newest first; rows that it did not touch stay as they are.

    effects: the newest last. current: key, group, position and fingerprint of these groups, as they are now. since: by
    group, who changed it after the run, as far as it is known. A group is refused when a row of it is not as the run
    left it.
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
        rows = [row for effect in reversed(done) for row in reversed(effect.rows) if row.change in EFFECTS]
        gone = {row.key: row.lost for row in rows if row.lost}
        state = dict(now[group])
        try:
            for row in rows:
                if row.key not in gone:
                    _take_back(state, row)
        except _ChangedError as error:
            refused[group] = _CHANGED.format(error, _who(since.get(group, NOBODY), done[-1].by.run_id))
        else:
            now[group], lost = state, lost | gone
    wanted = [
        (key, group, held.position, held.fingerprint, None)
        for group, rows in now.items()
        if group not in refused
        for key, held in rows.items()
    ]
    values = {key: held.values for rows in now.values() for key, held in rows.items() if held.values is not None}
    return Reversal(row_frame(wanted), values, refused, lost)


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


def _who(by: Author, undone: str | None) -> str:
    """Who changed something after the run `undone`, for people."""
    if by.run_id is None:
        return by.person or "somebody else"
    return f"run {by.run_id}" + (", which took it back" if by.undoes_run == undone else "")


def _take_back(state: dict[str, _Held], row: EffectRow) -> None:
    """Change the rows of a group to what they were before one row of an effect. Raises _ChangedError."""
    old = row.key_before or row.key
    there = state.pop(row.key, None)
    if (there is None) is not (row.change == Change.REMOVE):
        raise _ChangedError(row.key)
    if there is not None and there.fingerprint != row.fingerprint_after:
        raise _ChangedError(row.key)
    if row.change == Change.ADD:
        return
    moved = there is not None and old == row.key and row.fingerprint_before == row.fingerprint_after
    if moved and there is not None and row.position is not None and there.position != row.position:
        raise _ChangedError(row.key)
    if old in state:
        raise _ChangedError(old)
    state[old] = _Held(row.fingerprint_before or "", row.position_before, row.before)
