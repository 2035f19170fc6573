"""The rule of choosing.py for many records at a time, in columns: a file costs a few numbers and no call.

n records have m exports in all, record after record. A column of exports has the shape (m,), one of records (n,).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagesync_pipelines.connectors.image_db.choosing import Chosen, kind_and_role, parse_time
from imagesync_pipelines.connectors.image_db.in_order import RecordInOrder
from imagesync_pipelines.imaging.formats import (
    PREFERRED,
    THUMBNAIL_PIXELS,
    WEB_KINDS,
    Candidate,
    Role,
    kind_of,
    page_file_of,
)

Column = np.ndarray[Any, Any]

# Below any value that is compared.
_LOWEST = np.iinfo(np.int64).min
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# An export without a moment is older than all others: formats.py takes it for the first moment there is.
_NO_MOMENT = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
# The places of preferred kind, quality and pixels in one number; a longer side is odd.
_LONGEST_SIDE = 2**20
_SCHEMES = (b"http://", b"https://")
_HEAD = len(_SCHEMES[1]) + 1
# What a host begins with; anything else is for the rule of one record.
_HOST_BEGINS = np.array([chr(byte).isascii() and chr(byte).isalnum() for byte in range(256)])


class _Numbers(dict[Any, int]):
    """Values to numbers; a number is made once per value, as many have the same."""

    def __init__(self, make: Callable[[Any], int]) -> None:
        self._make = make

    def __missing__(self, value: Any) -> int:
        self[value] = number = self._make(value)
        return number


@dataclass
class Gathered:
    """What columns are made of, of records that are in order: plain values, so that the records themselves can go.

    Of records: exports (how many each has), original_url, original_kind. Of exports: url, moment (microseconds since
    1970), id, file (the place of kind and role in `files`, -1 where no word tells), sides (width, height, width …).
    """

    exports: list[int] = field(default_factory=list)
    original_url: list[Any] = field(default_factory=list)
    original_kind: list[str | None] = field(default_factory=list)
    url: list[Any] = field(default_factory=list)
    moment: list[int] = field(default_factory=list)
    id: list[int] = field(default_factory=list)
    sides: list[int] = field(default_factory=list)
    file: list[int] = field(default_factory=list)
    files: list[tuple[str, Role]] = field(default_factory=list)

    def __post_init__(self) -> None:
        # With a method of its own it would be a cycle, which stays for good while the collector is paused.
        self._moments, self._places = _Numbers(_moment_of), _Numbers(partial(_place_of, self.files))

    def add(self, records: Sequence[RecordInOrder]) -> None:
        """Take some more records; a hundred at a time are still in the processor's cache."""
        every = [export for record in records for export in record.exports]
        self.exports += [len(record.exports) for record in records]
        self.original_url += [record.original.file_url for record in records]
        self.original_kind += map(_kind_of_original, records)
        self.url += [export.image_url for export in every]
        self.moment += map(self._moments.__getitem__, [export.created for export in every])
        self.id += [export.id or 0 for export in every]
        self.file += map(self._places.__getitem__, [export.type for export in every])
        self.sides += chain.from_iterable([export.resolution or (0, 0) for export in every])


def _place_of(files: list[tuple[str, Role]], word: Any) -> int:
    """The place of what an export's word says in `files`, which gets it; -1 for a word that says nothing."""
    if not isinstance(word, str) or (found := kind_and_role(word)) is None:
        return -1
    files.append(found)
    return len(files) - 1


class _Exports(NamedTuple):
    """The exports of some records, each (m,).

    of: the place of its record. file: the place of its kind and role in `files`. preferred: as in formats.py, -1 for
    what no browser shows. odd: it is for the rule of one record.
    """

    of: Column
    url: pa.StringArray
    file: Column
    files: list[tuple[str, Role]]
    preferred: Column
    moment: Column
    id: Column
    width: Column
    height: Column
    odd: Column


def choose_in_columns(records: Gathered, min_height: int) -> tuple[dict[str, pa.Array], Column]:
    """An array (n,) for each field of Chosen, as choose_files gives it for each record, and which are odd (n,).

    What the arrays say of an odd record is worth nothing: choose_files has to be asked. min_height is 1 or more.
    """
    n, exports = len(records.exports), _exports(records)
    original_url, original_kind = texts(records.original_url), records.original_kind
    shown = _has_text(exports.url) & (exports.preferred >= 0)
    role = (
        np.array([role is Role.LARGE for _, role in exports.files] + [False]),
        np.array([role is Role.SMALL for _, role in exports.files] + [False]),
    )
    large, small = (is_it[exports.file].astype(np.int64) for is_it in role)
    pixels = exports.width * exports.height
    distance = np.minimum(abs(exports.width - THUMBNAIL_PIXELS), abs(exports.height - THUMBNAIL_PIXELS))
    high, odd_high = _best(
        exports, n, shown & (exports.height >= min_height), (exports.preferred * 2**41 + pixels) * 2 + large
    )
    low, odd_low = _best(exports, n, shown, (pixels * 4 + exports.preferred) * 2 + large)
    thumbnail, odd_thumbnail = _best(exports, n, shown & (pixels > 0), (exports.preferred - distance * 4) * 2 + small)
    web = np.fromiter((kind in WEB_KINDS for kind in original_kind), bool, n) & _has_text(original_url)
    # The size of an original is never known: it comes after what is high enough, and before anything lower.
    from_original = (high < 0) & web
    page_file = np.where(high >= 0, high, np.where(web, -1, low))
    odd = odd_high | odd_low | odd_thumbnail | ~_is_address(original_url)
    odd |= np.fromiter((kind is None for kind in original_kind), bool, n)
    odd[exports.of[exports.odd]] = True
    best = _candidates(exports, page_file, from_original, original_kind)
    newest = np.full(n, _LOWEST)
    np.maximum.at(newest, exports.of, exports.moment)
    thumbnail_url = _at(exports.url, thumbnail)
    image_url = pc.if_else(pa.array(from_original), original_url, _at(exports.url, page_file))
    columns: dict[str, pa.Array] = {
        "image_url": image_url,
        "thumbnail_url": thumbnail_url,
        "chosen_because": pa.array([_because(*one, min_height) for one in best], pa.string()),
        "width": pa.array([width or None for _, _, width, _ in best], pa.int32()),
        "height": pa.array([height or None for _, _, _, height in best], pa.int32()),
        "image_format": pa.array([kind for kind, _, _, _ in best], pa.string()),
        "newest_export": pa.array(newest, mask=newest <= _NO_MOMENT).cast(pa.timestamp("us", "UTC")),
        "picture_url": pc.coalesce(thumbnail_url, image_url, original_url, ""),
    }
    return {name: columns[name] for name in Chosen._fields}, odd


def texts(values: Sequence[Any]) -> pa.StringArray:
    """Texts as a column; what is no text (UNSET, None) is null."""
    try:
        return pa.array(values, pa.string())
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([value if isinstance(value, str) else None for value in values], pa.string())


def _exports(records: Gathered) -> _Exports:
    m, files, url = len(records.url), records.files, texts(records.url)
    file, moment, ids = (np.fromiter(one, np.int64, m) for one in (records.file, records.moment, records.id))
    size = np.fromiter(records.sides, np.int64, 2 * m).reshape(m, 2)
    return _Exports(
        of=np.repeat(np.arange(len(records.exports)), records.exports),
        url=url,
        file=file,
        files=files,
        preferred=np.array([PREFERRED.get(kind, 0) if kind in WEB_KINDS else -1 for kind, _ in files] + [-1])[file],
        moment=moment,
        id=ids,
        width=size[:, 0],
        height=size[:, 1],
        odd=(_has_text(url) & (file < 0)) | ~_is_address(url) | (size >= _LONGEST_SIDE).any(1) | (moment == _LOWEST),
    )


def _moment_of(created: Any) -> int:
    """Microseconds since 1970, _NO_MOMENT for none; _LOWEST in the year 1, of which a moment would look like none."""
    moment = parse_time(created) if isinstance(created, str) else None
    if moment is None:
        return _NO_MOMENT
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds if moment.year > 1 else _LOWEST


def _best(exports: _Exports, n: int, eligible: Column, order: Column) -> tuple[Column, Column]:
    """The place of each record's best eligible export (n,), -1 for none; and where two are as good (n,).

    The highest order is best; of equals the newest, of these the highest id.
    """
    place, left = np.full(n, -1), np.flatnonzero(eligible)
    for values in (order, exports.moment, exports.id):
        of = exports.of[left]
        begins = np.flatnonzero(np.diff(of, prepend=-1))
        if len(begins) == len(left):
            break
        mine = values[left]
        left = left[mine == np.repeat(np.maximum.reduceat(mine, begins), np.diff(begins, append=len(left)))]
    of = exports.of[left]
    place[of] = left
    return place, np.bincount(of, minlength=n) > 1


def _candidates(
    exports: _Exports, page_file: Column, from_original: Column, original_kind: Sequence[str | None]
) -> list[tuple[str, Role, int, int]]:
    """Kind, role, width and height of the file that each record shows (n,); the kind is empty where there is none."""
    nothing, files = ("", Role.EXPORT), exports.files
    # A place of -1 takes the last, which is none.
    file = np.append(exports.file, -1)[page_file].tolist()
    width, height = np.append(exports.width, 0)[page_file].tolist(), np.append(exports.height, 0)[page_file].tolist()
    found = [(*(files[at] if at >= 0 else nothing), w, h) for at, w, h in zip(file, width, height, strict=True)]
    for at in np.flatnonzero(from_original).tolist():
        found[at] = (original_kind[at] or "", Role.ORIGINAL, 0, 0)
    return found


@lru_cache(maxsize=4096)
def _because(kind: str, role: Role, width: int, height: int, min_height: int) -> str:
    """Why a file is shown: what the rule says when it is asked about this file alone."""
    choice = page_file_of([Candidate("", kind, role, width, height)], min_height) if kind else None
    return choice.because if choice else ""


def _kind_of_original(record: RecordInOrder) -> str | None:
    """The kind of the original file, '' where nothing tells it; None where its address cannot be taken apart."""
    word, url = record.original.format, record.original.file_url
    if isinstance(word, str) and word:
        return kind_of(word)
    try:
        return kind_of(None, url if isinstance(url, str) else "")
    except ValueError:
        return None


def _at(column: pa.StringArray, place: Column) -> pa.StringArray:
    """The texts at these places; null at -1."""
    return column.take(pa.array(place, mask=place < 0))


def _has_text(column: pa.StringArray) -> Column:
    found: Column = np.diff(_offsets(column)) > 0
    return found


def _is_address(column: pa.StringArray) -> Column:
    """Whether each is empty, null, or an address with a host that begins as hosts do; others are for the rule."""
    starts, long_enough = _offsets(column)[:-1], np.diff(_offsets(column)) >= _HEAD
    found: Column = np.diff(_offsets(column)) == 0
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)
    head = data[starts[long_enough, None] + np.arange(_HEAD)]
    for scheme in _SCHEMES:
        begins = (head[:, : len(scheme)] == list(scheme)).all(1) & _HOST_BEGINS[head[:, len(scheme)]]
        found[np.flatnonzero(long_enough)[begins]] = True
    return found


def _offsets(column: pa.StringArray) -> Column:
    """Where each text begins in the column's bytes, and the end; nulls have no bytes."""
    found: Column = np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, column.offset * 4)
    return found
