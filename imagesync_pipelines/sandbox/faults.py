"""What goes wrong with the calls of a stand-in, from which call on and how often; done by wire.py."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from enum import StrEnum
from functools import partial

import orjson
from pydantic import TypeAdapter, ValidationError

from imagesync_pipelines.sandbox.answers import SandboxError

HTML_PAGE = "<!doctype html><html><head><title>Maintenance</title></head><body><h1>Back soon</h1></body></html>"
XML_PAGE = '<?xml version="1.0" encoding="UTF-8"?><error><code>InternalError</code><message>Try later</message></error>'
GATEWAY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
SERVER_ERROR = (
    '<!doctype html>\n<html lang="en">\n<head>\n  <title>Server Error (500)</title>\n</head>\n<body>\n'
    "  <h1>Server Error (500)</h1><p></p>\n</body>\n</html>\n"
)
NOT_FOUND_PAGE = (
    '\n<!doctype html>\n<html lang="en">\n<head>\n  <title>Not Found</title>\n</head>\n<body>\n'
    "  <h1>Not Found</h1><p>The requested resource was not found on this server.</p>\n</body>\n</html>\n"
)


class FaultError(SandboxError):
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
class WireFault:
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

    def names(self, endpoint: str, part: str) -> bool:
        """Whether a call is one of those that the fault can meet."""
        return self.endpoint in ("", endpoint) and self.part in ("", part)

    def at(self, endpoint: str, part: str = "") -> "WireFault":
        """The same fault for one endpoint, or one page or file of it."""
        return replace(self, endpoint=endpoint, part=part)

    def after(self, calls: int) -> "WireFault":
        """The same fault after so many good calls."""
        return replace(self, skip=calls)

    def burst(self, times: int) -> "WireFault":
        """The same fault so many times, then all is well."""
        return replace(self, times=times)

    def for_good(self) -> "WireFault":
        """The same fault on every matching call."""
        return replace(self, times=None)


def answer(
    status: int, body: str | bytes = "", content_type: str = "text/html; charset=utf-8", **headers: str
) -> WireFault:
    """Another status and body; a header `Retry_After="2"` is sent as `Retry-After: 2`."""
    content = body if isinstance(body, bytes) else body.encode()
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return WireFault(FaultKind.ANSWER, status=status, body=content, headers=(("Content-Type", content_type), *named))


def server_error(status: int = 500) -> WireFault:
    """A 5xx with Django's page of HTML."""
    return answer(status, SERVER_ERROR)


def rate_limited(retry_after: str | None) -> WireFault:
    """A 429 with DRF's body and the given Retry-After, or none."""
    headers = {} if retry_after is None else {"Retry_After": retry_after}
    return answer(429, '{"detail":"Request was throttled."}', "application/json", **headers)


def retry_after_date(seconds: float) -> str:
    """Retry-After as an HTTP date; counted from the machine's time, because the caller waits in real time."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def html_page(status: int = 200) -> WireFault:
    """A page of HTML where JSON was expected."""
    return answer(status, HTML_PAGE)


def xml_page(status: int = 200) -> WireFault:
    """A page of XML where JSON was expected."""
    return answer(status, XML_PAGE, "application/xml")


def redirect(to: str, status: int = 302) -> WireFault:
    """A redirect to any URL, another host too."""
    return answer(status, "", Location=to)


def wrong_length(more: int) -> WireFault:
    """Content-Length is wrong by so many bytes, up or down."""
    return WireFault(FaultKind.LENGTH, length=more)


def latency(seconds: float, kind: FaultKind = FaultKind.LATENCY) -> WireFault:
    """The right answer, late."""
    return WireFault(kind, seconds=seconds)


drip = partial(latency, kind=FaultKind.DRIP)
# Faults that say all with their kind.
truncated, no_length, altered, reset, timeout = (
    partial(WireFault, kind)
    for kind in (FaultKind.TRUNCATED, FaultKind.NO_LENGTH, FaultKind.ALTERED, FaultKind.RESET, FaultKind.TIMEOUT)
)


class FaultPlan:
    """The faults that are switched on, in the order they were added. Safe between threads."""

    def __init__(self) -> None:
        self._waiting: list[tuple[WireFault, int]] = []
        self._lock = threading.Lock()

    def add(self, *faults: WireFault) -> None:
        """Switch faults on; a call meets the first that names it."""
        with self._lock:
            self._waiting.extend((fault, 0) for fault in faults)

    def clear(self) -> None:
        """All is well again."""
        with self._lock:
            self._waiting.clear()

    def take(self, endpoint: str, part: str) -> WireFault | None:
        """The fault that this call meets, and count the call for every fault up to that one that names it."""
        met: WireFault | None = None
        with self._lock:
            still: list[tuple[WireFault, int]] = []
            for fault, seen in self._waiting:
                if met is None and fault.names(endpoint, part):
                    met = fault if seen >= fault.skip else None
                    seen += 1
                if fault.times is None or seen < fault.skip + fault.times:
                    still.append((fault, seen))
            self._waiting = still
        return met

    def names(self, endpoint: str, part: str) -> bool:
        """Whether any fault that is still to come names this call."""
        with self._lock:
            return any(fault.names(endpoint, part) for fault, _ in self._waiting)

    def as_json(self) -> list[dict[str, object]]:
        """The faults still to come, with the number of calls that each has counted."""
        with self._lock:
            return [
                asdict(fault) | {"body": fault.body.decode("utf-8", "replace"), "seen": seen}
                for fault, seen in self._waiting
            ]


_EXPECTED: Mapping[str, str] = {
    "kind": f"is one of {', '.join(FaultKind)}",
    "headers": "is an object of names and values",
    **dict.fromkeys(("endpoint", "part", "body"), "is a text"),
}


def fault_from_json(values: Mapping[str, object]) -> WireFault:
    """A fault from the control endpoint's JSON, with the field names of Fault; raises FaultError."""
    known = {field.name for field in fields(WireFault)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise FaultError(f"unknown field {unknown[0]}; a fault has {', '.join(sorted(known))}")
    headers = values.get("headers", {})
    pairs = list(headers.items()) if isinstance(headers, Mapping) else None
    try:
        return TypeAdapter(WireFault).validate_json(orjson.dumps({**values, "headers": pairs}), strict=True)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise FaultError(f"{name} {_EXPECTED.get(name, 'is a number')}") from error


class Lost(StrEnum):
    """How an answer is lost after the work was done: the client cannot know what happened."""

    DROP = "drop"  # the connection is closed without a byte
    BAD_GATEWAY = "bad gateway"  # a 502 of the gateway in its place


class LostAnswers(FaultPlan):
    """The answers that will be lost; only calls that succeeded are counted. Safe between threads."""

    def lose(self, endpoint: str, how: Lost = Lost.DROP, *, part: str = "", skip: int = 0, times: int = 1) -> None:
        """Lose the answer of the next call of an endpoint that succeeds, after `skip` good ones; `part` is an id."""
        fault = answer(502, GATEWAY_PAGE, "text/html") if how is Lost.BAD_GATEWAY else reset()
        self.add(fault.at(endpoint, part).after(skip).burst(times))


class Moments:
    """What somebody else does between two calls of a client. Safe between threads.

    `failed` has the errors of actions that were not to disturb the client.
    """

    def __init__(self) -> None:
        self.failed: list[Exception] = []
        self._waiting: list[tuple[str, Callable[[], object], int]] = []
        self._lock = threading.RLock()

    def before(self, endpoint: str, action: Callable[[], object], *, skip: int = 0) -> None:
        """Do something once, just before the next call of an endpoint has its effect, or before a later one."""
        with self._lock:
            self._waiting.append((endpoint, action, max(0, skip)))

    def come(self, endpoint: str, *, keep_errors: bool = False) -> None:
        """An endpoint is called: do what waits for it; with `keep_errors` an error goes to `failed`."""
        with self._lock:
            counted = [(name, action, skip - (name == endpoint)) for name, action, skip in self._waiting]
            self._waiting = [one for one in counted if one[2] >= 0]
        for action in [action for _, action, skip in counted if skip < 0]:
            try:
                action()
            except Exception as error:
                if not keep_errors:
                    raise
                self.failed.append(error)
