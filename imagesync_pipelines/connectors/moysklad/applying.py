"""A plan into a child account: the engine's remote target for the images of entities.

What belongs here: one entity from its rows to its results, and what ends a run. What does not: the requests that an
entity takes (writing.py), many new entities in one request (filling.py), reading lists (lists.py).
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from imagesync_pipelines.accounts.moysklad import MoyskladChild, Ownership
from imagesync_pipelines.connectors.moysklad.api.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.errors import (
    AccountRefusedError,
    AccountStoppedError,
    EntityGoneError,
    NotAllowedError,
    WriteRefusedError,
)
from imagesync_pipelines.connectors.moysklad.identity import SameAccountError
from imagesync_pipelines.connectors.moysklad.lists import ChildLists, seen_of
from imagesync_pipelines.connectors.moysklad.model import KeptImage
from imagesync_pipelines.connectors.moysklad.planning import rows_frame
from imagesync_pipelines.connectors.moysklad.rules import row_keys
from imagesync_pipelines.connectors.moysklad.state import ChildState, Managed, Record
from imagesync_pipelines.connectors.moysklad.tasks import Task
from imagesync_pipelines.connectors.moysklad.writing import NOT_ANSWERED, Listing, StaleError, Writer, listing_of
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.storage.contents import Content, ContentMissingError, Contents
from imagesync_pipelines.sync.apply import error_reason, same_for_all
from imagesync_pipelines.sync.model import Change, GroupWork, Outcome, PlanRow, RowResult
from imagesync_pipelines.upstream.errors import UpstreamError

# What no entity can help: the run of the account ends with it.
FATAL = (AccountRefusedError, NotAllowedError, SameAccountError)
# So many entities in a row without an answer are no matter of single entities.
GIVE_UP_AFTER = 10
# An entity that somebody writes to in the same moment is read and written again so often.
_TRIES = 3
NO_ENTITY = "the child account does not have this entity any more; the next run looks for it again"
STILL_THERE = (
    "Failed to delete an existing image (not critical): kept, because what is to take its place could not be written"
)


@dataclass
class Written:
    """What was written so far: images sent and images taken away by entity, why images are not there by row key.

    refused: row keys of images that the account will not take, however often they are sent.
    """

    sent: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    bulk: int = 0


class Limit:
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
class Tools:
    """What writing an entity needs. kept, failed: content, or why there is none, by the identity of an image."""

    api: MoyskladApi
    child: MoyskladChild
    state: ChildState
    lists: ChildLists
    contents: Contents
    kept: Mapping[str, Content]
    failed: Mapping[str, str]
    limit: Limit
    forget: Callable[[str], None]
    written: Written

    @property
    def mirror(self) -> bool:
        """Whether the account has what the main account has, and nothing else."""
        return self.child.ownership is Ownership.MIRROR

    def listing(self, task: Task, there: Sequence[Managed]) -> Listing:
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

    def __init__(self, tools: Tools, tasks: Mapping[str, Task], *, stopped: str = "") -> None:
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
        return rows_frame({group: records.get(group, Record()) for group in groups})

    def apply(self, work: GroupWork) -> list[RowResult]:
        """Write one entity. Raises AnswerLostError, AccountRefusedError, NotAllowedError, and others about this entity.

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

    def _apply(self, work: GroupWork, task: Task) -> list[RowResult]:
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
            except WriteRefusedError as error:
                return same_for_all(work, Outcome.FAILED, error_reason(error))
        return same_for_all(work, Outcome.FAILED, f"{refused}; tried {_TRIES} times, the next run tries again")

    def _write(self, work: GroupWork, task: Task, there: tuple[Managed, ...], *, fresh: bool) -> list[RowResult]:
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
