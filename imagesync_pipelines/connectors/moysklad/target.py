"""A plan into a child account: the engine's remote target for the images of entities, one by one and many at once."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from imagesync_pipelines.connectors.moysklad.accounts import MoyskladChild, Ownership
from imagesync_pipelines.connectors.moysklad.child import ChildState
from imagesync_pipelines.connectors.moysklad.client.account import EXPANDED_LIMIT, MoyskladApi
from imagesync_pipelines.connectors.moysklad.client.bodies import Part
from imagesync_pipelines.connectors.moysklad.errors import (
    AccountForbiddenError,
    AccountRefusedError,
    AccountStoppedError,
    EntityGoneError,
    ImagesRefusedError,
    ImageTooLargeError,
    RowsMissingError,
    SameAccountError,
    StaleError,
    TooLargeError,
)
from imagesync_pipelines.connectors.moysklad.lists import ChildLists, seen_of
from imagesync_pipelines.connectors.moysklad.model import (
    ChildRecord,
    EntityTask,
    EntityType,
    KeptImage,
    Managed,
    NewImage,
)
from imagesync_pipelines.connectors.moysklad.planning import rows_frame
from imagesync_pipelines.connectors.moysklad.rules import (
    MOST_REQUEST_BYTES,
    encoded_size,
    recognise,
    row_keys,
)
from imagesync_pipelines.connectors.moysklad.writing import NOT_ANSWERED, ImageListing, Writer, listing_of
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.storage.contents import Content, ContentMissingError, Contents
from imagesync_pipelines.sync.apply import error_reason, same_for_all
from imagesync_pipelines.sync.model import Change, GroupWork, Outcome, PlanRow, RowResult
from imagesync_pipelines.upstream.errors import UpstreamError

# What no entity can help: the run of the account ends with it.
FATAL = (AccountRefusedError, AccountForbiddenError, SameAccountError)
# So many entities in a row without an answer are no matter of single entities.
GIVE_UP_AFTER = 10
# An entity that somebody writes to in the same moment is read and written again so often.
_TRIES = 3
# The frame of one entity in a request of many: its address, its type and brackets.
_ENTITY_BYTES = 300
NO_ENTITY = "the child account does not have this entity any more; the next run looks for it again"
STILL_THERE = (
    "Failed to delete an existing image (not critical): kept, because what is to take its place could not be written"
)


@dataclass
class WrittenImages:
    """What was written so far: images sent and images taken away by entity, why images are not there by row key.

    refused: row keys of images that the account will not take, however often they are sent.
    """

    sent: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    bulk: int = 0


class SizeLimit:
    """The largest image that the account takes, in bytes; what its server names is believed and kept."""

    def __init__(self, state: ChildState, size: int) -> None:
        self._state = state
        self.size = size

    def learn(self, size: int) -> None:
        """Believe a number that the server named."""
        if size < self.size:
            self.size = size
            self._state.learn_max_image_bytes(size)


@dataclass(frozen=True)
class ChildTools:
    """What writing an entity needs. kept, failed: content, or why there is none, by the identity of an image."""

    api: MoyskladApi
    child: MoyskladChild
    state: ChildState
    lists: ChildLists
    contents: Contents
    kept: Mapping[str, Content]
    failed: Mapping[str, str]
    limit: SizeLimit
    forget: Callable[[str], None]
    written: WrittenImages

    @property
    def mirror(self) -> bool:
        """Whether the account has what the main account has, and nothing else."""
        return self.child.ownership is Ownership.MIRROR

    def listing(self, task: EntityTask, there: Sequence[Managed]) -> ImageListing:
        """The list that an entity is to get."""
        return listing_of(task, there, self.kept, self.failed, self.limit.size, mirror=self.mirror)

    def load(self, image: Managed) -> bytes:
        """The bytes of an image that is to be sent. Raises ContentMissingError."""
        return self.contents.read(self.kept[image.source])

    def note(self, key: str, images: Sequence[Managed]) -> None:
        """Note what an entity holds now."""
        self.state.note({key: seen_of(images, self.child.ownership)})


class ImageTarget:
    """A child account's images as the engine writes them; satisfies its RemoteTarget.

    `stopped` says why the rest of the plan was left, '' while it was not: the rows that were left are REFUSED and wait
    for the next run, which plans them again.
    """

    def __init__(self, tools: ChildTools, tasks: Mapping[str, EntityTask], *, stopped: str = "") -> None:
        self._tools = tools
        self._tasks = tasks
        self._lock = threading.Lock()
        self._silent = 0
        self.stopped = stopped

    def read(self, groups: Sequence[str]) -> pd.DataFrame:
        """What we know of these entities: whether another run of ours wrote them since.

        What their owner did is found when they are written: their lists are then read where they may hold his images.
        """
        records = self._tools.state.records(groups)
        return rows_frame({group: records.get(group, ChildRecord()) for group in groups})

    def apply(self, work: GroupWork) -> list[RowResult]:
        """Write one entity. Raises AnswerLostError, AccountRefusedError, AccountForbiddenError, and others about it.

        Once the account stopped, or does not answer for several entities in a row, the rest is left.
        """
        if self.stopped:
            return same_for_all(work, Outcome.REFUSED, self.stopped)
        try:
            results = self._apply(work, self._tasks[work.group])
        except FATAL:
            raise
        except AccountStoppedError as error:
            self.stopped = error_reason(error)
            return same_for_all(work, Outcome.REFUSED, self.stopped)
        except (AnswerLostError, UpstreamError) as error:
            with self._lock:
                self._silent += 1
                if self._silent >= GIVE_UP_AFTER:
                    self.stopped = f"{self._silent} entities in a row got no answer, the last: {error}"
            raise
        with self._lock:
            self._silent = 0
        return results

    def _apply(self, work: GroupWork, task: EntityTask) -> list[RowResult]:
        tools = self._tools
        for attempt in range(_TRIES):
            try:
                there, fresh = tools.lists.there(work.group, again=attempt > 0)
                return self._write(work, task, there, fresh=fresh)
            except EntityGoneError:
                tools.forget(work.group)
                tools.written.gone.add(work.group)
                return same_for_all(work, Outcome.FAILED, NO_ENTITY)
            except StaleError as error:
                refused = str(error)
            except ImagesRefusedError as error:
                return same_for_all(work, Outcome.FAILED, error_reason(error))
        return same_for_all(work, Outcome.FAILED, f"{refused}; tried {_TRIES} times, the next run tries again")

    def _write(self, work: GroupWork, task: EntityTask, there: tuple[Managed, ...], *, fresh: bool) -> list[RowResult]:
        """Write an entity, and note what it holds, whatever ended it."""
        tools = self._tools
        listing = tools.listing(task, there)
        writing = [slot.image for slot in listing.slots if not slot.keep]
        if writing:
            tools.state.begin(work.group, [slot.image for slot in listing.slots if slot.key])
        writer = Writer(
            send=lambda parts: tools.api.set_images(task.type, task.child_id, parts),
            load=tools.load,
            size_of_kept=lambda child_id: tools.api.part_size(task.type, task.child_id, KeptImage(child_id)),
            learn=tools.limit.learn,
            now=there,
            fresh=fresh,
            limit=tools.limit.size,
        )
        try:
            writer.write(listing)
        except ContentMissingError as error:
            tools.note(work.group, writer.now)
            return same_for_all(work, Outcome.FAILED, error_reason(error))
        except AccountStoppedError:
            tools.note(work.group, writer.now)
            raise
        tools.note(work.group, writer.now)
        reasons = listing.reasons | writer.bad
        tools.written.sent[work.group] = writer.sent
        tools.written.removed[work.group] = removed_of(there, writer.now)
        tools.written.reasons.update(reasons)
        tools.written.refused |= writer.refused
        return results_of(work, writer.now, reasons)


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


def removed_of(before: Sequence[Managed], now: Sequence[Managed]) -> int:
    """How many images were taken away, those that others replaced included."""
    there = [image.id for image in now]
    count = 0
    for image in before:
        if image.id in there:
            there.remove(image.id)
        else:
            count += 1
    return count


def results_of(work: GroupWork, now: Sequence[Managed], reasons: Mapping[str, str]) -> list[RowResult]:
    """What became of every row of an entity, from what it holds now and why images could not be written."""
    there = set(row_keys(work.group, now))
    return [_result(row, reasons.get(row.key, ""), there=row.key in there) for row in work.rows]


def _result(row: PlanRow, reason: str, *, there: bool) -> RowResult:
    if row.change is Change.REMOVE:
        reason = STILL_THERE if there else ""
    elif not there:
        reason = reason or NOT_ANSWERED
    outcome = Outcome.FAILED if reason else Outcome.DONE
    return RowResult(row.key, row.group, row.change, outcome, reason or row.reason)
