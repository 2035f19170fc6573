"""Which files of a record are shown: the rule, for one record; choosing_columns.py follows it for many at a time."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

from imagesync_pipelines.imaging.formats import WEB_KINDS, Candidate, Role, kind_of, page_file_of, thumbnail_of
from imagesync_pipelines.upstream.canonical import is_signed

# Part of every record's fingerprint: raising it rewrites the rows of all images.
CHOICE_VERSION = 1
# Pixels that a product page needs unless the settings say otherwise.
MIN_HEIGHT = 600
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
            kind, role = kind_and_role(export.get("type")) or (kind_of("", url), Role.EXPORT)
            if kind in WEB_KINDS:
                width, height = export.get("resolution") or (0, 0)
                showable.append(Candidate(url, kind, role, width, height, moment, export.get("id") or 0))
    # An address that expires is none for a shop where another one stays.
    if any("?" in one.url for one in showable):
        showable = [one for one in showable if not is_signed(one.url)] or showable
    detail = page_file_of(showable, min_height)
    if detail is None:
        return Chosen(None, None, "", None, None, "", newest, original.get("file_url") or "")
    best, thumbnail = detail.candidate, thumbnail_of(showable)
    small, width, height = thumbnail.url if thumbnail else None, best.width or None, best.height or None
    return Chosen(best.url, small, detail.because, width, height, best.kind, newest, small or best.url)


def parse_time(text: str | None) -> datetime | None:
    """A moment of the API (ISO 8601) in UTC, which it is without an offset; None for what is no moment."""
    try:
        moment = datetime.fromisoformat(text) if text else None
        return moment if moment is None or moment.tzinfo is UTC else _in_utc(moment)
    except (ValueError, OverflowError):  # the first and the last hours that there are may be none in UTC
        return None


def _in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


@lru_cache(maxsize=256)
def kind_and_role(name: str | None) -> tuple[str, Role] | None:
    """What the API's word for an export says; None when it says nothing."""
    word = (name or "").lower()
    if word in _JPEGS:
        return "jpeg", _JPEGS[word]
    kind = kind_of(word)
    return (kind, Role.EXPORT) if kind else None


def fingerprint(canonical: bytes, min_height: int, *marks: bytes) -> str:
    """What tells whether a record, or the choice of its files, is another one; marks: what else it depends on."""
    digest = blake2b(canonical, digest_size=16, salt=b"%d/%d" % (CHOICE_VERSION, min_height))
    for mark in marks:
        digest.update(mark)
    return digest.hexdigest()
