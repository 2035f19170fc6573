"""Entities that have no image yet: many in one request; satisfies the engine's BulkTarget."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from imagesync_pipelines.connectors.moysklad.client.account import EXPANDED_LIMIT
from imagesync_pipelines.connectors.moysklad.errors import (
    EntityGoneError,
    ImagesRefusedError,
    ImageTooLargeError,
    RowsMissingError,
    TooLargeError,
)
from imagesync_pipelines.connectors.moysklad.model import EntityTask, EntityType, Managed, NewImage, Part
from imagesync_pipelines.connectors.moysklad.rules import ImageListing, recognise, results_of
from imagesync_pipelines.connectors.moysklad.target import ChildTools
from imagesync_pipelines.connectors.moysklad.writing import MOST_REQUEST_BYTES, encoded_size
from imagesync_pipelines.storage.contents import ContentMissingError
from imagesync_pipelines.sync.model import GroupWork, RowResult

# The frame of one entity in a request of many: its address, its type and brackets.
_ENTITY_BYTES = 300


@dataclass(frozen=True)
class _Fill:
    """One entity that has no image yet, and what it is to get."""

    work: GroupWork
    task: EntityTask
    listing: ImageListing

    @property
    def images(self) -> list[Managed]:
        return [slot.image for slot in self.listing.slots]

    @property
    def size(self) -> int:
        return _ENTITY_BYTES + sum(encoded_size(image.filename, image.size) for image in self.images)


class FirstFill:
    """Entities that have no image yet, up to 100 and 20 MB in one request; satisfies the engine's BulkTarget.

    An entity is written so only while its list is as fresh as for a write of its own; one that has images by then, and
    one whose part of a request was refused, is left out and written by itself.
    """

    def __init__(self, tools: ChildTools, tasks: Mapping[str, EntityTask]) -> None:
        self._tools = tools
        self._tasks = tasks

    def portions(self, works: Iterator[GroupWork]) -> Iterator[Sequence[GroupWork]]:
        """Those of these entities that may be written so, each portion of one type; groups come ordered by type."""
        portion: list[GroupWork] = []
        kind, total = "", 0
        for work in works:
            fill = self._empty(work)
            if fill is None:
                continue
            full = len(portion) == EXPANDED_LIMIT or total + fill.size > MOST_REQUEST_BYTES - 2
            if portion and (full or fill.task.type != kind):
                yield portion
                portion, total = [], 0
            kind = fill.task.type
            portion.append(work)
            total += fill.size
        if portion:
            yield portion

    def apply(self, works: Sequence[GroupWork]) -> Sequence[RowResult]:
        """One request. Raises AnswerLostError and AccountStoppedError."""
        tools = self._tools
        tools.lists.refresh([work.group for work in works])
        fills = [fill for work in works for fill in [self._empty(work)] if fill is not None]
        try:
            lists: dict[str, Sequence[Part]] = {
                fill.task.child_id: [NewImage(image.filename, tools.load(image)) for image in fill.images]
                for fill in fills
            }
        except ContentMissingError:
            return []
        if not fills:
            return []
        for fill in fills:
            tools.state.begin(fill.work.group, fill.images)
        kind: EntityType = fills[0].task.type
        try:
            answers = tools.api.set_images_bulk(kind, lists)
        except (TooLargeError, ImagesRefusedError):
            return []
        tools.written.bulk += 1
        return [result for fill in fills for result in self._result(fill, answers[fill.task.child_id])]

    def _empty(self, work: GroupWork) -> _Fill | None:
        """What an entity is to get, if it has no image and that fits into a request."""
        task = self._tasks[work.group]
        try:
            there, _ = self._tools.lists.there(work.group, again=False)
        except (EntityGoneError, RowsMissingError):
            return None
        if there:
            return None
        fill = _Fill(work, task, self._tools.listing(task, there))
        return fill if fill.images and fill.size <= MOST_REQUEST_BYTES else None

    def _result(self, fill: _Fill, answer: object) -> list[RowResult]:
        """What became of one entity of a request; nothing when it got none of its images, and is written by itself."""
        tools, group = self._tools, fill.work.group
        if isinstance(answer, ImageTooLargeError) and answer.limit_bytes is not None:
            tools.limit.learn(answer.limit_bytes)
        if not isinstance(answer, tuple):
            return []
        now = recognise(answer, [], fill.images)
        if not any(image.source for image in now):
            # The request was taken and its images were not; sent one by one they are.
            return []
        tools.note(group, now)
        tools.written.sent[group] = sum(image.source != "" for image in now)
        tools.written.removed[group] = 0
        tools.written.reasons.update(fill.listing.reasons)
        return results_of(fill.work, now, fill.listing.reasons)
