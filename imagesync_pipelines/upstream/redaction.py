"""Keeping credentials out of what people and logs see.

Errors and answers never hold a query or a header, so only foreign text has to be cleaned here.
"""

import base64
import logging
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"
_SCAN_LENGTH = 4000
_QUERY = re.compile(r"\?[^\s'\"<>)]*")
_PARAMETERS = re.compile(r"[?&][\w.%~-]+=[^\s'\"<>)]*")
_USERINFO = re.compile(r"//[^/\s@'\"]*@")


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace every spelling in which a secret may come back to us: plain, in a URL, in base64; the longest first."""
    forms: set[str] = set()
    for secret in filter(None, secrets):
        forms |= {secret, quote(secret, safe=""), quote_plus(secret), base64.b64encode(secret.encode()).decode()}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    return text


def excerpt(body: bytes, secrets: Iterable[str] = ()) -> str:
    """Give the first 80 printable characters of a body, on one line, without the secrets and without URL parameters."""
    text = " ".join(body[:_SCAN_LENGTH].decode("utf-8", "replace").split())
    clean = redact("".join(character for character in text if character.isprintable()), secrets)
    return hide_users(_PARAMETERS.sub(f"?{MASK}", clean))[:80]


def hide_users(text: str) -> str:
    """The text without the user names and passwords of the addresses in it."""
    return _USERINFO.sub(f"//{MASK}@", text)


def hide_urls(record: logging.LogRecord) -> bool:
    """Cut queries and user names out of a log record; a logging filter that lets everything through."""
    record.msg = hide_users(_QUERY.sub(f"?{MASK}", record.getMessage()))
    record.args = ()
    return True


def quiet_urllib3() -> None:
    """Put the filter on urllib3's loggers, which write whole URLs at DEBUG; doing it twice changes nothing."""
    for name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.response", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(hide_urls)
