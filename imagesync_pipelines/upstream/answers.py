"""What came back: reading a body under deadline and cap, judging a status, parsing JSON.

No error of ours keeps what it came from, see `retries.bare`.
"""

import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import orjson
import urllib3

from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.upstream import errors
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines.upstream.redaction import excerpt

DEFAULT_PORTS = {"http": 80, "https": 443}
_CHUNK = 64 * 1024
_ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
_JSON_STARTS = b'{["-0123456789tfn'
_KINDS: dict[int, type[UpstreamError]] = {
    **dict.fromkeys((401, 403), errors.CredentialsError),
    **dict.fromkeys((404, 410), errors.NotFoundError),
    429: errors.RateLimitedError,
    **dict.fromkeys((500, 502, 503, 504), errors.UnavailableError),
}
# In this order: each of the last three is one of the next as well.
_NOT_SENT: dict[type[Exception], str] = {
    urllib3.exceptions.ProxyError: N_("the proxy of the environment refused or failed"),
    urllib3.exceptions.NameResolutionError: N_("the host name cannot be resolved"),
    urllib3.exceptions.NewConnectionError: N_("no connection"),
    urllib3.exceptions.ConnectTimeoutError: N_("no connection in time"),
}


@dataclass(frozen=True)
class Place:
    """Where a call goes, for messages: host and path without query; and what must not be shown."""

    host: str
    path: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def error(self, kind: type[UpstreamError], what: str, *, body: bytes = b"", **parts: Any) -> UpstreamError:
        """Make an error of this place, with the beginning of a body; parts: what else an UpstreamError has."""
        return kind(what, host=self.host, path=self.path, excerpt=excerpt(body, self.secrets), **parts)


@dataclass(frozen=True)
class Answer:
    """An answer that is about the call.

    body is decompressed; data is the parsed JSON when JSON was asked for; url has no query.
    """

    status: int
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    data: object = field(default=None, repr=False)

    @property
    def good(self) -> bool:
        """Whether the system did what was asked, and did not only say why it did not."""
        return 200 <= self.status < 300

    @property
    def place(self) -> Place:
        """Where the call went."""
        return place_of(self.url)

    def error(self, kind: type[UpstreamError], what: str) -> UpstreamError:
        """Make an error of this answer."""
        return self.place.error(kind, what, status=self.status)


def place_of(url: str, secrets: tuple[str, ...] = ()) -> Place:
    """Give host and path of a URL, without user name and query."""
    parts = urlsplit(url)
    return Place(parts.netloc.rpartition("@")[2], parts.path, secrets)


def origin_of(url: str) -> str:
    """Give scheme, host and port; the port is always named, so that equal origins are equal texts."""
    parts = urlsplit(url)
    try:
        port = parts.port or DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        port = 0
    return f"{parts.scheme}://{parts.hostname or '?'}:{port}"


def failure_of_status(place: Place, status: int, body: bytes, retry_after: float | None) -> UpstreamError:
    """Turn a status that is not the one asked for into the error it means; 401 and 403 show nothing of the body."""
    kind = _KINDS.get(status, errors.BadAnswerError)
    if kind is errors.CredentialsError:
        what = told(
            f"refused the credentials (HTTP {status}); check the user name and password, or the token, set for it"
        )
        return place.error(kind, what, status=status)
    return place.error(kind, f"HTTP {status}", status=status, retry_after=retry_after, body=body)


def failure_without_answer(place: Place, error: Exception) -> UpstreamError:
    """Name a failure before any answer; the library's own text is not used: it holds the URL with its query."""
    name = type(error).__name__
    if isinstance(error, ValueError):
        return place.error(UpstreamError, told(f"the request could not be made ({name})"), sent=False)
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in error.args):
        return place.error(
            errors.InsecureConnectionError, told("the TLS certificate could not be verified"), sent=False
        )
    for kind, what in _NOT_SENT.items():
        if isinstance(error, kind):
            return place.error(errors.UnavailableError, what, sent=False)
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return place.error(errors.UnavailableError, told("no answer in time"))
    return place.error(errors.UnavailableError, told(f"the connection broke before an answer came ({name})"))


def read_body(
    response: urllib3.BaseHTTPResponse, place: Place, max_bytes: int, deadline: float, clock: Callable[[], float]
) -> bytes:
    """Read a body piece by piece and decompress it; never holds more than max_bytes and one piece.

    A body shorter than its Content-Length, or with a broken chunk or gzip stream, is a TruncatedBodyError. Raises
    UpstreamError.
    """
    bad = partial(place.error, status=response.status)
    if response.headers.get("Content-Encoding", "").strip().lower() not in _ENCODINGS:
        raise bad(errors.BadAnswerError, told("the body is compressed in a way that was not asked for"))
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := response.read1(_CHUNK, decode_content=True):
            pieces.append(piece)
            size += len(piece)
            if size > max_bytes:
                raise bad(errors.BodyTooLargeError, told(f"the body is larger than {max_bytes} bytes"))
            if clock() > deadline:
                raise bad(
                    errors.DeadlineExceededError, told(f"the body was not complete in time; {size} bytes had come")
                )
    except (urllib3.exceptions.TimeoutError, TimeoutError):
        raise bad(errors.UnavailableError, told(f"the body stopped coming after {size} bytes")) from None
    except (urllib3.exceptions.HTTPError, OSError, ValueError):
        raise bad(errors.TruncatedBodyError, told(f"the body broke off after {size} bytes")) from None
    return b"".join(pieces)


def parse_json(place: Place, status: int, content_type: str, body: bytes) -> object | UpstreamError:
    """Parse JSON, or say what came instead: NotJsonError for markup and the like, MalformedJsonError for cut JSON."""
    text = body.removeprefix(b"\xef\xbb\xbf").strip()
    if not text:
        return place.error(errors.MalformedJsonError, told("the body is empty where JSON was expected"), status=status)
    try:
        return load_json(text)
    except ValueError:
        kind: type[UpstreamError] = errors.NotJsonError
        what = told(f"{_name_of(text, content_type)} came where JSON was expected")
        if text[0] in _JSON_STARTS:
            kind, what = errors.MalformedJsonError, told(f"the JSON is cut or broken ({len(body)} bytes)")
        return place.error(kind, what, status=status, body=text)


def load_json(body: bytes) -> object:
    """Parse JSON as systems really send it: with lone surrogates, NaN, and numbers of any length too.

    A whole number of 20 digits or more becomes a float. Raises ValueError for what is no JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body, parse_int=lambda digits: int(digits) if len(digits) < 20 else float(digits))
    except RecursionError:
        raise ValueError(told("nested too deeply")) from None


def _name_of(text: bytes, content_type: str) -> str:
    start = text[:500].lower()
    if start.startswith(b"<"):
        return "HTML" if b"<html" in start or b"<!doctype html" in start else "XML"
    return content_type.split(";")[0].strip().lower() or told("something without a content type")
