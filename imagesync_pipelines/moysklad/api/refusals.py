"""What a refusal of МойСклад means, by the code in its body, else by its status (contract section 9).

What belongs here: reading `errors` and naming the kind. What does not: the kinds (errors.py), trying again (calls.py).
A body may be empty, HTML of a proxy, or lack the code; texts are for people only and never decide, but one: the number
of megabytes that 51004 names.
"""

import re
from collections.abc import Mapping
from typing import Any

from imagesync_pipelines.moysklad.errors import (
    AccountRefused,
    ChangedMeanwhile,
    EntityGone,
    ImageTooLarge,
    NotAllowed,
    NotAnImage,
    ReadRefused,
    StorageFull,
    TooLarge,
    TooManyImages,
    WriteRefused,
)
from imagesync_pipelines.upstream.answers import Place
from imagesync_pipelines.upstream.errors import RateLimited, Unavailable, UpstreamError

PARALLEL_CODE = 1073
# The server says that it could not, so nothing was carried out; 1083 and 1036 are failures in the middle.
NOT_CARRIED_OUT = frozenset({51007, 1074, 1095})
_KINDS: dict[int, type[UpstreamError]] = {
    **dict.fromkeys((51001, 51002, 51005), NotAnImage),
    51003: StorageFull,
    51004: ImageTooLarge,
    51006: TooManyImages,
    **dict.fromkeys((1044, 2007, 2022, 1088), TooLarge),
    **dict.fromkeys((1049, 1073), RateLimited),
    **dict.fromkeys((1048, 1056, 1061), AccountRefused),
    **dict.fromkeys((1016, 1017, 1018, 1045, 1075, 1070, 47000), NotAllowed),
    **dict.fromkeys((1020, 1021, 1008), EntityGone),
    1065: ChangedMeanwhile,
    **dict.fromkeys((51007, 1074, 1095, 1083, 1036), Unavailable),
}
_STATUSES: dict[int, type[UpstreamError]] = {
    401: AccountRefused,
    403: NotAllowed,
    404: EntityGone,
    410: EntityGone,
    413: TooLarge,
    429: RateLimited,
    **dict.fromkeys((500, 502, 503, 504), Unavailable),
}
_HINTS: dict[type[UpstreamError], str] = {
    AccountRefused: "; check the token, or login and password, in the accounts file",
    NotAllowed: "; check the rights of this account's user, and its tariff",
    StorageFull: "; the account's owner must make room",
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
    fallback = WriteRefused if write else ReadRefused
    kind = _KINDS.get(code, fallback) if code is not None else _STATUSES.get(status, fallback)
    number = f", error {code}" if code is not None else ""
    # What is said about credentials may repeat them.
    words = "the credentials were refused" if kind is AccountRefused else _words(data)
    error = place.error(kind, f"HTTP {status}{number}: {words}{_HINTS.get(kind, '')}", status=status)
    if isinstance(error, WriteRefused):
        _tell(error, code, errors_of(data))
    return error


def _tell(error: WriteRefused, code: int | None, entries: list[Mapping[str, Any]]) -> None:
    """Add what the entry says about where it is."""
    error.code = code
    entry = next((entry for entry in entries if entry.get("code") == code), {})
    column = entry.get("column")
    error.column = column if isinstance(column, int) and entry.get("line") in (None, 1) else None
    found = re.search(r"\[(\d+)\]", str(entry.get("parameter") or ""))
    error.element = int(found.group(1)) if found else None
    if isinstance(error, ImageTooLarge):
        size = _MEGABYTES.search(f"{entry.get('error') or ''} {entry.get('error_message') or ''}")
        error.limit_bytes = round(float(size.group(1).replace(",", ".")) * 1_000_000) if size else None


def _words(data: object) -> str:
    texts = (str(entry.get("error_message") or entry.get("error") or "") for entry in errors_of(data))
    said = "; ".join(text for text in texts if text)
    return said[:_MOST_WORDS] or "no reason given"
