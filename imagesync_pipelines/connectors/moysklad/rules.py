"""The pure rules: which images a child account gets, which of its images are ours, what list an entity is to get."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

from imagesync_pipelines.connectors.moysklad.accounts import MAIN, Mode, Ownership
from imagesync_pipelines.connectors.moysklad.model import (
    MOST_IMAGES,
    NAME,
    UNKNOWN_SIZE,
    ChildRecord,
    EntityTask,
    ImageRow,
    Managed,
    Wanted,
)
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.storage.contents import Content
from imagesync_pipelines.sync.model import Change, GroupWork, Outcome, RowResult

G = TypeVar("G", Managed, Wanted)
MB = 1_000_000
# A request of 20 MB cannot hold a larger one, whatever an account allows: base64 makes 4 bytes of 3.
MOST_IMAGE_BYTES = 14_990_000
MOST_NAME_CHARACTERS = 255
_EXTENSIONS = {"JPEG": ".jpg", "PNG": ".png", "GIF": ".gif", "WEBP": ".webp", "BMP": ".bmp", "TIFF": ".tif"}
_SMALLER = "~"
_RECALLED = "sha256:"
NO_PLACE = N_("there is no room for it: with what the account's owner added, ten images are there")
NOT_ANSWERED = N_("МойСклад accepted the list, but its answer lacks this image; the next run looks again")
STILL_THERE = N_(
    "Failed to delete an existing image (not critical): kept, because what is to take its place could not be written"
)


class Slot(NamedTuple):
    """One place of the list that an entity is to get.

    key: of its row in the plan, '' when it is the owner's. image: what it is a copy of, and as what it is sent. keep:
    the id by which it is there already; '' when it must be sent, with this content. fallback: what is there in its
    place until it is.
    """

    key: str
    image: Managed
    keep: str = ""
    fallback: Managed | None = None
    content: Content | None = None


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
    return told(f"Image file too large, skipping: {name} ({size / MB:.1f} MB, limit {limit / MB:g} MB)")


def identity(image_id: str, limit: int | None = None) -> str:
    """What a copy is a copy of: an image of the main account, or the same made smaller than a limit in bytes."""
    return image_id if limit is None else f"{image_id}{_SMALLER}{limit}"


def source_of(source: str) -> str:
    """The name under which the content of an image of the main account is kept."""
    return f"{NAME}:{MAIN}:{source}"


def recalled(sha256: str) -> str:
    """What a copy is known as whose original is forgotten, and which is ours by its bytes: of none that is wanted."""
    return f"{_RECALLED}{sha256}"


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


def known_by_id(rows: Sequence[ImageRow], known: Sequence[Managed]) -> list[Managed | None]:
    """Which of these images the rows of a list are, None where their ids are no known ones; each is used once."""
    by_id: defaultdict[str, list[Managed]] = defaultdict(list)
    for image in reversed(known):
        by_id[image.id].append(image)
    return [by_id[row.id].pop() if by_id[row.id] else None for row in rows]


def shown_by(rows: Sequence[ImageRow], found: Sequence[Managed | None]) -> tuple[Managed, ...]:
    """What a list holds; source '' where nothing was found, for an image of the owner."""
    return tuple(image or Managed("", row.id, row.filename, row.size) for image, row in zip(found, rows, strict=True))


def answered(rows: Sequence[ImageRow], sent: Sequence[Managed]) -> tuple[Managed, ...] | None:
    """What the answer to a write that set a list shows; sent: that list, id '' where an image is new.

    It comes in the order in which it was sent. Where images are left out, name and size tell which of those that were
    just sent are there; None where they do not.
    """
    if len(rows) == len(sent) and all(one.id in ("", row.id) for row, one in zip(rows, sent, strict=True)):
        return tuple(one._replace(id=row.id) for row, one in zip(rows, sent, strict=True))
    found = known_by_id(rows, [one for one in sent if one.id])
    new = [one for one in sent if not one.id]
    for place, row in enumerate(rows):
        if found[place] is None:
            mine = [one for one in new if (one.filename, one.size) == (row.filename, row.size)]
            if len({one.sha256 for one in mine}) != 1:
                return None
            new.remove(mine[0])
            found[place] = mine[0]._replace(id=row.id)
    return shown_by(rows, found)


def may_be(row: ImageRow, image: Managed, *, by_name: bool) -> bool:
    """Whether the bytes of a row may be those of an image, so that they are worth reading; by_name: its name counts."""
    same_name = not by_name or image.filename in ("", row.filename)
    return same_name and (UNKNOWN_SIZE in (row.size, image.size) or row.size == image.size)


def pop_same(images: list[Managed], sha256: str, filename: str, *, by_name: bool) -> Managed | None:
    """Take an image with these bytes out of a list, best one with this name; with by_name none but such a one."""
    same = [one for one in images if one.sha256 == sha256]
    named = [one for one in same if one.filename == filename]
    found = next(iter(named if named or by_name else same), None)
    if found is not None:
        images.remove(found)
    return found


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


def expected_of(images: Sequence[ImageRow], limit: int, *, reencode: bool) -> list[Wanted]:
    """The images of a main entity as they may be in a child account; reencode: made smaller than the limit."""
    found = []
    for row in images:
        smaller = limit if reencode and row.size > limit else 0
        source = identity(row.id, smaller or None)
        hrefs = (row.download_href, row.permanent_href)
        found.append(Wanted("", source, "", "", smaller, row.filename, row.size, *hrefs))
    return found


def awaited(image: Wanted) -> Managed:
    """What is known of how an image was or will be sent, without its content."""
    names = {sent_name(image.filename, image_of(image.source), one) for one in _EXTENSIONS}
    size = UNKNOWN_SIZE if image.limit else image.size
    return Managed(image.source, "", names.pop() if len(names) == 1 else "", size, image.sha256)


def sent_as(image: Wanted, content: Content) -> Managed:
    """How an image is sent, by its content."""
    name = sent_name(image.filename, image_of(image.source), content.format)
    return Managed(image.source, "", name, content.size, content.sha256)


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

    there: the entity's images as they are. contents: by what Wanted finds it; failed: by the identity of an image.
    limit: the largest that the account takes. stay: what nobody may take away, see `staying`.
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
        content = contents.get(image.content)
        why = (
            failed.get(image.source, told("its content is not there; the next run downloads it"))
            if content is None
            else ""
        )
        if content is not None and content.size > limit:
            why = too_large(image.filename or image.source, content.size, limit)
        if content is None or why:
            reasons[image.key] = why
            if before is not None:
                slots.append(Slot("", before, keep=before.id))
            continue
        slots.append(Slot(image.key, sent_as(image, content), fallback=before, content=content))
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


def staying(
    there: Sequence[Managed], judged: Sequence[str], recorded: Collection[str] = ()
) -> list[tuple[int, Managed]]:
    """The images that no plan takes away, with their places: the owner's, and what was just known again by its bytes.

    judged: the ids of the owner's of which a plan says what becomes of them; it names those that are kept. recorded:
    the ids of those that we knew when the plan was made.
    """
    left = Counter(judged)
    found = []
    for place, image in enumerate(there):
        if image.source.startswith(_RECALLED) and image.id not in recorded:
            found.append((place, image))
        elif not image.source:
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
