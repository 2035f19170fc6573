"""Texts in the form in which they are compared: names as people read them, addresses without what signs them."""

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote_plus

# Names of parameters in small letters. The last group signs at Azure, and only beside `sig`.
_PREFIXES = ("x-amz-", "x-goog-", "x-oss-", "x-cos-", "x-bce-")
_NAMES = frozenset(
    {
        *("signature", "sign", "sig", "token", "access_token", "auth_token", "auth", "hmac", "hash", "security-token"),
        *("expires", "expire", "expiry", "expiration", "exp", "policy", "key-pair-id", "__token__", "hdnea", "hdnts"),
        *("awsaccesskeyid", "googleaccessid", "ossaccesskeyid", "q-signature", "q-sign-algorithm", "q-sign-time"),
        *("q-key-time", "q-ak", "q-header-list", "q-url-param-list"),
    }
)
_AZURE = frozenset(
    {"sv", "ss", "srt", "sp", "st", "se", "spr", "sr", "sip", "skoid", "sktid", "skt", "ske", "sks", "skv"}
)
_SEPARATORS = re.compile("[&;]")
# A moment and the seconds that it lasts from then; else the moment itself, since 1970 or in ISO 8601.
_LASTING = tuple((f"x-{who}-date", f"x-{who}-expires") for who in ("amz", "goog", "oss"))
_MOMENTS = ("expires", "expire", "expiry", "expiration", "exp")
_ISO_BASIC = "%Y%m%dT%H%M%S%z"


def canonical_text(text: str) -> str:
    """A number or a name as people read it: Unicode NFC, blanks plain ones, nothing invisible, trimmed.

    A Mac writes the same name in other characters; what was copied from a page has blanks that do not break.
    """
    if text.isascii():
        return text.strip()
    kinds = ((character, unicodedata.category(character)) for character in unicodedata.normalize("NFC", text))
    return "".join(" " if kind == "Zs" else character for character, kind in kinds if kind != "Cf").strip()


def stable_address(url: str) -> str:
    """An address without its signature and expiry parameters; the very same text when it has none.

    Two addresses that differ in nothing else are the same picture. What is left need not be an address that answers.
    """
    address, has_query, rest = url.partition("?")
    if not has_query:
        return url
    query, has_fragment, fragment = rest.partition("#")
    parts = _SEPARATORS.split(query)
    names = [unquote_plus(part.partition("=")[0]).lower() for part in parts]
    at_azure = "sig" in names
    kept = [part for part, name in zip(parts, names, strict=True) if not _signs(name, at_azure=at_azure)]
    if len(kept) == len(parts):
        return url
    return f"{address}{'?' if kept else ''}{'&'.join(kept)}{'#' if has_fragment else ''}{fragment}"


def is_signed(url: str) -> bool:
    """Whether an address has parameters that sign it or let it expire."""
    return "?" in url and stable_address(url) != url


def _signs(name: str, *, at_azure: bool) -> bool:
    return name in _NAMES or name.startswith(_PREFIXES) or (at_azure and name in _AZURE)


def expires_at(url: str) -> datetime | None:
    """When a signed address stops to answer, as it says itself; None where it does not say."""
    query = url.partition("?")[2].partition("#")[0]
    pairs = (part.partition("=") for part in _SEPARATORS.split(query))
    values = {unquote_plus(name).lower(): unquote_plus(value).strip() for name, _, value in pairs}
    try:
        return _expiry(values)
    except (ValueError, OverflowError):
        return None


def _expiry(values: Mapping[str, str]) -> datetime | None:
    """Raises ValueError for what is no moment, OverflowError for one that nobody lives to see."""
    for since, seconds in _LASTING:
        if since in values and seconds in values:
            return datetime.strptime(values[since], _ISO_BASIC) + timedelta(seconds=int(values[seconds]))
    if "q-sign-time" in values:
        return datetime.fromtimestamp(int(values["q-sign-time"].partition(";")[2]), UTC)
    names = (*_MOMENTS, *(("se",) if "sig" in values else ()))
    said = next((values[name] for name in names if values.get(name)), "")
    if said.isdecimal():
        return datetime.fromtimestamp(int(said) / (1000 if len(said) > 11 else 1), UTC)
    moment = datetime.fromisoformat(said) if said else None
    return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
