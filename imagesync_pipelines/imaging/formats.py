"""Which file of a picture serves a product page, and which a thumbnail.

The rule is PNG before JPEG before the original, but only among files that are large enough for the purpose: taken
literally it gives every product page a 200-pixel PNG.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

from imagesync_pipelines.languages import N_, told

WEB_KINDS = frozenset({"png", "jpeg", "webp", "gif"})
THUMBNAIL_PIXELS = 200
_KINDS = {"jpg": "jpeg", "jpe": "jpeg", "tif": "tiff"}
PREFERRED = {"png": 2, "jpeg": 1}
_LONG_AGO = datetime.min.replace(tzinfo=UTC)


class Role(StrEnum):
    """Where a file comes from: the original itself or an export; small and large name exports of two qualities."""

    ORIGINAL = N_("original")
    EXPORT = N_("export")
    SMALL = N_("small export")
    LARGE = N_("large export")


class Candidate(NamedTuple):
    """One file that a browser can show; `kind` as kind_of gives it, width and height in pixels, 0 when unknown."""

    url: str
    kind: str
    role: Role
    width: int = 0
    height: int = 0
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


def page_file_of(showable: Sequence[Candidate], min_height: int) -> Choice | None:
    """The file for a product page, which needs `min_height` pixels; None without any. Their order does not matter."""
    if enough := [one for one in showable if one.height >= min_height]:
        best = _best(enough, _page_order(enough))
        kind, size, role = _named(best)
        return Choice(
            best, told(f"{kind} {size} ({role}) is the preferred file of at least {min_height} pixels height")
        )
    if unmeasured := [one for one in showable if not one.height and one.role is Role.ORIGINAL]:
        best = _best(unmeasured, _page_order(unmeasured))
        return Choice(best, told(f"the original: no export is {min_height} pixels high"))
    if showable:
        best = _best(showable, [(pixels, kind, pixels, large) for kind, pixels, large in _page_order(showable)])
        kind, size, role = _named(best)
        return Choice(best, told(f"{kind} {size} ({role}) is the largest there is, below {min_height} pixels height"))
    return None


def thumbnail_of(showable: Sequence[Candidate]) -> Candidate | None:
    """The file for a thumbnail: the one nearest to its size among those of known size; None without any."""
    measured = [one for one in showable if one.width and one.height]
    aim = THUMBNAIL_PIXELS
    orders = [
        (-min(abs(width - aim), abs(height - aim)), PREFERRED.get(kind, 0), role is Role.SMALL)
        for _, kind, role, width, height, _, _ in measured
    ]
    return _best(measured, orders) if measured else None


def _page_order(candidates: Sequence[Candidate]) -> list[tuple[int, int, bool]]:
    """For each: preferred kind, pixels, the better quality. Made for every record, so it unpacks."""
    return [
        (PREFERRED.get(kind, 0), width * height, role is Role.LARGE)
        for _, kind, role, width, height, _, _ in candidates
    ]


def _best(candidates: Sequence[Candidate], orders: Sequence[tuple]) -> Candidate:
    """The candidate whose order is highest; of equals the newest. Few have an equal, so that key is made only then."""
    top = max(orders)
    if orders.count(top) == 1:
        return candidates[orders.index(top)]
    return max((one for one, order in zip(candidates, orders, strict=True) if order == top), key=_newest)


def _newest(one: Candidate) -> tuple:
    """The last tie-breaks: the newest, the highest id, then everything else, so that the choice never flips."""
    return one.created or _LONG_AGO, one.id, one.url, one.kind, one.role, one.width, one.height


def _named(one: Candidate) -> tuple[str, str, str]:
    """Kind, size and role, as a sentence says them."""
    size = f"{one.width}x{one.height}" if one.width and one.height else told("of unknown size")
    return one.kind.upper(), size, one.role
