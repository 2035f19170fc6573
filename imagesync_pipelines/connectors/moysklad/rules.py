"""The pure rules: which images a child account gets, which of its images are ours, what one request holds.

The limit of 20 MB counts the encoded JSON, so sizes here are those of what is really sent.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import orjson

from imagesync_pipelines.connectors.moysklad.model import MOST_IMAGES, ImageRow, Managed, Mode, Seen

MB = 1_000_000
# A request of 20 MB cannot hold a larger one, whatever an account allows: base64 makes 4 bytes of 3.
MOST_IMAGE_BYTES = 14_990_000
# What one request may have: below the limit of 20,000,000 bytes, with room for its brackets.
MOST_REQUEST_BYTES = 19_999_000
MOST_NAME_CHARACTERS = 255
_EXTENSIONS = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}
_SMALLER = "~"


class Slot(NamedTuple):
    """One place of the list that an entity is to get.

    key: of its row in the plan, '' when it is the owner's. image: what it is a copy of, and as what it is sent. keep:
    the id by which it is there already; '' when it must be sent. fallback: what is there in its place until it is.
    """

    key: str
    image: Managed
    keep: str = ""
    fallback: Managed | None = None


def choose_images(images: Sequence[ImageRow], mode: Mode) -> tuple[ImageRow, ...]:
    """The images of an entity that a child account gets: none, the first, or the first ten."""
    return tuple(images[: {Mode.OFF: 0, Mode.FIRST: 1, Mode.ALL: MOST_IMAGES}[mode]])


def size_limit(setting_mb: float, learned: int | None) -> int:
    """The largest image that an account takes, in bytes: by its setting, by what its server said, by a request."""
    return min(round(setting_mb * MB), MOST_IMAGE_BYTES, learned or MOST_IMAGE_BYTES)


def too_large(name: str, size: int, limit: int) -> str:
    """What is told of an image that an account does not take."""
    return f"Image file too large, skipping: {name} ({size / MB:.1f} MB, limit {limit / MB:g} MB)"


def identity(image_id: str, limit: int | None = None) -> str:
    """What a copy is a copy of: an image of the main account, or the same made smaller than a limit in bytes."""
    return image_id if limit is None else f"{image_id}{_SMALLER}{limit}"


def image_of(source: str) -> str:
    """The id in the main account of what a copy is a copy of."""
    return source.partition(_SMALLER)[0]


def numbered(sources: Iterable[str]) -> Iterator[tuple[str, int]]:
    """Ids with how often each came before: the same name and bytes twice are two images with one id."""
    met: Counter[str] = Counter()
    for source in sources:
        yield source, met[source]
        met[source] += 1


def row_keys(group: str, images: Sequence[Managed]) -> list[str]:
    """The keys of a list of images in a plan: by main image id, or by the child's id for those of its owner."""
    names = [image_of(image.source) or f"child/{image.id}" for image in images]
    return [f"{group}#{name}#{number}" for name, number in numbered(names)]


def sent_name(filename: str, image_id: str, image_format: str) -> str:
    """The file name that an image is sent with: its own, with an extension, at most 255 characters."""
    stem, dot, extension = (filename or image_id).rpartition(".")
    has_extension = bool(dot) and bool(stem) and extension.isalnum() and len(extension) <= 5
    ending = f".{extension}" if has_extension else _EXTENSIONS.get(image_format, ".jpg")
    stem = stem if has_extension else (filename or image_id)
    return stem[: MOST_NAME_CHARACTERS - len(ending)] + ending


def recognise(rows: Sequence[ImageRow], known: Sequence[Managed], expected: Sequence[Managed]) -> tuple[Managed, ...]:
    """What the images of an entity in a child account are, in its order; source '' where they are its owner's.

    known: what we know to be there, by id. expected: what may have been written without our hearing of it, or before
    our lists were lost: known by file name and size. Each entry of both is used once.
    """
    by_id: defaultdict[str, list[Managed]] = defaultdict(list)
    for image in reversed(known):
        by_id[image.id].append(image)
    found: list[Managed | None] = [by_id[row.id].pop() if by_id[row.id] else None for row in rows]
    here = Counter(image.source for image in found if image is not None)
    by_name: defaultdict[tuple[str, int], list[Managed]] = defaultdict(list)
    for image in expected:
        if here[image.source]:
            here[image.source] -= 1
        else:
            by_name[image.filename, image.size].append(image)
    for place, row in enumerate(rows):
        waiting = by_name[row.filename, row.size]
        if found[place] is None and waiting:
            found[place] = waiting.pop(0)._replace(id=row.id)
    return tuple(
        image if image is not None else Managed("", row.id, row.filename, row.size)
        for image, row in zip(found, rows, strict=True)
    )


def seen(images: Sequence[Managed], *, mirror: bool) -> Seen:
    """What is kept of a list that was recognised: all of it in a mirror, else ours, and how many are the owner's."""
    if mirror:
        return Seen(tuple(images), 0)
    ours = tuple(image for image in images if image.source)
    return Seen(ours, len(images) - len(ours))


def merged(ours: Sequence[Slot], there: Sequence[Managed]) -> list[Slot]:
    """The list of an entity whose owner has images of his own: those keep their places, ours come between them."""
    slots = list(ours)
    for place, image in enumerate(there):
        if not image.source:
            slots.insert(min(place, len(slots)), Slot("", image, keep=image.id))
    return slots


def beyond_the_most(slots: Sequence[Slot]) -> list[Slot]:
    """Those of ours that do not fit, the last ones: an entity has ten images at most, and what is there stays."""
    excess = len(slots) - MOST_IMAGES
    sent = [slot for slot in slots if not slot.keep]
    return sent[max(0, len(sent) - excess) :] if excess > 0 else []


def encoded_size(filename: str, size: int) -> int:
    """Bytes that an image takes in a request: base64, its name, its frame and a comma."""
    return len(orjson.dumps({"filename": filename, "content": ""})) + 4 * ((size + 2) // 3) + 1


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


def earlier_calls(there: int, wanted: int) -> int:
    """Calls that the earlier way takes for one entity: list, delete each, HEAD and GET each of the main account, post.

    It leaves an entity alone that has no image in the main account.
    """
    return 1 + there + 2 * wanted + 1 if wanted else 0


def pieces(slots: Sequence[Slot], size_of_kept: Callable[[str], int]) -> list[list[int]]:
    """The places of the slots that must be sent, in portions of one request each; the first names what is there."""
    there = sum(size_of_kept(slot.keep or (slot.fallback.id if slot.fallback else "")) for slot in slots)
    sent = [place for place, slot in enumerate(slots) if not slot.keep]
    named = size_of_kept("0" * 36)
    sizes = [(encoded_size(slots[place].image.filename, slots[place].image.size), named) for place in sent]
    return [[sent[at] for at in portion] for portion in packed(sizes, there)]
