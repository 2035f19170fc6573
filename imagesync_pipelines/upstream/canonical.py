"""Addresses in the form in which they are compared: without what signs them or lets them expire."""

import re
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
