"""The pure rules: which images a child account gets, which of its images are ours, what list an entity is to get."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from imagesync_pipelines.connectors.moysklad.accounts import MAIN, Mode, Ownership
from imagesync_pipelines.connectors.moysklad.model import (
    MOST_IMAGES,
    NAME,
    ChildRecord,
    EntityTask,
    ImageRow,
    Managed,
    Wanted,
)
from imagesync_pipelines.storage.contents import Content
from imagesync_pipelines.sync.model import Change, GroupWork, Outcome, RowResult

G = TypeVar("G", Managed, Wanted)
MB = 1_000_000
# A request of 20 MB cannot hold a larger one, whatever an account allows: base64 makes 4 bytes of 3.
MOST_IMAGE_BYTES = 14_990_000
MOST_NAME_CHARACTERS = 255
_EXTENSIONS = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}
_SMALLER = "~"
NO_PLACE = "there is no room for it: with what the account's owner added, ten images are there"
NOT_ANSWERED = "МойСклад accepted the list, but its answer lacks this image; the next run looks again"
STILL_THERE = (
    "Failed to delete an existing image (not critical): kept, because what is to take its place could not be written"
)


class Slot(NamedTuple):
    """One place of the list that an entity is to get.

    key: of its row in the plan, '' when it is the owner's. image: what it is a copy of, and as what it is sent. keep:
    the id by which it is there already; '' when it must be sent. fallback: what is there in its place until it is.
    """

    key: str
    image: Managed
    keep: str = ""
    fallback: Managed | None = None


class ImageListing(NamedTuple):
    """The list that an entity is to get, and why images of it are not in it, by row key."""

    slots: list[Slot]
    reasons: dict[str, str]


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


def source_of(source: str) -> str:
    """The name under which the content of an image of the main account is kept."""
    return f"{NAME}:{MAIN}:{source}"


def recalled(sha256: str) -> str:
    """What a copy is known as whose original is forgotten, and which is ours by its bytes: of none that is wanted."""
    return f"sha256:{sha256}"


def image_of(source: str) -> str:
    """The id in the main account of what a copy is a copy of."""
    return source.partition(_SMALLER)[0]


def row_keys(group: str, images: Sequence[Managed]) -> list[str]:
    """The keys of a list of images in a plan: by main image id, or by the child's id for those of its owner.

    They are numbered, for the same name and bytes twice are two images with one id.
    """
    met: Counter[str] = Counter()
    keys = []
    for image in images:
        name = image_of(image.source) or f"child/{image.id}"
        keys.append(f"{group}#{name}#{met[name]}")
        met[name] += 1
    return keys


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
    by_name: defaultdict[tuple[str, int], list[Managed]] = defaultdict(list)
    for image in beyond(expected, [one for one in found if one is not None]):
        by_name[image.filename, image.size].append(image)
    for place, row in enumerate(rows):
        waiting = by_name[row.filename, row.size]
        if found[place] is None and waiting:
            found[place] = waiting.pop(0)._replace(id=row.id)
    return tuple(image or Managed("", row.id, row.filename, row.size) for image, row in zip(found, rows, strict=True))


def recognised(rows: Sequence[ImageRow], record: ChildRecord, expected: Sequence[Managed]) -> tuple[Managed, ...]:
    """What a list that was read holds, by what we know of the entity; expected: what may be there without that.

    What was about to be written may be there, and of the expected images those that are not among it.
    """
    return recognise(rows, record.images, [*record.writing, *beyond(expected, record.writing)])


def beyond(images: Sequence[G], others: Sequence[Managed]) -> list[G]:
    """The images that are not among the others; one that is there once among them stands for one."""
    left = Counter(image.source for image in others)
    found = []
    for image in images:
        if left[image.source]:
            left[image.source] -= 1
        else:
            found.append(image)
    return found


def expected_of(images: Sequence[ImageRow]) -> tuple[Managed, ...]:
    """The images of a main entity as they may be in a child account."""
    return tuple(Managed(row.id, "", sent_name(row.filename, row.id, ""), row.size) for row in images)


def expected_by_task(images: Sequence[Wanted], kept: Mapping[str, Content]) -> tuple[Managed, ...]:
    """The images of a task as they may be there; what is made smaller is known only where its content is kept."""
    found = []
    for image in images:
        content = kept.get(image.source)
        if not image.child_id and (content is not None or not image.limit):
            name = sent_name(image.filename, image_of(image.source), content.format if content is not None else "")
            found.append(Managed(image.source, "", name, content.size if content is not None else image.size))
    return tuple(found)


def seen_of(images: Sequence[Managed], ownership: Ownership) -> ChildRecord:
    """What is kept of a list that was recognised: all of it in a mirror, else ours, and how many are the owner's."""
    if ownership is Ownership.MIRROR:
        return ChildRecord(tuple(images))
    ours = tuple(image for image in images if image.source)
    return ChildRecord(ours, others=len(images) - len(ours))


def listing_of(
    task: EntityTask,
    there: Sequence[Managed],
    contents: Mapping[str, Content],
    failed: Mapping[str, str],
    limit: int,
    stay: Sequence[tuple[int, Managed]],
) -> ImageListing:
    """The list of a task, as far as its images can be written; what cannot leaves what is in its place there.

    there: the entity's images as they are. contents, failed: by the identity of an image. limit: the largest that the
    account takes. stay: what nobody may take away, see `staying`.
    """
    rest = list(there)
    slots: list[Slot] = []
    reasons: dict[str, str] = {}
    kept = [pop_image(rest, child_id=one.child_id, source="" if one.child_id else one.source) for one in task.images]
    for image, mine in zip(task.images, kept, strict=True):
        if mine is not None:
            slots.append(Slot(image.key, mine, keep=mine.id))
            continue
        if image.child_id:
            continue
        before = pop_image(rest, child_id=image.replaces) if image.replaces else None
        content = contents.get(image.source)
        why = failed.get(image.source, "its content is not there; the next run downloads it") if content is None else ""
        if content is not None and content.size > limit:
            why = too_large(image.filename or image.source, content.size, limit)
        if content is None or why:
            reasons[image.key] = why
            if before is not None:
                slots.append(Slot("", before, keep=before.id))
            continue
        name = sent_name(image.filename, image_of(image.source), content.format)
        slots.append(Slot(image.key, Managed(image.source, "", name, content.size), fallback=before))
    slots = merged(slots, stay)
    for slot in beyond_the_most(slots):
        reasons[slot.key] = NO_PLACE
        slots.remove(slot)
    return ImageListing(slots, reasons)


def pop_image(images: list[Managed], *, source: str = "", child_id: str = "") -> Managed | None:
    """Take the first image with this source, or this id in the child account, or both, out of a list."""
    for place, image in enumerate(images):
        if source in ("", image.source) and child_id in ("", image.id):
            return images.pop(place)
    return None


def staying(there: Sequence[Managed], judged: Sequence[str]) -> list[tuple[int, Managed]]:
    """The images of the account's owner that no plan takes away, with their places.

    judged: the ids of those of which a plan says what becomes of them; it names those that are kept.
    """
    left = Counter(judged)
    found = []
    for place, image in enumerate(there):
        if not image.source:
            left[image.id] -= 1
            if left[image.id] < 0:
                found.append((place, image))
    return found


def merged(ours: Sequence[Slot], stay: Sequence[tuple[int, Managed]]) -> list[Slot]:
    """The list of an entity whose owner has images of his own: those keep their places, ours come between them."""
    slots = list(ours)
    for place, image in stay:
        slots.insert(min(place, len(slots)), Slot("", image, keep=image.id))
    return slots


def beyond_the_most(slots: Sequence[Slot]) -> list[Slot]:
    """Those of ours that do not fit, the last ones: an entity has ten images at most, and what is there stays."""
    excess = len(slots) - MOST_IMAGES
    sent = [slot for slot in slots if not slot.keep]
    return sent[max(0, len(sent) - excess) :] if excess > 0 else []


def results_of(work: GroupWork, now: Sequence[Managed], reasons: Mapping[str, str]) -> list[RowResult]:
    """What became of every row of an entity, from what it holds now and why images could not be written."""
    there = set(row_keys(work.group, now))
    results = []
    for row in work.rows:
        reason = reasons.get(row.key, "")
        if row.change is Change.REMOVE:
            reason = STILL_THERE if row.key in there else ""
        elif row.key not in there:
            reason = reason or NOT_ANSWERED
        outcome = Outcome.FAILED if reason else Outcome.DONE
        results.append(RowResult(row.key, row.group, row.change, outcome, reason or row.reason))
    return results
