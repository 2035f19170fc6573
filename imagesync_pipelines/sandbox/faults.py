"""The fault plan of a stand-in: what goes wrong, where, from which call on and how often.

What belongs here: describing faults and choosing the one that a call meets. What does not: doing them to an answer
(wire.py).
"""

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum

HTML_PAGE = "<!doctype html><html><head><title>Maintenance</title></head><body><h1>Back soon</h1></body></html>"
XML_PAGE = '<?xml version="1.0" encoding="UTF-8"?><error><code>InternalError</code><message>Try later</message></error>'
SERVER_ERROR = (
    '<!doctype html>\n<html lang="en">\n<head>\n  <title>Server Error (500)</title>\n</head>\n<body>\n'
    "  <h1>Server Error (500)</h1><p></p>\n</body>\n</html>\n"
)


_NUMBERS: Mapping[str, tuple[type, ...]] = {
    "skip": (int,),
    "times": (int, type(None)),
    "status": (int,),
    "seconds": (int, float),
    "length": (int,),
}


class FaultError(Exception):
    """A fault was described wrongly; the message names the field."""


class FaultKind(StrEnum):
    """What is done to the answer."""

    ANSWER = "answer"  # status, body and headers of the fault in place of the real ones
    TRUNCATED = "truncated"  # the full length is declared, half of the body sent, the connection closed
    LENGTH = "length"  # `length` bytes more (or, negative, fewer) are declared than sent
    NO_LENGTH = "no_length"  # neither Content-Length nor chunks: the end is where the connection closes
    ALTERED = "altered"  # the right length, some bytes in the middle flipped
    RESET = "reset"  # the connection is reset without an answer
    LATENCY = "latency"  # the right answer, `seconds` late
    DRIP = "drip"  # the right answer in small pieces spread over `seconds`
    TIMEOUT = "timeout"  # no answer until the caller hangs up


@dataclass(frozen=True)
class Fault:
    """One fault and the calls it meets.

    `endpoint` and `part` name the calls ("" = any; the part is a page as written in the query, or a media file's name);
    the first `skip` of them are answered well, then `times` of them meet the fault (None = for good).
    """

    kind: FaultKind
    endpoint: str = ""
    part: str = ""
    skip: int = 0
    times: int | None = 1
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0
    length: int = 0

    def at(self, endpoint: str, part: str = "") -> "Fault":
        """The same fault for one endpoint, or one page or file of it."""
        return replace(self, endpoint=endpoint, part=part)

    def after(self, calls: int) -> "Fault":
        """The same fault after so many good calls."""
        return replace(self, skip=calls)

    def burst(self, times: int) -> "Fault":
        """The same fault so many times, then all is well."""
        return replace(self, times=times)

    def for_good(self) -> "Fault":
        """The same fault on every matching call."""
        return replace(self, times=None)


def answer(
    status: int, body: str | bytes = "", content_type: str = "text/html; charset=utf-8", **headers: str
) -> Fault:
    """Another status and body; a header `Retry_After="2"` is sent as `Retry-After: 2`."""
    content = body if isinstance(body, bytes) else body.encode()
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Fault(FaultKind.ANSWER, status=status, body=content, headers=(("Content-Type", content_type), *named))


def server_error(status: int = 500) -> Fault:
    """A 5xx with Django's page of HTML."""
    return answer(status, SERVER_ERROR)


def rate_limited(retry_after: str | None) -> Fault:
    """A 429 with DRF's body and the given Retry-After, or none."""
    headers = {} if retry_after is None else {"Retry_After": retry_after}
    return answer(429, '{"detail":"Request was throttled."}', "application/json", **headers)


def retry_after_date(seconds: float) -> str:
    """Retry-After as an HTTP date; counted from the machine's time, because the caller waits in real time."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def retry_after_milliseconds(seconds: float) -> str:
    """Retry-After as a number of milliseconds, as some APIs write it."""
    return str(round(seconds * 1000))


def html_page(status: int = 200) -> Fault:
    """A page of HTML where JSON was expected."""
    return answer(status, HTML_PAGE)


def xml_page(status: int = 200) -> Fault:
    """A page of XML where JSON was expected."""
    return answer(status, XML_PAGE, "application/xml")


def redirect(to: str, status: int = 302) -> Fault:
    """A redirect to any URL, another host too."""
    return answer(status, "", Location=to)


def truncated() -> Fault:
    """The body ends half way."""
    return Fault(FaultKind.TRUNCATED)


def wrong_length(more: int) -> Fault:
    """Content-Length is wrong by so many bytes, up or down."""
    return Fault(FaultKind.LENGTH, length=more)


def no_length() -> Fault:
    """The body has neither length nor chunks."""
    return Fault(FaultKind.NO_LENGTH)


def altered() -> Fault:
    """A body of the right length with wrong bytes in it."""
    return Fault(FaultKind.ALTERED)


def reset() -> Fault:
    """The connection is reset before any answer."""
    return Fault(FaultKind.RESET)


def latency(seconds: float) -> Fault:
    """The right answer, late."""
    return Fault(FaultKind.LATENCY, seconds=seconds)


def drip(seconds: float) -> Fault:
    """The right answer in pieces, so that no single read times out but the whole takes long."""
    return Fault(FaultKind.DRIP, seconds=seconds)


def timeout() -> Fault:
    """No answer at all."""
    return Fault(FaultKind.TIMEOUT)


class FaultPlan:
    """The faults that are switched on, in the order they were added. Safe between threads."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Fault, int]] = []
        self._lock = threading.Lock()

    def add(self, *faults: Fault) -> None:
        """Switch faults on; a call meets the first that names it."""
        with self._lock:
            self._waiting.extend((fault, 0) for fault in faults)

    def clear(self) -> None:
        """All is well again."""
        with self._lock:
            self._waiting.clear()

    def take(self, endpoint: str, part: str) -> Fault | None:
        """The fault that this call meets, and count the call for every fault up to that one that names it."""
        met: Fault | None = None
        with self._lock:
            still: list[tuple[Fault, int]] = []
            for fault, seen in self._waiting:
                named = fault.endpoint in ("", endpoint) and fault.part in ("", part)
                if named and met is None:
                    met = fault if seen >= fault.skip else None
                    seen += 1
                if fault.times is None or seen < fault.skip + fault.times:
                    still.append((fault, seen))
            self._waiting = still
        return met

    def as_json(self) -> list[dict[str, object]]:
        """The faults still to come, with the number of calls that each has counted."""
        with self._lock:
            return [
                asdict(fault) | {"body": fault.body.decode("utf-8", "replace"), "seen": seen}
                for fault, seen in self._waiting
            ]


def fault_from_json(values: Mapping[str, object]) -> Fault:
    """A fault from the control endpoint's JSON, with the field names of Fault; raises FaultError."""
    known = {field.name for field in fields(Fault)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise FaultError(f"unknown field {unknown[0]}; a fault has {', '.join(sorted(known))}")
    kinds = [kind.value for kind in FaultKind]
    if values.get("kind") not in kinds:
        raise FaultError(f"kind is one of {', '.join(kinds)}")
    for name, types in _NUMBERS.items():
        if name in values and type(values[name]) not in types:
            raise FaultError(f"{name} is a number")
    for name in ("endpoint", "part", "body"):
        if not isinstance(values.get(name, ""), str):
            raise FaultError(f"{name} is a text")
    headers = values.get("headers", {})
    if not isinstance(headers, Mapping):
        raise FaultError("headers is an object of names and values")
    clean = dict(values) | {
        "kind": FaultKind(str(values["kind"])),
        "body": str(values.get("body", "")).encode(),
        "headers": tuple((str(name), str(value)) for name, value in headers.items()),
    }
    return Fault(**clean)  # type: ignore[arg-type]
