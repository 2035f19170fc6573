"""A plan into a child account: the engine's remote target for the images of entities, one by one and many at once."""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import islice

import pandas as pd

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.moysklad import errors, rules
from imagesync_pipelines.connectors.moysklad.child import HOLD, ChildRun
from imagesync_pipelines.connectors.moysklad.client.account import EXPANDED_LIMIT, MoyskladApi
from imagesync_pipelines.connectors.moysklad.client.answers import encoded_size
from imagesync_pipelines.connectors.moysklad.keeping import Kept, details_of, done_of
from imagesync_pipelines.connectors.moysklad.missing import end_doubts
from imagesync_pipelines.connectors.moysklad.model import (
    ACCOUNT_ID,
    ChildRecord,
    EntityTask,
    ImageRow,
    Managed,
    NewImage,
    Part,
)
from imagesync_pipelines.connectors.moysklad.planning import rows_frame
from imagesync_pipelines.connectors.moysklad.recognising import Recogniser
from imagesync_pipelines.connectors.moysklad.writing import MOST_REQUEST_BYTES, Writer
from imagesync_pipelines.errors import error_reason
from imagesync_pipelines.storage.contents import ContentMissingError
from imagesync_pipelines.storage.outbox import IN_PART, Details
from imagesync_pipelines.sync.apply import same_for_all
from imagesync_pipelines.sync.identity import Told, only
from imagesync_pipelines.sync.model import GroupWork, Outcome, RowResult
from imagesync_pipelines.sync.remote import WHOLE_FRESH_FOR

# An entity that somebody writes to in the same moment is read and written again so often.
_TRIES = 3
# The frame of one entity in a request of many: its address, its type and brackets.
_ENTITY_BYTES = 300
Listed = tuple[ImageRow, ...] | str | None
"""The images of an entity in the child account, or why they did not come; None: it is not there any more."""


def read_lists(
    api: MoyskladApi, ids: Mapping[str, str], identify: Callable[[Told], None], doubted: Collection[str] = ()
) -> Iterator[dict[str, Listed]]:
    """Read the images of these entities (key to child id), 100 per call; by key.

    From images that did not come nothing is concluded, nor from an answer that lacks rows it counts. What is not in an
    answer is asked for once more, except what is doubted already. identify: hears whose account answered, before
    anything is concluded. Raises IdentityRefusedError and the errors of the API.
    """
    remaining = iter(ids.items())
    while portion := dict(islice(remaining, EXPANDED_LIMIT)):
        found = _asked(api, portion, identify)
        missing = {key: portion[key] for key, listed in found.items() if listed is None and key not in doubted}
        yield found | _asked(api, missing, identify) if missing else found


def _asked(api: MoyskladApi, ids: Mapping[str, str], identify: Callable[[Told], None]) -> dict[str, Listed]:
    """One answer about at most 100 entities."""
    found: dict[str, Listed] = {}
    counted = 0
    for page in api.assortment(ids=list(ids.values())):
        counted += page.size if page.offset == 0 else 0
        found |= {key.partition(":")[2]: why for key, why in page.illegible.items()}
        for entity in page.entities:
            images = entity.delivered
            found[entity.id] = (
                languages.told("its images were not delivered, or not all of them") if images is None else images
            )
    # Another account lacks them all: it is asked who it is before anything counts as gone.
    identify(only(ACCOUNT_ID, api.whose()))
    lacking = (
        None
        if counted == len(found.keys() & set(ids.values()))
        else languages.told("the answer lacks rows that it counts")
    )
    return {key: found.get(child_id, lacking) for key, child_id in ids.items()}


@dataclass
class ImageTarget:
    """A child account's images as the engine writes them; satisfies its RemoteTarget.

    Lists are read before they are replaced, with those of the entities that come next, in the order of their keys. What
    the owner of a mirror added since the plan was made has passed no limit: it stays, and the next plan judges it.

    tasks: by group. failed: why there is no content, by the identity of an image. limit: the largest image that the
    account takes, in bytes; what its server names is believed and kept.
    stopped: why the rest of the plan was left, '' while it was not: it waits for the next run. sent, removed: images
    per entity type. reasons: why images are not there, by row key; refused: those of them that the account will not
    take, however often they are sent. missing: entities that it says it does not have any more.
    unjudged: by group, how many images of a mirror's owner stay until a plan has judged them.
    """

    child: ChildRun
    api: MoyskladApi
    tasks: Mapping[str, EntityTask]
    failed: Mapping[str, str]
    limit: int
    stopped: str = ""
    sent: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    reasons: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    unjudged: dict[str, int] = field(default_factory=dict)
    _begun: set[str] = field(default_factory=set)
    _details_of: dict[str, Details] = field(default_factory=dict)
    _lists: dict[str, tuple[datetime, Listed]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._reading, self._counting = threading.Lock(), threading.Lock()
        self._recogniser = Recogniser(self.child, self.api)
        images = [image for task in self.tasks.values() for image in task.images if not image.child_id]
        # Content by the identity of an image, which says as what it is sent, and was; of what comes back by its hash.
        self.kept = self.child.kept_of({image.source for image in images if not image.sha256})
        if back := {image.sha256 for image in images if image.sha256}:
            self.kept |= self.child.contents.hold_bytes(back, HOLD)
        self._order = sorted(self.tasks)
        self._records = self.child.records(self._order)
        self._doubted = set(self.child.doubts.open())
        known = self._records.items() if self.child.mirror else ()
        self._recorded = {key: {image.id for image in record.images} for key, record in self._records.items()}
        self._judged = {key: [image.id for image in record.images if not image.source] for key, record in known}

    def read(self, groups: Sequence[str]) -> pd.DataFrame:
        """What we know of these entities: whether another run of ours wrote them since.

        What their owner did is found when they are written: their lists are then read where they may hold his images.
        """
        return rows_frame(self.child.records(groups))

    def apply(self, work: GroupWork) -> list[RowResult]:
        """Write one entity; once the account stopped, the rest is left.

        Raises AnswerLostError, AccountRefusedError, AccountForbiddenError, and other errors about it.
        """
        refused = ""
        for attempt in range(_TRIES):
            try:
                there = self.there(work.group, again=attempt > 0)
                try:
                    return self._write(work, self.tasks[work.group], there)
                except errors.EntityGoneError as error:
                    # A write that is told so is no proof: the entity is read.
                    refused = str(error)
            except errors.FATAL:
                raise
            except errors.AccountStoppedError as error:
                self.stopped = error_reason(error)
                return same_for_all(work, Outcome.REFUSED, self.stopped)
            except errors.EntityGoneError:
                # Another account lacks it: what is written without being read was not asked who it is.
                self.child.identity.record(only(ACCOUNT_ID, self.api.whose()))
                self.child.doubts.note([work.group])
                self.missing.add(work.group)
                why = languages.told(
                    "the child account says that it does not have this entity any more; a later run looks again"
                )
                return same_for_all(work, Outcome.FAILED, why)
            except errors.ChangedMeanwhileError as error:
                refused = str(error)
            except errors.ImagesRefusedError as error:
                return same_for_all(work, Outcome.FAILED, error_reason(error))
        return same_for_all(
            work, Outcome.FAILED, languages.told(f"{refused}; tried {_TRIES} times, the next run tries again")
        )

    def _write(self, work: GroupWork, task: EntityTask, there: tuple[Managed, ...]) -> list[RowResult]:
        """Write an entity, and note what it holds, whatever ended it."""
        there, listing, details = self._made_ready(work, there)
        is_new = any(not slot.keep for slot in listing.slots)
        self.child.begin_list(
            {work.group: [slot.image for slot in listing.slots if slot.key]} if is_new else {}, {work.group: details}
        )
        writer = Writer(
            send=partial(self.api.set_images, task.type, task.child_id),
            read=self.child.contents.read,
            learn=self.learn,
            now=there,
            limit=self.limit,
        )
        try:
            self._write_list(work, writer, listing, there)
        except (ContentMissingError, errors.AccountStoppedError, errors.EntityGoneError) as error:
            self.child.note({work.group: rules.seen_of(writer.now, self.child.child.ownership)})
            if not isinstance(error, ContentMissingError):
                raise
            return same_for_all(work, Outcome.FAILED, error_reason(error))
        self.refused |= writer.refused
        return self.done(work, there, writer.now, writer.sent, listing.reasons | writer.bad)

    def _write_list(
        self, work: GroupWork, writer: Writer, listing: rules.ImageListing, there: tuple[Managed, ...]
    ) -> None:
        """Write a list; the history knows what was done of it when it breaks off."""
        try:
            writer.write(listing)
        except Exception:
            if writer.now != there:
                said = {key: told for key, told in self._details_of[work.group].items() if told is not None}
                done = done_of(work, rules.seen_of(writer.now, self.child.child.ownership))
                self.child.begin_list({}, {work.group: {key: {**said[key], IN_PART: {}} for key in done & said.keys()}})
            raise

    def _made_ready(
        self, work: GroupWork, there: tuple[Managed, ...]
    ) -> tuple[tuple[Managed, ...], rules.ImageListing, Details]:
        """An entity's list as it is, what it is to get, and what the history says of its rows.

        What leaves may have to be fetched for so long that somebody else changed the list: then it is read again. What
        was there before counts as it was at the first attempt, for that may have written. Raises ChangedMeanwhileError,
        LockLostError, and the errors of `there`.
        """
        first, kept = work.group not in self._details_of, dict[str, Kept]()
        for _ in range(_TRIES):
            listing = self.listing(work.group, there)
            if work.group not in self._details_of:
                listed = self._lists[work.group][1]
                rows = listed if isinstance(listed, tuple) else ()
                self._details_of[work.group] = details_of(self.child, self.api, work, rows, there, listing, kept)
            if not self._is_old(work.group):
                return there, listing, self._details_of[work.group]
            self.child.context.check_locks()
            there, earlier = self.there(work.group), there
            if first and there != earlier:
                del self._details_of[work.group]
        raise errors.ChangedMeanwhileError("its list was old again before what it loses was there")

    def there(self, key: str, *, again: bool = False) -> tuple[Managed, ...]:
        """The images of an entity, read a moment ago, or just now with `again`.

        Raises EntityGoneError, RowsMissingError, IdentityRefusedError, and the errors of the API.
        """
        with self._reading:
            self._begun.add(key)
            if again:
                # What was begun meanwhile is noted there, with the very names that were sent.
                self._records |= self.child.records([key])
                self._read_now([key])
            elif self._is_old(key):
                coming = (other for other in self._order if other not in self._begun)
                self._read_now([key, *islice(coming, EXPANDED_LIMIT - 1)])
            listed = self._lists[key][1]
        if listed is None:
            raise errors.EntityGoneError(f"the child account does not have {self.tasks[key].name} ({key}) any more")
        if isinstance(listed, str):
            raise errors.RowsMissingError(f"{self.tasks[key].name}: {listed}")
        expected = [image for image in self.tasks[key].images if image.content in self.kept]
        return self._recogniser.recognise(listed, self._records.get(key, ChildRecord()), expected)

    def refresh(self, keys: Sequence[str]) -> None:
        """Read again, in one call, those of these lists (at most 100) that are too old to be replaced.

        Raises IdentityRefusedError, and the errors of the API.
        """
        with self._reading:
            old = [key for key in keys if self._is_old(key)]
            if old:
                self._read_now(old)

    def _is_old(self, key: str) -> bool:
        return key not in self._lists or self.child.context.clock() - self._lists[key][0] > WHOLE_FRESH_FOR

    def _read_now(self, keys: Sequence[str]) -> None:
        ids = {key: self.tasks[key].child_id for key in keys}
        for found in read_lists(self.api, ids, self.child.identity.record, self._doubted):
            self._lists |= {key: (self.child.context.clock(), listed) for key, listed in found.items()}
            back = {key for key, listed in found.items() if isinstance(listed, tuple)} & self._doubted
            if back:
                end_doubts(self.child, back)
                self._doubted -= back

    def listing(self, key: str, there: Sequence[Managed]) -> rules.ImageListing:
        """The list that an entity is to get."""
        stay = rules.staying(there, self._judged.get(key, ()), self._recorded.get(key, ()))
        if self.child.mirror and stay:
            self.unjudged[key] = len(stay)
        return rules.listing_of(self.tasks[key], there, self.kept, self.failed, self.limit, stay)

    def learn(self, size: int) -> None:
        """Believe the largest size of an image that the server named."""
        if size < self.limit:
            self.limit = size
            self.child.learn_max_image_bytes(size)

    def done(
        self, work: GroupWork, before: Sequence[Managed], now: Sequence[Managed], sent: int, reasons: Mapping[str, str]
    ) -> list[RowResult]:
        """Note what an entity holds now, and count what became of it."""
        self.child.note({work.group: rules.seen_of(now, self.child.child.ownership)})
        kind = self.tasks[work.group].type
        left = Counter(image.id for image in before) - Counter(image.id for image in now)
        with self._counting:
            self.sent[kind] += sent
            self.removed[kind] += left.total()
            self.reasons.update(reasons)
        return rules.results_of(work, now, reasons)


@dataclass
class FirstFill:
    """Entities that have no image yet, up to 100 and 20 MB in one request; satisfies the engine's BulkTarget.

    An entity is written so only while its list is as fresh as for a write of its own; one that has images by then, and
    one whose part of a request was refused, is left out and written by itself. requests: how many were carried out.
    """

    target: ImageTarget
    requests: int = 0

    def portions(self, works: Iterator[GroupWork]) -> Iterator[Sequence[GroupWork]]:
        """Those of these entities that may be written so, each portion of one type; groups come ordered by type."""
        portion: list[GroupWork] = []
        kind, total = "", 0
        for work in works:
            listing = self._empty(work)
            if listing is None:
                continue
            size, own = _size(listing), self.target.tasks[work.group].type
            full = len(portion) == EXPANDED_LIMIT or total + size > MOST_REQUEST_BYTES - 2
            if portion and (full or own != kind):
                yield portion
                portion, total = [], 0
            kind = own
            portion.append(work)
            total += size
        if portion:
            yield portion

    def apply(self, works: Sequence[GroupWork]) -> Sequence[RowResult]:
        """One request. Raises AnswerLostError and AccountStoppedError."""
        target = self.target
        target.refresh([work.group for work in works])
        fills = [(work, listing) for work in works if (listing := self._empty(work)) is not None]
        if not fills:
            return []
        lists: dict[str, Sequence[Part]] = {}
        read = target.child.contents.read
        try:
            for work, listing in fills:
                new = [NewImage(slot.image.filename, read(slot.content)) for slot in listing.slots if slot.content]
                lists[target.tasks[work.group].child_id] = new
        except ContentMissingError:
            return []
        target.child.begin_list(
            {work.group: [slot.image for slot in listing.slots] for work, listing in fills},
            {work.group: details_of(target.child, target.api, work, (), (), listing, {}) for work, listing in fills},
        )
        try:
            answers = target.api.set_images_bulk(target.tasks[fills[0][0].group].type, lists)
        except errors.ImagesRefusedError:
            return []
        self.requests += 1
        return [
            result
            for work, listing in fills
            for result in self._result(work, listing, answers[target.tasks[work.group].child_id])
        ]

    def _empty(self, work: GroupWork) -> rules.ImageListing | None:
        """What an entity is to get, if it has no image and that fits into a request."""
        try:
            there = self.target.there(work.group)
        except (errors.EntityGoneError, errors.RowsMissingError):
            return None
        if there:
            return None
        listing = self.target.listing(work.group, ())
        return listing if listing.slots and _size(listing) <= MOST_REQUEST_BYTES else None

    def _result(self, work: GroupWork, listing: rules.ImageListing, answer: object) -> list[RowResult]:
        """What became of one entity of a request; nothing when it got none of its images, and is written by itself."""
        if isinstance(answer, errors.ImageTooLargeError) and answer.limit_bytes is not None:
            self.target.learn(answer.limit_bytes)
        now = rules.answered(answer, [slot.image for slot in listing.slots]) if isinstance(answer, tuple) else ()
        if now is None:
            return same_for_all(
                work, Outcome.UNKNOWN, languages.told("the answer does not tell which of its images are there")
            )
        sent = sum(image.source != "" for image in now)
        # Of some the request is taken and the images are not; sent one by one they are.
        return self.target.done(work, (), now, sent, listing.reasons) if sent else []


def _size(listing: rules.ImageListing) -> int:
    return _ENTITY_BYTES + sum(encoded_size(slot.image.filename, slot.image.size) for slot in listing.slots)
