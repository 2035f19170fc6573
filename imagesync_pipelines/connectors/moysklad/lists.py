"""The lists of images that a child account has, read for many entities at once, and what of them is ours."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from imagesync_pipelines.connectors.moysklad.accounts import Ownership
from imagesync_pipelines.connectors.moysklad.child import ChildIdentity, ChildState
from imagesync_pipelines.connectors.moysklad.client.account import EXPANDED_LIMIT, MoyskladApi
from imagesync_pipelines.connectors.moysklad.errors import EntityGoneError, RowsMissingError
from imagesync_pipelines.connectors.moysklad.model import (
    ChildRecord,
    Entity,
    EntityTask,
    ImageRow,
    Managed,
    Seen,
    Wanted,
)
from imagesync_pipelines.connectors.moysklad.rules import image_of, recognise, seen, sent_name
from imagesync_pipelines.storage.contents import Content

# The owner may write at any time; a list older than this is read again before it is replaced.
FRESH_FOR = timedelta(seconds=30)


@dataclass(frozen=True)
class ReadLists:
    """Lists that were read. seen: by key. gone: keys of entities that the child account does not have any more.

    unread: key to reason of those whose rows did not come; nothing is concluded from that.
    """

    seen: Mapping[str, tuple[Managed, ...]]
    gone: frozenset[str]
    unread: Mapping[str, str]


def read_lists(
    api: MoyskladApi,
    ids: Mapping[str, str],
    records: Mapping[str, ChildRecord],
    expected: Mapping[str, Sequence[Managed]],
    identity: ChildIdentity,
) -> Iterator[ReadLists]:
    """Read the images of these entities (key to child id), 100 per call, and recognise ours among them.

    expected: what may be there without our knowing, by key; see rules.recognise. identity: looks at whose they are.
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
        lists: dict[str, tuple[Managed, ...]] = {}
        unread: dict[str, str] = {}
        for key, child_id in portion.items():
            entity = found.get(child_id)
            if entity is not None and entity.images is not None and len(entity.images) == entity.image_count:
                record = records.get(key, ChildRecord())
                lists[key] = recognise(entity.images, record.images, _expected(record, expected.get(key, ())))
            elif entity is not None or child_id in illegible:
                unread[key] = illegible.get(child_id, "its images were not delivered, or not all of them")
        yield ReadLists(lists, frozenset(portion.keys() - lists.keys() - unread.keys()), unread)


def expected_of(images: Sequence[ImageRow]) -> tuple[Managed, ...]:
    """The images of a main entity as they may be in a child account."""
    return tuple(Managed(row.id, "", sent_name(row.filename, row.id, ""), row.size) for row in images)


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
        return found.seen[key], True

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
        expected = {key: _wanted(self._tasks[key].images, self._kept) for key in keys}
        for found in read_lists(self._api, ids, self._records, expected, self._identity):
            now = self._clock()
            self._read |= dict.fromkeys(keys, (now, found))


def seen_of(images: Sequence[Managed], ownership: Ownership) -> Seen:
    """What is noted of a list, by whose the images of the account are."""
    return seen(images, mirror=ownership is Ownership.MIRROR)


def _expected(record: ChildRecord, images: Sequence[Managed]) -> tuple[Managed, ...]:
    """What was about to be written, and of these images those that are not among it."""
    sources = [image.source for image in record.writing]
    found = list(record.writing)
    for image in images:
        if image.source in sources:
            sources.remove(image.source)
        else:
            found.append(image)
    return tuple(found)


def _wanted(images: Sequence[Wanted], kept: Mapping[str, Content]) -> tuple[Managed, ...]:
    """The images of a task as they may be there; what is made smaller is known only where its content is kept."""
    found = []
    for image in images:
        content = kept.get(image.source)
        if not image.child_id and (content is not None or not image.limit):
            name = sent_name(image.filename, image_of(image.source), content.format if content is not None else "")
            found.append(Managed(image.source, "", name, content.size if content is not None else image.size))
    return tuple(found)
