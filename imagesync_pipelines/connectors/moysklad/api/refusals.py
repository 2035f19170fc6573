"""What a refusal of МойСклад means, by the code in its body, else by its status (contract section 9).

What belongs here: reading `errors` and naming the kind. What does not: the kinds (errors.py), trying again (calls.py).
A body may be empty, HTML of a proxy, or lack the code; texts are for people only and never decide, but one: the number
of megabytes that 51004 names.
"""

import re
from collections.abc import Mapping
from typing import Any

from imagesync_pipelines.connectors.moysklad.errors import (
    AccountRefusedError,
    ChangedMeanwhileError,
    EntityGoneError,
    ImageTooLargeError,
    NotAllowedError,
    NotAnImageError,
    ReadRefusedError,
    StorageFullError,
    TooLargeError,
    TooManyImagesError,
    UnknownPathError,
    WriteRefusedError,
)
from imagesync_pipelines.upstream.answers import Place
from imagesync_pipelines.upstream.errors import RateLimitedError, UnavailableError, UpstreamError

PARALLEL_CODE = 1073
# The server says that it could not, so nothing was carried out; 1083 and 1036 are failures in the middle.
NOT_CARRIED_OUT = frozenset({51007, 1074, 1095})
_KINDS: dict[int, type[UpstreamError]] = {
    **dict.fromkeys((51001, 51002, 51005), NotAnImageError),
    51003: StorageFullError,
    51004: ImageTooLargeError,
    51006: TooManyImagesError,
    1002: UnknownPathError,
    **dict.fromkeys((1044, 2007, 2022, 1088), TooLargeError),
    **dict.fromkeys((1049, 1073), RateLimitedError),
    **dict.fromkeys((1048, 1056, 1061), AccountRefusedError),
    **dict.fromkeys((1016, 1017, 1018, 1045, 1075, 1070, 47000), NotAllowedError),
    **dict.fromkeys((1020, 1021, 1008), EntityGoneError),
    1065: ChangedMeanwhileError,
    **dict.fromkeys((51007, 1074, 1095, 1083, 1036), UnavailableError),
}
_STATUSES: dict[int, type[UpstreamError]] = {
    401: AccountRefusedError,
    403: NotAllowedError,
    # Proxies answer so; that an entity is gone, only МойСклад's own number says.
    404: UnavailableError,
    410: UnavailableError,
    413: TooLargeError,
    429: RateLimitedError,
    **dict.fromkeys((500, 502, 503, 504), UnavailableError),
}
_HINTS: dict[type[UpstreamError], str] = {
    AccountRefusedError: "; check the token, or login and password, in the accounts file",
    NotAllowedError: "; check the rights of this account's user, and its tariff",
    StorageFullError: "; the account's owner must make room",
}
_MEGABYTES = re.compile(r"(\d+(?:[.,]\d+)?)\s*(?:МБ|Мб|мб|MB|Mb|mb|мегабайт)")
_MOST_WORDS = 200


def errors_of(data: object) -> list[Mapping[str, Any]]:
    """The entries of `errors` in a body, or in one element of a bulk answer; none where there are none."""
    entries = data.get("errors") if isinstance(data, dict) else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def code_of(data: object) -> int | None:
    """The first code that a body names."""
    codes = (entry.get("code") for entry in errors_of(data))
    return next((code for code in codes if isinstance(code, int) and not isinstance(code, bool)), None)


def refusal(place: Place, status: int, data: object, *, write: bool) -> UpstreamError:
    """The error that an answer means."""
    code = code_of(data)
    fallback = WriteRefusedError if write else ReadRefusedError
    kind = _KINDS.get(code, fallback) if code is not None else _STATUSES.get(status, fallback)
    number = f", error {code}" if code is not None else ""
    # What is said about credentials may repeat them.
    words = "the credentials were refused" if kind is AccountRefusedError else _words(data)
    error = place.error(kind, f"HTTP {status}{number}: {words}{_HINTS.get(kind, '')}", status=status)
    if isinstance(error, WriteRefusedError):
        _tell(error, code, errors_of(data))
    return error


def _tell(error: WriteRefusedError, code: int | None, entries: list[Mapping[str, Any]]) -> None:
    """Add what the entry says about where it is."""
    error.code = code
    entry = next((entry for entry in entries if entry.get("code") == code), {})
    column = entry.get("column")
    error.column = column if isinstance(column, int) and entry.get("line") in (None, 1) else None
    found = re.search(r"\[(\d+)\]", str(entry.get("parameter") or ""))
    error.element = int(found.group(1)) if found else None
    if isinstance(error, ImageTooLargeError):
        size = _MEGABYTES.search(f"{entry.get('error') or ''} {entry.get('error_message') or ''}")
        error.limit_bytes = round(float(size.group(1).replace(",", ".")) * 1_000_000) if size else None


def _words(data: object) -> str:
    texts = (str(entry.get("error_message") or entry.get("error") or "") for entry in errors_of(data))
    said = "; ".join(text for text in texts if text)
    return said[:_MOST_WORDS] or "no reason given"
