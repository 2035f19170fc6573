"""Which file of a picture serves which purpose: a product page, a list, a thumbnail, a download.

The rule is PNG before JPEG before the original, but only among files that are large enough for the purpose: taken
literally it gives every product page a 200-pixel PNG.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

WEB_KINDS = frozenset({"png", "jpeg", "webp", "gif"})
THUMBNAIL_PIXELS = 200
_KINDS = {"jpg": "jpeg", "jpe": "jpeg", "tif": "tiff"}
_PREFERRED = {"png": 2, "jpeg": 1}
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Purpose(StrEnum):
    """What a file is wanted for."""

    DETAIL = "detail"
    LIST = "list"
    THUMBNAIL = "thumbnail"
    DOWNLOAD = "download"


class Role(StrEnum):
    """Where a file comes from: the original itself or an export; small and large name exports of two qualities."""

    ORIGINAL = "original"
    EXPORT = "export"
    SMALL = "small export"
    LARGE = "large export"


class Candidate(NamedTuple):
    """One file of a picture. `kind` as kind_of gives it; width and height in pixels, 0 when unknown; size in KiB."""

    url: str
    kind: str
    role: Role
    width: int = 0
    height: int = 0
    size_kib: float | None = None
    created: datetime | None = None
    id: int = 0


class Choice(NamedTuple):
    """The file chosen and the reason, for people."""

    candidate: Candidate
    because: str


def kind_of(name: str | None, url: str = "") -> str:
    """The kind of a file: png, jpeg, tiff, psd …, from the system's own word or else from the URL's extension."""
    word = (name or "").strip().lower()
    if not word:
        word = urlsplit(url).path.rpartition(".")[2].lower() if "." in url else ""
    return _KINDS.get(word, word)


def is_showable(kind: str, url: str | None) -> bool:
    """Whether a browser can show this file."""
    return bool(url) and kind in WEB_KINDS


def choose(candidates: Sequence[Candidate], purpose: Purpose, min_height: int = 600) -> Choice | None:
    """The file for a purpose, or None when no file serves it; the order of `candidates` does not matter.

    `min_height` (pixels) is what a product page and a list need. For a download anything with a URL serves; for the
    other purposes only what a browser can show.
    """
    if purpose is Purpose.DOWNLOAD:
        return _for_download([one for one in candidates if one.url])
    showable = [one for one in candidates if is_showable(one.kind, one.url)]
    if purpose is Purpose.THUMBNAIL:
        best = thumbnail_of(showable)
        return Choice(best, f"{_named(best)} is nearest to {THUMBNAIL_PIXELS} pixels") if best else None
    return page_file_of(showable, min_height, Role.SMALL if purpose is Purpose.LIST else Role.LARGE)


def page_file_of(showable: Sequence[Candidate], min_height: int, role: Role = Role.LARGE) -> Choice | None:
    """The file for a page among files that a browser can show; of equal ones that of this quality."""
    enough = [one for one in showable if one.height >= min_height]
    if enough:
        best = _best(enough, _page_order(enough, role))
        return Choice(best, f"{_named(best)} is the preferred file of at least {min_height} pixels height")
    unmeasured = [one for one in showable if not one.height and one.role is Role.ORIGINAL]
    if unmeasured:
        best = _best(unmeasured, _page_order(unmeasured, role))
        return Choice(best, f"the original: no export is {min_height} pixels high")
    if showable:
        best = _best(showable, [(order[1], *order) for order in _page_order(showable, role)])
        return Choice(best, f"{_named(best)} is the largest there is, below {min_height} pixels height")
    return None


def _page_order(candidates: Sequence[Candidate], role: Role) -> list[tuple]:
    """For each: preferred kind, pixels, the wanted quality. Made for every record, so it unpacks."""
    return [
        (_PREFERRED.get(kind, 0), width * height, own is role) for _, kind, own, width, height, _, _, _ in candidates
    ]


def thumbnail_of(showable: Sequence[Candidate]) -> Candidate | None:
    """The file for a thumbnail among files that a browser can show."""
    measured = [one for one in showable if one.width and one.height]
    if not measured:
        return None
    aim = THUMBNAIL_PIXELS
    orders = [
        (-min(abs(width - aim), abs(height - aim)), _PREFERRED.get(kind, 0), role is Role.SMALL)
        for _, kind, role, width, height, _, _, _ in measured
    ]
    return _best(measured, orders)


def _for_download(candidates: Sequence[Candidate]) -> Choice | None:
    originals = [one for one in candidates if one.role is Role.ORIGINAL]
    tiffs = [one for one in candidates if one.kind == "tiff"]
    pictures = [one for one in originals if one.kind in WEB_KINDS or one.kind == "tiff"]
    if pictures:
        return Choice(_largest(pictures), "the original opens everywhere")
    if tiffs:
        return Choice(_largest(tiffs), "the TIFF: the original needs a special program")
    if originals:
        return Choice(_largest(originals), "the original: there is no TIFF")
    if candidates:
        best = _largest(candidates)
        return Choice(best, f"{_named(best)}: there is neither an original nor a TIFF")
    return None


def _largest(candidates: Sequence[Candidate]) -> Candidate:
    return _best(candidates, [(one.width * one.height,) for one in candidates])


def _best(candidates: Sequence[Candidate], orders: Sequence[tuple]) -> Candidate:
    """The candidate whose order is highest; of equals the newest. Few have an equal, so that key is made only then."""
    top = max(orders)
    if orders.count(top) == 1:
        return candidates[orders.index(top)]
    return max((one for one, order in zip(candidates, orders, strict=True) if order == top), key=_newest)


def _newest(one: Candidate) -> tuple:
    """The last tie-breaks: the newest, the highest id, then everything else, so that the choice never flips."""
    return one.created or _LONG_AGO, one.id, one.url, one.kind, one.role, one.width, one.height


def _named(one: Candidate) -> str:
    size = f"{one.width}x{one.height}" if one.width and one.height else "of unknown size"
    return f"{one.kind.upper()} {size} ({one.role})"
