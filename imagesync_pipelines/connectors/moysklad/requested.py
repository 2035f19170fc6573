"""Which entities a run is about: those that a person named, or those that requests of the queue name.

What belongs here: choosing, taking requests for a run, telling the queue how they went. What does not: the queue itself
(queue.py), starting such a run (automation/). A run that dies in between tells nothing; the sensor gives its requests
back.
"""

from collections import defaultdict
from collections.abc import Sequence

from imagesync_pipelines.accounts.moysklad import MAIN
from imagesync_pipelines.connectors.moysklad.apply_stages import PlanApplied
from imagesync_pipelines.connectors.moysklad.desk import REFUSED_STAGE, Desk
from imagesync_pipelines.connectors.moysklad.model import TYPES
from imagesync_pipelines.connectors.moysklad.notes import MainNote, MapNote
from imagesync_pipelines.connectors.moysklad.queue import Queue
from imagesync_pipelines.connectors.moysklad.reading import CONNECTOR
from imagesync_pipelines.connectors.moysklad.stages import Chosen
from imagesync_pipelines.storage.mirror import read_mirror
from imagesync_pipelines.sync.apply import UNSETTLED
from imagesync_pipelines.sync.handovers import note_of

NOT_IN_MAIN = "the main account does not have it any more, or it is archived there"
CHANGED = "it changed while the run was at work"


NOTHING = Chosen(types=())


def chosen(entity_type: str, entity: str) -> Chosen:
    """The entities of a type ('': all types), or the one with an id in the main account ('': all)."""
    types = tuple(kind for kind in TYPES if entity_type in ("", kind))
    return Chosen(types, chosen_keys(entity_type, entity))


def chosen_keys(entity_type: str, entity: str) -> tuple[str, ...]:
    """The keys that an entity with this id may have; none when it is not about one entity."""
    return tuple(f"{kind}:{entity}" for kind in TYPES if entity_type in ("", kind)) if entity else ()


def take_requests(desk: Desk, run_id: str) -> None:
    """Take for this run what is due for the account."""
    Queue(desk.place.engine).take(desk.alias, run_id, desk.clock())


def requested(desk: Desk, run_id: str) -> tuple[str, ...]:
    """The keys of the entities that the run has requests for; none when it has not taken any."""
    return tuple(sorted({request.entity for request in Queue(desk.place.engine).held(run_id)}))


def settle_requests(desk: Desk, run_id: str, done: PlanApplied, *, ancestors: Sequence[str] = ()) -> None:
    """Tell the queue what became of the run's requests: done, or why not; those are tried again.

    What no attempt can help (the child account has no such entity, or will not take an image) is done, with a note.
    """
    queue = Queue(desk.place.engine)
    held = queue.held(run_id)
    failed = _failures(desk, run_id, ancestors, done)
    notes = _notes(desk, run_id, ancestors, {request.entity for request in held})
    by_end: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    for request in held:
        why = failed.get(request.entity, "")
        by_end[why, "" if why else notes.get(request.entity, "")].append(request.id)
    for (why, note), ids in by_end.items():
        if why:
            queue.fail(run_id, ids, why, desk.clock())
        else:
            queue.finish(run_id, ids, desk.clock(), note)


def _failures(desk: Desk, run_id: str, ancestors: Sequence[str], done: PlanApplied) -> dict[str, str]:
    """The entities that are not as the main account has them, though another attempt may make them so, and why."""
    read = note_of(desk.place.storage, MAIN, run_id, ancestors, MainNote)
    failed = dict(read.unread) if read is not None else {}
    failed |= dict.fromkeys(done.applied.refused_in, done.stopped or CHANGED)
    failed |= {intent.group: UNSETTLED for intent in desk.intents(run_id).open_intents()}
    for entry in desk.quarantine(run_id).list():
        if entry.run_id == run_id and entry.group_key is not None and entry.stage != REFUSED_STAGE:
            failed[entry.group_key] = entry.reason
    return failed


def _notes(desk: Desk, run_id: str, ancestors: Sequence[str], keys: set[str]) -> dict[str, str]:
    """Of these entities, those with which another attempt would do no better, and why."""
    with desk.place.engine.connect() as connection:
        known = set(read_mirror(connection, CONNECTOR, MAIN)["key"])
    mapped = note_of(desk.place.storage, desk.alias, run_id, ancestors, MapNote)
    notes = {entry.group_key or "": entry.reason for entry in desk.quarantine(run_id).list() if entry.run_id == run_id}
    notes |= {one.key: one.reason for one in (mapped.unmapped if mapped is not None else ())}
    return notes | dict.fromkeys(keys - known, NOT_IN_MAIN)
