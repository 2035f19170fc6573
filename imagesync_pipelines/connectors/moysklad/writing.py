"""One entity's images written: which requests it takes, and what is done when МойСклад refuses one.

Every request sets the whole list, so each can be repeated; an image leaves only in a request that brings what is to
take its place. The limit of 20 MB counts the encoded JSON, so sizes here are those of what is really sent.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from imagesync_pipelines.connectors.moysklad import errors, rules
from imagesync_pipelines.connectors.moysklad.client.answers import encoded_size
from imagesync_pipelines.connectors.moysklad.model import ImageRow, KeptImage, Managed, NewImage, Part
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.languages import told
from imagesync_pipelines.storage.contents import Content

# What one request may have: below the limit of 20,000,000 bytes, with room for its brackets.
MOST_REQUEST_BYTES = 19_999_000
# What naming an image or an entity takes in a request, about; one that is larger after all is divided.
NAMED_BYTES = 250
_SAME_TWICE = 3013


@dataclass
class Writer:
    """Brings an entity's images to a list, and knows after every request what is there.

    send: one request that sets the list. read: the bytes of content. learn: is told the
    size that the server names. now: the images that are there, as just read. limit: the largest image, in bytes.
    bad: row key to reason of what was refused. refused: those of them that the account will not take whenever they are
    sent. sent: images that were sent and are there. ids: of the places of the list that are filled as they should be.
    """

    send: Callable[[Sequence[Part]], Sequence[ImageRow]]
    read: Callable[[Content], bytes]
    learn: Callable[[int], None]
    now: tuple[Managed, ...]
    limit: int
    bad: dict[str, str] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    sent: int = 0
    ids: dict[int, str] = field(default_factory=dict)
    _slots: Sequence[rules.Slot] = ()

    def write(self, listing: rules.ImageListing) -> None:
        """Send what must be sent, in as few requests as it fits into.

        Nothing is sent when all is as it should be. An entity that would be left with none of our images because none
        could be written stays as it is, whosever images it has. Raises ChangedMeanwhileError, AnswerLostError, and what
        concerns all.
        """
        slots = self._slots = listing.slots
        self.ids = {place: slot.keep for place, slot in enumerate(slots) if slot.keep}
        new = [(place, slot.image) for place, slot in enumerate(slots) if not slot.keep]
        sizes = [(encoded_size(image.filename, image.size), NAMED_BYTES) for _, image in new]
        waiting = deque([new[at][0] for at in portion] for portion in packed(sizes, NAMED_BYTES * len(slots)))
        while waiting:
            portion = self._sendable(waiting.popleft())
            if portion:
                waiting.extendleft(reversed(self._try(portion)))
        final = [place for place in range(len(slots)) if self._id(place)]
        if (listing.reasons or self.bad) and self.now and not any(slots[place].image.source for place in final):
            return
        if [self._id(place) for place in final] != [image.id for image in self.now]:
            self._try([])

    def _sendable(self, portion: Sequence[int]) -> list[int]:
        """Those of a portion that were not refused, and are not larger than the server says that they may be."""
        for place in portion:
            image = self._slots[place].image
            if image.size > self.limit:
                self.bad[self._slots[place].key] = rules.too_large(image.filename, image.size, self.limit)
        return [place for place in portion if self._slots[place].key not in self.bad]

    def _try(self, portion: list[int]) -> list[list[int]]:
        """One request; what is to be tried again of it, in portions, when it was refused."""
        places = [place for place in range(len(self._slots)) if place in portion or self._id(place)]
        try:
            rows = self.send([self._part(place, portion) for place in places])
        except errors.ChangedMeanwhileError:
            raise
        except errors.ImageTooLargeError as error:
            # The number that it names is believed; without one, we find out which image it was.
            if error.limit_bytes is not None:
                self.learn(error.limit_bytes)
                self.limit = min(self.limit, error.limit_bytes)
                if any(self._slots[place].image.size > self.limit for place in portion):
                    return [portion]
            return self._blamed(portion, str(error), for_good=True)
        except errors.TooLargeError:
            why = told("Request larger than 20 MB: this image alone is too much for one")
            return self._blamed(portion, why, for_good=False)
        except errors.ImagesRefusedError as error:
            no_image = isinstance(error, errors.NotAnImageError)
            if not no_image and error.code == _SAME_TWICE and self._without_repeats():
                return [portion] if portion else self._try([])
            if not no_image and not portion:
                raise
            # One image is bad: the one that the error names, else found by trying half of them.
            named = next((place for at, place in enumerate(places) if at == error.element and place in portion), None)
            if named is None:
                return self._blamed(portion, str(error), for_good=no_image)
            self._blamed([named], str(error), for_good=no_image)
            return [[place for place in portion if place != named]]
        self._learn_ids(places, portion, rows)
        return []

    def _learn_ids(self, places: Sequence[int], portion: Sequence[int], rows: Sequence[ImageRow]) -> None:
        """Note what the answer says is there."""
        sent = [self._shown(place, portion) for place in places]
        now = rules.answered(rows, sent)
        if now is None:
            raise AnswerLostError("the answer does not tell which of the images that were sent are there")
        self.now, found = now, list(now)
        for place, shown in zip(places, sent, strict=True):
            image = rules.pop_image(found, source=shown.source, child_id=shown.id)
            if place in portion and image is None:
                self.bad[self._slots[place].key] = rules.NOT_ANSWERED
            elif place in portion and image is not None:
                self.ids[place] = image.id
                self.sent += 1

    def _blamed(self, portion: list[int], reason: str, *, for_good: bool) -> list[list[int]]:
        """The portion in two, for finding out by trying which image of it is refused; one image alone is it."""
        if len(portion) > 1:
            middle = len(portion) // 2
            return [portion[:middle], portion[middle:]]
        for place in portion:
            self.bad[self._slots[place].key] = reason
            if for_good:
                self.refused.add(self._slots[place].key)
        return []

    def _without_repeats(self) -> bool:
        """Let go of images that are named twice; whether there were any."""
        met: set[str] = set()
        before = len(self.ids)
        for place, child_id in sorted(self.ids.items()):
            if child_id in met:
                del self.ids[place]
                self.bad[self._slots[place].key] = told("the account does not keep the same image twice in one list")
            met.add(child_id)
        return len(self.ids) < before

    def _id(self, place: int) -> str:
        """By what id a place of the list is filled now, '' when it is empty."""
        fallback = self._slots[place].fallback
        return self.ids.get(place) or (fallback.id if fallback is not None else "")

    def _shown(self, place: int, portion: Sequence[int]) -> Managed:
        """What a place of the list shows in a request."""
        slot = self._slots[place]
        if place in portion:
            return slot.image
        if place in self.ids:
            return slot.image._replace(id=self.ids[place])
        return slot.fallback or slot.image

    def _part(self, place: int, portion: Sequence[int]) -> Part:
        slot = self._slots[place]
        if place not in portion or slot.content is None:
            return KeptImage(self._id(place))
        return NewImage(slot.image.filename, self.read(slot.content))


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
