"""Which picture a media URL shows, read from a record.

What belongs here: reading records, odd ones too, without ever failing. What does not: drawing (drawing.py).
"""

from typing import Any, NamedTuple

from imagesync_pipelines.sandbox.image_db.records import MEDIA_ROOT

LONGEST_SIDE = 8000
UNKNOWN_SIZE = (1500, 2000)


class Picture(NamedTuple):
    """What a media URL shows: what is written on it, whose colours it has, which kind of file, how many pixels."""

    label: str
    colours: int
    kind: str
    width: int
    height: int


def file_id_of(record: object) -> int | None:
    """The file_id when it is a whole number, else None."""
    file_id = _object(_object(record).get("original_file")).get("file_id")
    return file_id if type(file_id) is int else None


def pictures_of(record: object) -> dict[str, Picture]:
    """The media files of one record by name; whatever is malformed shows nothing.

    The original has the pixels of the TIFF, because the TIFF is full size (contract section 3.1).
    """
    whole = _object(record)
    label, colours = _label(whole), file_id_of(record) or 0
    pictures: dict[str, Picture] = {}
    full = UNKNOWN_SIZE
    exports = whole.get("exported_files")
    for export in map(_object, exports if isinstance(exports, list) else []):
        name, size = _name(export.get("image_url")), _size(export.get("resolution"))
        if name is None or size is None:
            continue
        kind = str(export.get("type"))
        pictures[name] = Picture(label, colours, kind, *size)
        if kind == "tiff":
            full = size
    original = _object(whole.get("original_file"))
    name = _name(original.get("file_url"))
    if name is not None:
        pictures[name] = Picture(label, colours, str(original.get("format")), *full)
    return pictures


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(url: object) -> str | None:
    return url.removeprefix(MEDIA_ROOT) if isinstance(url, str) and url.startswith(MEDIA_ROOT) else None


def _size(value: object) -> tuple[int, int] | None:
    if not (isinstance(value, list) and len(value) == 2):
        return None
    width, height = value
    if type(width) is int and type(height) is int and min(width, height) > 0 and max(width, height) <= LONGEST_SIDE:
        return width, height
    return None


def _label(record: dict[str, Any]) -> str:
    """What is written on the picture: the first article's number, else the file_id."""
    links = record.get("articles")
    number = _object(links[0]).get("number") if isinstance(links, list) and links else None
    return str(number or f"Nr. {file_id_of(record)}")[:40]
