"""One range of bytes, as a client asks for it (RFC 9110, section 14).

Several ranges at once are answered with the whole picture, which the RFC allows.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class ByteRange(NamedTuple):
    """The first byte, from 0, and how many."""

    first: int
    length: int


NOT_SATISFIABLE: Final = ByteRange(-1, 0)


def asked_range(headers: Mapping[str, str], etag: str, size: int) -> ByteRange | None:
    """The range asked for of `size` bytes; None for the whole, NOT_SATISFIABLE when it lies behind the end.

    headers: with lower-case names. A range of another picture than the one with this ETag counts as no range.
    """
    found = _RANGE.fullmatch(headers.get("range", "").strip())
    if found is None or headers.get("if-range", etag) != etag or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        length = min(int(last), size)
        return ByteRange(size - length, length) if length else NOT_SATISFIABLE
    if last and int(last) < int(first):
        return None
    if int(first) >= size:
        return NOT_SATISFIABLE
    end = min(int(last) if last else size - 1, size - 1)
    return ByteRange(int(first), end - int(first) + 1)
