"""Keeping credentials out of what people and logs see.

Errors and answers never hold a query or a header, so only foreign text has to be cleaned here.
"""

import base64
import logging
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from urllib.parse import quote, quote_plus

MASK = "***"
_SCAN_LENGTH = 4000
_QUERY = re.compile(r"\?[^\s'\"<>)]*")
_PARAMETERS = re.compile(r"[?&][\w.%~-]+=[^\s'\"<>)]*")
# A password may hold an @ of its own: up to the last one.
_USERINFO = re.compile(r"//[^/\s'\"]*@")
# A query as it stands in any text: a question mark that ends a sentence has a blank or nothing after it.
_QUERY_IN_TEXT = re.compile(r"\?[^\s'\"<>()]+")
_HEADER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
# What a name has behind the word is bounded, else a long text without `=` is read once for each word in it.
_NAMED = re.compile(
    r"""(?ix)( (?:passw(?:or)?d|secret|token|api[_-]?key|authorization|access[_-]?key)[\w-]{0,60} ["']? \s*
    (?: = | (?<=["'])\s*: ) \s* ["']? ) [^\s"',;&)}]+"""
)
_SECRET_NAME = re.compile(r"(?i)passw(or)?d|secret|token|api_?key|authorization|cookie|access_?key")
# What a record has that was written without `extra`.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def redact(text: str, secrets: Iterable[str]) -> str:
    """Replace every spelling in which a secret may come back to us: plain, in a URL, in base64; the longest first."""
    for form in _forms(frozenset(secrets)):
        text = text.replace(form, MASK)
    return text


@lru_cache(maxsize=8)
def _forms(secrets: frozenset[str]) -> tuple[str, ...]:
    forms: set[str] = set()
    for secret in filter(None, secrets):
        forms |= {secret, quote(secret, safe=""), quote_plus(secret), base64.b64encode(secret.encode()).decode()}
    return tuple(sorted(forms, key=len, reverse=True))


def excerpt(body: bytes, secrets: Iterable[str] = ()) -> str:
    """Give the first 80 printable characters of a body, on one line, without the secrets and without URL parameters."""
    text = " ".join(body[:_SCAN_LENGTH].decode("utf-8", "replace").split())
    clean = redact("".join(character for character in text if character.isprintable()), secrets)
    return hide_users(_PARAMETERS.sub(f"?{MASK}", clean))[:80]


def hide_users(text: str) -> str:
    """The text without the user names and passwords of the addresses in it."""
    return _USERINFO.sub(f"//{MASK}@", text)


def clean(text: str, secrets: Iterable[str]) -> str:
    """Any text, ours or a library's, without the secrets, and without what looks like one.

    That is: queries and user names of addresses, headers that carry credentials, what follows `password=` and the like.
    """
    text = _QUERY_IN_TEXT.sub(f"?{MASK}", hide_users(redact(text, secrets)))
    return _NAMED.sub(rf"\1{MASK}", _HEADER.sub(rf"\1 {MASK}", text))


def cleaned(value: object, secrets: Collection[str]) -> object:
    """A value that is to be logged, with every text in it clean; what is no plain value becomes its text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        shown = ((clean(str(name), secrets), part) for name, part in value.items())
        return {name: MASK if _SECRET_NAME.search(name) else cleaned(part, secrets) for name, part in shown}
    if isinstance(value, list | tuple | set | frozenset):
        return [cleaned(part, secrets) for part in value]
    return clean(str(value), secrets)


def extra_of(record: logging.LogRecord) -> dict[str, object]:
    """What a record was given as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _OWN}


class Redacting(logging.Filter):
    """Makes the records that a handler writes clean: message with arguments, exception, stack and extra fields.

    secrets: asked for at every record, since settings are read again. Lets every record through.
    """

    def __init__(self, secrets: Callable[[], Collection[str]], but: Collection[str] = ()) -> None:
        super().__init__()
        self._secrets = secrets
        self._but = frozenset(but)

    def filter(self, record: logging.LogRecord) -> bool:
        """Clean a record where it is: who writes it next finds it clean."""
        secrets = self._secrets()
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001
            # Arguments that do not fit the message: told all the same, and no line of a program fails for its log.
            said = f"{record.msg} {record.args}"
        record.msg, record.args = clean(said, secrets), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = clean(record.exc_text, secrets)
        if record.stack_info:
            record.stack_info = clean(record.stack_info, secrets)
        for name, value in extra_of(record).items():
            if name not in self._but:
                setattr(record, name, MASK if _SECRET_NAME.search(name) else cleaned(value, secrets))
        return True


def hide_urls(record: logging.LogRecord) -> bool:
    """Cut queries and user names out of a log record; a logging filter that lets everything through."""
    record.msg = hide_users(_QUERY.sub(f"?{MASK}", record.getMessage()))
    record.args = ()
    return True


def quiet_urllib3() -> None:
    """Put the filter on urllib3's loggers, which write whole URLs at DEBUG; doing it twice changes nothing."""
    for name in ("urllib3.connectionpool", "urllib3.connection", "urllib3.response", "urllib3.util.retry"):
        logging.getLogger(name).addFilter(hide_urls)
