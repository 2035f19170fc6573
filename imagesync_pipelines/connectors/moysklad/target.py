"""A plan into a child account: the engine's remote target for the images of entities, one by one and many at once."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice

import pandas as pd

from imagesync_pipelines.connectors.moysklad.accounts import MoyskladChild, Ownership
from imagesync_pipelines.connectors.moysklad.child import ChildIdentity, ChildState
from imagesync_pipelines.connectors.moysklad.client.account import EXPANDED_LIMIT, MoyskladApi
from imagesync_pipelines.connectors.moysklad.errors import (
    AccountForbiddenError,
    AccountRefusedError,
    AccountStoppedError,
    EntityGoneError,
    ImagesRefusedError,
    RowsMissingError,
    SameAccountError,
    StaleError,
)
from imagesync_pipelines.connectors.moysklad.model import ChildRecord, Entity, EntityTask, ImageRow, KeptImage, Managed
from imagesync_pipelines.connectors.moysklad.planning import rows_frame
from imagesync_pipelines.connectors.moysklad.rules import (
    ImageListing,
    expected_by_task,
    listing_of,
    recognised,
    removed_of,
    results_of,
    seen_of,
)
from imagesync_pipelines.connectors.moysklad.writing import Writer
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.storage.contents import Content, ContentMissingError, Contents
from imagesync_pipelines.sync.apply import error_reason, same_for_all
from imagesync_pipelines.sync.model import GroupWork, Outcome, RowResult
from imagesync_pipelines.upstream.errors import UpstreamError

# What no entity can help: the run of the account ends with it.
FATAL = (AccountRefusedError, AccountForbiddenError, SameAccountError)
# So many entities in a row without an answer are no matter of single entities.
GIVE_UP_AFTER = 10
# The owner may write at any time; a list older than this is read again before it is replaced.
FRESH_FOR = timedelta(seconds=30)
# An entity that somebody writes to in the same moment is read and written again so often.
_TRIES = 3
NO_ENTITY = "the child account does not have this entity any more; the next run looks for it again"


@dataclass(frozen=True)
class ReadLists:
    """Lists that were read. rows: by key. gone: keys of entities that the child account does not have any more.

    unread: key to reason of those whose rows did not come; nothing is concluded from that.
    """

    rows: Mapping[str, tuple[ImageRow, ...]]
    gone: frozenset[str]
    unread: Mapping[str, str]


def read_lists(api: MoyskladApi, ids: Mapping[str, str], identity: ChildIdentity) -> Iterator[ReadLists]:
    """Read the images of these entities (key to child id), 100 per call. identity: looks at whose they are.

    Raises SameAccountError and the errors of the API.
    """
    remaining = iter(ids.items())
    while portion := dict(islice(remaining, EXPANDED_LIMIT)):
        found: dict[str, Entity] = {}
        illegible: dict[str, str] = {}
        for page in api.assortment(ids=list(portion.values())):
            identity.check(entity.account_id for entity in page.entities)
            found |= {entity.id: entity for entity in page.entities}
            illegible |= {key.partition(":")[2]: why for key, why in page.illegible.items()}
        rows: dict[str, tuple[ImageRow, ...]] = {}
        unread: dict[str, str] = {}
        for key, child_id in portion.items():
            entity = found.get(child_id)
            if entity is not None and entity.images is not None and len(entity.images) == entity.image_count:
                rows[key] = entity.images
            elif entity is not None or child_id in illegible:
                unread[key] = illegible.get(child_id, "its images were not delivered, or not all of them")
        yield ReadLists(rows, frozenset(portion.keys() - rows.keys() - unread.keys()), unread)


class ChildLists:
    """What is there before an entity is written. Used from several threads.

    A mirror is written whole, so what we know of it does; an account whose owner has images of his own is read, with
    the entities that come next. order: the keys in the order in which they are written. kept: content by the identity
    of an image, which says as what it is sent, and was.
    """

    def __init__(
        self,
        api: MoyskladApi,
        state: ChildState,
        tasks: Mapping[str, EntityTask],
        order: Sequence[str],
        ownership: Ownership,
        identity: ChildIdentity,
        kept: Mapping[str, Content],
        clock: Callable[[], datetime],
    ) -> None:
        self._api = api
        self._state = state
        self._tasks = tasks
        self._order = list(order)
        self._reads = ownership is Ownership.MANAGED
        self._identity = identity
        self._kept = kept
        self._clock = clock
        self._records = state.records(order)
        self._begun: set[str] = set()
        self._lock = threading.Lock()
        self._read: dict[str, tuple[datetime, ReadLists]] = {}

    def there(self, key: str, *, again: bool) -> tuple[tuple[Managed, ...], bool]:
        """The images of an entity, and whether they were just read; `again`: they must be.

        Raises EntityGoneError, RowsMissingError, SameAccountError, and the errors of the API.
        """
        with self._lock:
            self._begun.add(key)
            if not self._reads and not again:
                return self._records.get(key, ChildRecord()).images, False
            if again or self._is_old(key):
                if again:
                    # What was begun meanwhile is noted there, with the very names that were sent.
                    self._records |= self._state.records([key])
                coming = () if again else (other for other in self._order if other not in self._begun)
                self._read_now([key, *islice(coming, EXPANDED_LIMIT - 1)])
            found = self._read[key][1]
        if key in found.gone:
            raise EntityGoneError(f"the child account does not have {self._tasks[key].name} ({key}) any more")
        if key in found.unread:
            raise RowsMissingError(f"{self._tasks[key].name}: {found.unread[key]}")
        expected = expected_by_task(self._tasks[key].images, self._kept)
        return recognised(found.rows[key], self._records.get(key, ChildRecord()), expected), True

    def refresh(self, keys: Sequence[str]) -> None:
        """Read again, in one call, those of these lists (at most 100) that are too old to be replaced.

        Raises SameAccountError, and the errors of the API.
        """
        with self._lock:
            old = [key for key in keys if self._reads and self._is_old(key)]
            if old:
                self._read_now(old)

    def _is_old(self, key: str) -> bool:
        return key not in self._read or self._clock() - self._read[key][0] > FRESH_FOR

    def _read_now(self, keys: Sequence[str]) -> None:
        ids = {key: self._tasks[key].child_id for key in keys}
        for found in read_lists(self._api, ids, self._identity):
            now = self._clock()
            self._read |= dict.fromkeys(keys, (now, found))


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
        if not self.stopped:
            try:
                results = self._apply(work, self._tasks[work.group])
            except FATAL:
                raise
            except AccountStoppedError as error:
                self.stopped = error_reason(error)
            except (AnswerLostError, UpstreamError) as error:
                with self._lock:
                    self._silent += 1
                    if self._silent >= GIVE_UP_AFTER:
                        self.stopped = f"{self._silent} entities in a row got no answer, the last: {error}"
                raise
            else:
                with self._lock:
                    self._silent = 0
                return results
        return same_for_all(work, Outcome.REFUSED, self.stopped)

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
