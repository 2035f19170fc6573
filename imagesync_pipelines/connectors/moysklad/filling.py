"""Many entities of a child account in one request, where none of them has any image yet.

What belongs here: which entities may be written so, packing them, and what became of each. What does not: entities that
have images, and those that a bulk request refused: they are written one by one (applying.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from imagesync_pipelines.connectors.moysklad.api.account import EXPANDED_LIMIT
from imagesync_pipelines.connectors.moysklad.api.bodies import Part
from imagesync_pipelines.connectors.moysklad.applying import Tools, results_of
from imagesync_pipelines.connectors.moysklad.errors import (
    EntityGoneError,
    ImageTooLargeError,
    RowsMissingError,
    TooLargeError,
    WriteRefusedError,
)
from imagesync_pipelines.connectors.moysklad.model import TYPES, EntityType, NewImage
from imagesync_pipelines.connectors.moysklad.rules import MOST_REQUEST_BYTES, encoded_size, packed, recognise
from imagesync_pipelines.connectors.moysklad.state import ChildIntents, Managed
from imagesync_pipelines.connectors.moysklad.tasks import Task
from imagesync_pipelines.connectors.moysklad.writing import Listing
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.storage.contents import ContentMissingError
from imagesync_pipelines.sync.apply import same_for_all
from imagesync_pipelines.sync.model import GroupWork, Intent, Outcome, RowResult, group_state

# The frame of one entity in a request: its address, its type and brackets.
_ENTITY_BYTES = 300


@dataclass(frozen=True)
class _Fill:
    """One entity that has no image yet, and what it is to get."""

    work: GroupWork
    task: Task
    listing: Listing

    @property
    def images(self) -> list[Managed]:
        return [slot.image for slot in self.listing.slots]

    @property
    def size(self) -> int:
        return _ENTITY_BYTES + sum(encoded_size(image.filename, image.size) for image in self.images)


def fill_in_bulk(
    works: Sequence[GroupWork], tasks: Mapping[str, Task], tools: Tools, intents: ChildIntents
) -> Iterator[list[RowResult]]:
    """Write those of these entities that have no image yet, up to 100 and 20 MB in one request.

    Gives the results of the entities that were written, or of which nobody knows; the others are not mentioned. Raises
    AccountStoppedError.
    """
    for kind in TYPES:
        fills = [fill for work in works if tasks[work.group].type == kind for fill in _empty(work, tasks, tools)]
        sizes = [(fill.size, 0) for fill in fills]
        for portion in packed(sizes, 2):
            for first in range(0, len(portion), EXPANDED_LIMIT):
                some = portion[first : first + EXPANDED_LIMIT]
                yield _filled(kind, [fills[place] for place in some], tools, intents)


def _empty(work: GroupWork, tasks: Mapping[str, Task], tools: Tools) -> Iterator[_Fill]:
    """The entity, if it has no image and what it is to get fits into a request."""
    task = tasks[work.group]
    try:
        there, _ = tools.lists.there(work.group, again=False)
    except (EntityGoneError, RowsMissingError):
        return
    if there:
        return
    fill = _Fill(work, task, tools.listing(task, there))
    if fill.images and fill.size <= MOST_REQUEST_BYTES:
        yield fill


def _filled(kind: EntityType, fills: Sequence[_Fill], tools: Tools, intents: ChildIntents) -> list[RowResult]:
    """One request, between intents and outcomes."""
    try:
        lists: dict[str, Sequence[Part]] = {
            fill.task.child_id: [NewImage(image.filename, tools.load(image)) for image in fill.images] for fill in fills
        }
    except ContentMissingError:
        return []
    for fill in fills:
        rows = ((row.key, row.fingerprint_after or "", row.position) for row in fill.work.rows)
        intents.begin(Intent(fill.work.group, group_state(rows)))
        tools.state.begin(fill.work.group, fill.images)
    try:
        answers = tools.api.set_images_bulk(kind, lists)
    except AnswerLostError as error:
        why = f"the answer was lost ({error}); it is read at the next start"
        return [result for fill in fills for result in same_for_all(fill.work, Outcome.UNKNOWN, why)]
    except (TooLargeError, WriteRefusedError):
        intents.close([fill.work.group for fill in fills])
        return []
    tools.written.bulk += 1
    results: list[RowResult] = []
    for fill in fills:
        results += _result(fill, answers[fill.task.child_id], tools)
    intents.close([fill.work.group for fill in fills])
    return results


def _result(fill: _Fill, answer: object, tools: Tools) -> list[RowResult]:
    """What became of one entity of a request; nothing when it got none of its images, and is written by itself."""
    if isinstance(answer, ImageTooLargeError) and answer.limit_bytes is not None:
        tools.limit.learn(answer.limit_bytes)
    if not isinstance(answer, tuple):
        return []
    group = fill.work.group
    now = recognise(answer, [], fill.images)
    if not any(image.source for image in now):
        # The request was taken and its images were not; sent one by one they are.
        return []
    tools.note(group, now)
    tools.written.sent[group] = sum(image.source != "" for image in now)
    tools.written.removed[group] = 0
    tools.written.reasons.update(fill.listing.reasons)
    return results_of(fill.work, now, fill.listing.reasons)
