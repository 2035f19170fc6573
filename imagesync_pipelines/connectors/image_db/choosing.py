"""The files of a record: what each of them is, and which of them serves which purpose."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from imagesync_pipelines.imaging.formats import WEB_KINDS, Candidate, Role, kind_of, page_file_of, thumbnail_of

# Part of every record's fingerprint: raising it rewrites the rows of all images.
CHOICE_VERSION = 1
# The API's names for small and large JPEGs.
_JPEGS = {"jpg_k": Role.SMALL, "jpg_g": Role.LARGE}


class Chosen(NamedTuple):
    """The files that product images show; image_url is None when no browser can show any file of the record.

    thumbnail_url: the file nearest to a thumbnail's size, if any. chosen_because: why image_url, for people. width and
    height are of image_url in pixels, None when unknown. newest_export: the only hint of a change that the API gives.
    picture_url: a file for a person to look at, the original's URL when there is nothing to show, '' without any.
    """

    image_url: str | None
    thumbnail_url: str | None
    chosen_because: str
    width: int | None
    height: int | None
    image_format: str
    newest_export: datetime | None
    picture_url: str


def choose_files(original: Mapping[str, Any], exports: Iterable[Mapping[str, Any]], min_height: int) -> Chosen:
    """The files of one validated record; `min_height` in pixels is what a product page needs.

    Their order does not matter: of files that are alike the newest counts.
    """
    showable = []
    if (url := original.get("file_url")) and (kind := kind_of(original.get("format"), url)) in WEB_KINDS:
        showable.append(Candidate(url, kind, Role.ORIGINAL))
    newest: datetime | None = None
    seen: str | None = None
    moment: datetime | None = None
    for export in exports:
        created = export.get("created")
        if created != seen:  # mostly all of a record have one time
            seen, moment = created, parse_time(created)
            if moment is not None and (newest is None or moment > newest):
                newest = moment
        if url := export.get("image_url"):
            kind, role = _kind_and_role(export.get("type")) or (kind_of("", url), Role.EXPORT)
            if kind in WEB_KINDS:
                width, height = export.get("resolution") or (0, 0)
                showable.append(Candidate(url, kind, role, width, height, moment, export.get("id") or 0))
    detail = page_file_of(showable, min_height)
    if detail is None:
        return Chosen(None, None, "", None, None, "", newest, original.get("file_url") or "")
    best, thumbnail = detail.candidate, thumbnail_of(showable)
    thumbnail_url = thumbnail.url if thumbnail else None
    return Chosen(
        best.url,
        thumbnail_url,
        detail.because,
        best.width or None,
        best.height or None,
        best.kind,
        newest,
        thumbnail_url or best.url,
    )


@lru_cache(maxsize=1024)  # the exports of one record mostly have one time
def parse_time(text: str | None) -> datetime | None:
    """A moment of the API (ISO 8601); without an offset it is UTC; None for what is no moment."""
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)


@lru_cache(maxsize=256)
def _kind_and_role(name: str | None) -> tuple[str, Role] | None:
    """What the API's word for an export says; None when it says nothing."""
    word = (name or "").lower()
    if word in _JPEGS:
        return "jpeg", _JPEGS[word]
    kind = kind_of(word)
    return (kind, Role.EXPORT) if kind else None
