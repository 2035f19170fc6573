"""One entity's images written: which requests it takes, and what is done when МойСклад refuses one.

Every request sets the whole list, so each can be repeated; an image leaves only in a request that brings what is to
take its place. The limit of 20 MB counts the encoded JSON, so sizes here are those of what is really sent.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from imagesync_pipelines.connectors.moysklad.client.answers import encoded_size
from imagesync_pipelines.connectors.moysklad.errors import (
    ChangedMeanwhileError,
    ImagesRefusedError,
    ImageTooLargeError,
    NotAnImageError,
    StaleError,
    TooLargeError,
)
from imagesync_pipelines.connectors.moysklad.model import ImageRow, KeptImage, Managed, NewImage, Part
from imagesync_pipelines.connectors.moysklad.rules import (
    NOT_ANSWERED,
    ImageListing,
    Slot,
    pop_image,
    recognise,
    too_large,
)

# What one request may have: below the limit of 20,000,000 bytes, with room for its brackets.
MOST_REQUEST_BYTES = 19_999_000
TWICE = "the account does not keep the same image twice in one list"
REQUEST_TOO_LARGE = "Request larger than 20 MB: this image alone is too much for one"
_SAME_TWICE = 3013


@dataclass
class Writer:
    """Brings an entity's images to a list, and knows after every request what is there.

    send: one request that sets the list. load: the bytes of an image that is to be sent. size_of_kept: what naming an
    image takes in a request. learn: is told the size that the server names. now: the images that are there. fresh: they
    were just read, so a refusal is not because they are old. limit: the largest image, in bytes.
    bad: row key to reason of what was refused. refused: those of them that the account will not take whenever they are
    sent. sent: images that were sent and are there. ids: of the places that are filled as they should be.
    """

    send: Callable[[Sequence[Part]], Sequence[ImageRow]]
    load: Callable[[Managed], bytes]
    size_of_kept: Callable[[str], int]
    learn: Callable[[int], None]
    now: tuple[Managed, ...]
    fresh: bool
    limit: int
    bad: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    sent: int = 0
    requests: int = 0
    ids: dict[int, str] = field(default_factory=dict)

    def write(self, listing: ImageListing) -> None:
        """Send what must be sent, in as few requests as it fits into; raises StaleError, and what concerns all images.

        Nothing is sent when all is as it should be. An entity that would be left with none of our images because none
        could be written stays as it is, whosever images it has.
        """
        slots = listing.slots
        self.ids = {place: slot.keep for place, slot in enumerate(slots) if slot.keep}
        waiting = deque(pieces(slots, self.size_of_kept))
        while waiting:
            portion = self._sendable(slots, waiting.popleft())
            if portion:
                waiting.extendleft(reversed(self._try(slots, portion)))
        failed = bool(listing.reasons or self.bad)
        ours = any(slots[place].image.source for place in self._final(slots))
        if failed and not ours and self.now:
            return
        if [self._id(slots, place) for place in self._final(slots)] != [image.id for image in self.now]:
            self._try(slots, [])

    def _sendable(self, slots: Sequence[Slot], portion: Sequence[int]) -> list[int]:
        """Those of a portion that were not refused, and are not larger than the server says that they may be."""
        for place in portion:
            image = slots[place].image
            if image.size > self.limit:
                self.bad[slots[place].key] = too_large(image.filename, image.size, self.limit)
        return [place for place in portion if slots[place].key not in self.bad]

    def _try(self, slots: Sequence[Slot], portion: Sequence[int]) -> list[list[int]]:
        """One request; what is to be tried again of it, in portions, when it was refused."""
        places = [place for place in range(len(slots)) if place in portion or self._id(slots, place)]
        parts: list[Part] = [self._part(slots, place, portion) for place in places]
        self.requests += 1
        try:
            rows = self.send(parts)
        except ChangedMeanwhileError as error:
            raise StaleError(str(error)) from error
        except ImageTooLargeError as error:
            return self._too_large(slots, portion, error)
        except TooLargeError:
            return self._blamed(slots, portion, REQUEST_TOO_LARGE, for_good=False)
        except NotAnImageError as error:
            return self._refused(slots, places, portion, error)
        except ImagesRefusedError as error:
            if error.code == _SAME_TWICE and self._without_repeats(slots):
                return [list(portion)] if portion else self._try(slots, [])
            if not self.fresh:
                raise StaleError(str(error)) from error
            if not portion:
                raise
            return self._refused(slots, places, portion, error)
        self._learn_ids(slots, places, portion, rows)
        return []

    def _learn_ids(
        self, slots: Sequence[Slot], places: Sequence[int], portion: Sequence[int], rows: Sequence[ImageRow]
    ) -> None:
        """Note what the answer says is there; it is in the order in which it was sent."""
        shown = {place: self._shown(slots, place, portion) for place in places}
        found = list(recognise(rows, [image for image in shown.values() if image.id], list(shown.values())))
        if len(rows) == len(places):
            for at, place in enumerate(places):
                if place in portion and not found[at].source:
                    found[at] = slots[place].image._replace(id=rows[at].id)
        self.now = tuple(found)
        rest = list(found)
        for place in places:
            image = pop_image(rest, source=shown[place].source, child_id=shown[place].id)
            if place in portion:
                if image is None:
                    self.bad[slots[place].key] = NOT_ANSWERED
                else:
                    self.ids[place] = image.id
                    self.sent += 1

    def _too_large(self, slots: Sequence[Slot], portion: Sequence[int], error: ImageTooLargeError) -> list[list[int]]:
        """51004: believe the number that it names, else find out which image it was."""
        if error.limit_bytes is not None:
            self.learn(error.limit_bytes)
            self.limit = min(self.limit, error.limit_bytes)
            if any(slots[place].image.size > self.limit for place in portion):
                return [list(portion)]
        return self._blamed(slots, portion, str(error), for_good=True)

    def _refused(
        self, slots: Sequence[Slot], places: Sequence[int], portion: Sequence[int], error: ImagesRefusedError
    ) -> list[list[int]]:
        """One image is bad: the one that the error names, else found by trying half of them."""
        named, for_good = error.element, isinstance(error, NotAnImageError)
        if named is not None and 0 <= named < len(places) and places[named] in portion:
            self._blamed(slots, [places[named]], str(error), for_good=for_good)
            return [[place for place in portion if place != places[named]]]
        return self._blamed(slots, portion, str(error), for_good=for_good)

    def _blamed(self, slots: Sequence[Slot], portion: Sequence[int], reason: str, *, for_good: bool) -> list[list[int]]:
        if len(portion) > 1:
            return list(halves(portion))
        for place in portion:
            self.bad[slots[place].key] = reason
            if for_good:
                self.refused.add(slots[place].key)
        return []

    def _without_repeats(self, slots: Sequence[Slot]) -> bool:
        """Let go of images that are named twice; whether there were any."""
        met: set[str] = set()
        before = len(self.ids)
        for place, child_id in sorted(self.ids.items()):
            if child_id in met:
                del self.ids[place]
                self.bad[slots[place].key] = TWICE
            met.add(child_id)
        return len(self.ids) < before

    def _final(self, slots: Sequence[Slot]) -> list[int]:
        return [place for place in range(len(slots)) if self._id(slots, place)]

    def _id(self, slots: Sequence[Slot], place: int) -> str:
        """By what id a place of the list is filled now, '' when it is empty."""
        fallback = slots[place].fallback
        return self.ids.get(place) or (fallback.id if fallback is not None else "")

    def _shown(self, slots: Sequence[Slot], place: int, portion: Sequence[int]) -> Managed:
        """What a place of the list shows in a request."""
        slot = slots[place]
        if place in portion:
            return slot.image
        if place in self.ids:
            return slot.image._replace(id=self.ids[place])
        return slot.fallback or slot.image

    def _part(self, slots: Sequence[Slot], place: int, portion: Sequence[int]) -> Part:
        if place not in portion:
            return KeptImage(self._id(slots, place))
        image = slots[place].image
        return NewImage(image.filename, self.load(image))


def pieces(slots: Sequence[Slot], size_of_kept: Callable[[str], int]) -> list[list[int]]:
    """The places of the slots that must be sent, in portions of one request each; the first names what is there."""
    there = sum(size_of_kept(slot.keep or (slot.fallback.id if slot.fallback else "")) for slot in slots)
    sent = [place for place, slot in enumerate(slots) if not slot.keep]
    named = size_of_kept("0" * 36)
    sizes = [(encoded_size(slots[place].image.filename, slots[place].image.size), named) for place in sent]
    return [[sent[at] for at in portion] for portion in packed(sizes, there)]


def packed(sizes: Iterable[tuple[int, int]], first: int, most: int = MOST_REQUEST_BYTES) -> list[list[int]]:
    """Portions of things that each fit into one request; order is kept.

    sizes: what each takes, with what it takes in the requests after its own (an image is then named and not sent).
    first: bytes that are there from the start. What is too large by itself is a portion of its own.
    """
    portions: list[list[int]] = []
    portion: list[int] = []
    total, later = first, first
    for place, (size, afterwards) in enumerate(sizes):
        if portion and total + size > most:
            portions.append(portion)
            portion, total = [], later
        portion.append(place)
        total += size
        later += afterwards
    return [*portions, portion] if portion else portions


def halves(portion: Sequence[int]) -> Iterator[list[int]]:
    """A portion in two; for finding out by trying which image of it is refused."""
    middle = len(portion) // 2
    yield from (part for part in (list(portion[:middle]), list(portion[middle:])) if part)
