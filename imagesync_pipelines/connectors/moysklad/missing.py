"""Entities that the child account's answers lack: doubted, looked at again, given up or held.

Given up, a counterpart is looked for anew by the next run; which of its images are ours stays known (mapping.py).
"""

from collections.abc import Collection, Iterator
from dataclasses import replace

from imagesync_pipelines.connectors.moysklad.child import ChildRun
from imagesync_pipelines.connectors.moysklad.counterparts import forget_entities, mark_gone, number_gone, read_map
from imagesync_pipelines.connectors.moysklad.moved import left_cards
from imagesync_pipelines.languages import N_
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.doubts import Judged, judge
from imagesync_pipelines.sync.model import DeletionLimits

# The name of the doubted input, under which what is held is kept.
ASSORTMENT = "assortment"
_WAITING = N_(
    "the child account says that these entities are not there any more; nothing is forgotten on "
    "one answer, a later run looks again"
)
_TOO_MANY = N_(
    "the child account says twice that these entities are not there any more, which are more "
    "than the deletion limits allow; nothing is forgotten"
)
_UNSEEN = N_(
    "the child account shows none of the entities that we know in it, as it does to a user "
    "without the right to see products; nothing is forgotten"
)


def doubt_missing(
    child: ChildRun, missing: Collection[str], there: Collection[str], limits: DeletionLimits, *, dry_run: bool = False
) -> Judged:
    """What becomes of entities (keys) that a reading lacked; there: those that it had. A dry run only judges."""
    left = left_cards(child.engine, child.alias)
    ids, doubts, now = read_map(child.engine, child.child) | left, child.doubts.open(), child.context.clock()
    missing = set(missing) & ids.keys()
    if not missing and not doubts:
        return Judged()
    memory = held.memory_of(child.context, ASSORTMENT)
    allowed = {key: child_id for key, child_id in memory.allowed.items() if ids.get(key) == child_id}
    judged = judge(
        missing,
        doubts,
        now,
        known=ids,
        limits=replace(limits, memory=replace(memory, allowed=allowed)),
        went=number_gone(child.engine, child.alias, now - held.WINDOW),
    )
    if not dry_run:
        over = {*there, *judged.gone, *(doubts.keys() - ids.keys())}
        child.doubts.note(missing - judged.gone)
        child.doubts.end(over & {*doubts, *missing})
        mark_gone(child.engine, child.alias, judged.gone - left.keys(), now)
        forget_entities(child.engine, child.alias, judged.gone & left.keys())
        rows = list(_rows(judged, ids))
        held.hold(child.engine, child.context.connector, child.alias, ASSORTMENT, rows, only={*over, *missing})
    return judged


def hold_missing(child: ChildRun, missing: Collection[str]) -> None:
    """Hold entities that a write found missing until they are read: that alone never gives them up."""
    if missing:
        rows = list(_rows(Judged(waiting=frozenset(missing)), read_map(child.engine, child.child)))
        held.hold(child.engine, child.context.connector, child.alias, ASSORTMENT, rows, only=missing)


def end_doubts(child: ChildRun, keys: Collection[str]) -> None:
    """Doubt these entities no more: they are there."""
    child.doubts.end(keys)
    held.release(child.engine, child.context.connector, child.alias, keys, ASSORTMENT)


def _rows(judged: Judged, ids: dict[str, str]) -> Iterator[held.HeldRow]:
    kinds = (
        (judged.waiting, held.DOUBT, _WAITING),
        (judged.held, held.LIMIT, _TOO_MANY),
        (judged.unseen, held.UNSEEN, _UNSEEN),
    )
    for keys, kind, why in kinds:
        for key in sorted(keys):
            yield held.HeldRow(key, key, ids.get(key, ""), kind, why, "forget")
