"""Fetching a picture from a URL that is data: the only place that opens such a URL."""

import hashlib
import http.client
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from urllib.parse import urljoin

from imagesync_pipelines.languages import told
from imagesync_pipelines.telemetry import spans
from imagesync_pipelines.upstream import errors
from imagesync_pipelines.upstream.addresses import Destination, Resolve, judge_url, resolve_host
from imagesync_pipelines.upstream.answers import Place, failure_of_status
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines.upstream.retries import RetryPolicy, Timing, bare, call_with_retries, retry_after_seconds
from imagesync_pipelines.upstream.session import MAX_REDIRECTS, REDIRECTS, USER_AGENT, ca_bundle

_CHUNK = 64 * 1024
_LONGEST_VALIDATOR = 300
_CHECKSUM_LENGTHS = {"md5": 32, "sha256": 64}


@dataclass(frozen=True)
class FetchPolicy(RetryPolicy):
    """How pictures are fetched; times in seconds, sizes in bytes.

    allowed_hosts are the hosts that may have private addresses and any port. total_deadline covers a whole fetch with
    its retries and redirects; the connection is cut when it is over.
    """

    allowed_hosts: frozenset[str] = frozenset()
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    total_deadline: float = 120.0
    max_bytes: int = 128 * 1024 * 1024
    tries: int = 3
    backoff_max: float = 10.0


@dataclass(frozen=True)
class Validators:
    """What a server says to tell the bytes at an address from others that may be there later; '' where it does not."""

    etag: str = ""
    last_modified: str = ""

    def headers(self) -> dict[str, str]:
        """The question whether it is still the same."""
        asked = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: value for name, value in asked.items() if value}


@dataclass(frozen=True)
class Fetched:
    """A body that came whole. content_type is what the server claims; url is where it came from, without the query."""

    url: str
    content_type: str
    sha256: str
    body: bytes = field(repr=False)
    validators: Validators = Validators()


class _SameAsBefore(Exception):  # noqa: N818
    """The server says that the bytes are those that the caller knows."""


def fetch_image(
    url: str,
    policy: FetchPolicy,
    *,
    checksum: str | None = None,
    timing: Timing | None = None,
    resolve: Resolve = resolve_host,
) -> Fetched:
    """Fetch one picture whole, or raise the UpstreamError that says why not.

    checksum is what the caller knows about the body, as `sha256:<hex>` or `md5:<hex>`; without it a body that does
    not announce its length is refused. Raises ValueError for a checksum that is neither.
    """
    algorithm, _, expected = (checksum or "").lower().partition(":")
    if checksum is not None and len(expected) != _CHECKSUM_LENGTHS.get(algorithm):
        raise ValueError(told("checksum must be sha256:<64 hex digits> or md5:<32 hex digits>"))
    timing = timing or Timing()

    def attempt(deadline: float) -> Fetched | UpstreamError:
        try:
            fetched = _follow(url, policy, checksum is not None, timing, resolve, deadline)
        except UpstreamError as error:
            return bare(error)
        if checksum is None or hashlib.new(algorithm, fetched.body, usedforsecurity=False).hexdigest() == expected:
            return fetched
        what = told(f"{fetched.url}: the {algorithm} checksum is not the one that was listed")
        return errors.AlteredBodyError(what, status=200)

    return call_with_retries(attempt, policy, timing)


def fetch_changed(
    url: str, policy: FetchPolicy, known: Validators, *, timing: Timing | None = None, resolve: Resolve = resolve_host
) -> Fetched | None:
    """As fetch_image, but None where the server says that it is still the same as when it gave these validators."""
    timing = timing or Timing()

    def attempt(deadline: float) -> Fetched | UpstreamError:
        try:
            return _follow(url, policy, False, timing, resolve, deadline, known)
        except UpstreamError as error:
            return bare(error)

    try:
        return call_with_retries(attempt, policy, timing)
    except _SameAsBefore:
        return None


def _follow(
    url: str,
    policy: FetchPolicy,
    has_checksum: bool,
    timing: Timing,
    resolve: Resolve,
    deadline: float,
    known: Validators = Validators(),
) -> Fetched:
    """Make the request and follow redirects, each judged as the first URL was. Raises _SameAsBefore."""
    secure = False
    for _ in range(MAX_REDIRECTS + 1):
        there = judge_url(url, policy.allowed_hosts, resolve)
        if isinstance(there, UpstreamError):
            raise there
        place = Place(there.name, there.path)
        if secure and there.scheme != "https":
            raise place.error(errors.RedirectRefusedError, told("redirected from https to plain http"))
        secure = there.scheme == "https"
        with spans.call("GET", f"{there.scheme}://{there.name}/", has_route=False) as made:
            outcome = _exchange(there, place, policy, has_checksum, timing, deadline, known, made)
        if isinstance(outcome, Fetched):
            return outcome
        try:
            url = urljoin(f"{there.scheme}://{there.name}{there.target}", outcome)
        except ValueError:
            raise place.error(errors.UrlRefusedError, told("redirected to a URL that cannot be read")) from None
    raise place.error(errors.RedirectRefusedError, told(f"more than {MAX_REDIRECTS} redirects"))


def _exchange(
    there: Destination,
    place: Place,
    policy: FetchPolicy,
    has_checksum: bool,
    timing: Timing,
    deadline: float,
    known: Validators,
    made: spans.Span,
) -> Fetched | str:
    """Send one request to an address that was judged, and read the answer; gives where a redirect leads."""
    try:
        with judged_connection(there, policy, deadline - timing.clock()) as connection:
            headers = {"Host": there.name, "User-Agent": USER_AGENT, "Accept": "image/*, */*;q=0.1"}
            headers |= {"Accept-Encoding": "identity", "Connection": "close", **known.headers()}
            connection.request("GET", there.target, headers=headers)
            response = connection.getresponse()
            made.note(http__response__status_code=response.status)
            location = response.headers.get("Location")
            if response.status in REDIRECTS and location:
                return location
            if response.status == 304 and known.headers():
                raise _SameAsBefore
            if response.status != 200:
                asked = retry_after_seconds(dict(response.headers), timing.wall())
                failure = failure_of_status(place, response.status, b"", asked)
                if isinstance(failure, errors.CredentialsError):
                    what = told(f"HTTP {response.status}; pictures are fetched without credentials")
                    failure = place.error(errors.BadAnswerError, what, status=response.status)
                raise failure
            body = _read(response, place, policy.max_bytes, has_checksum)
            content_type = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
            origin = f"{there.scheme}://{there.name}{there.path}"
            validators = Validators(*(_header(response, name) for name in ("ETag", "Last-Modified")))
            return Fetched(origin, content_type, hashlib.sha256(body).hexdigest(), body, validators)
    except ssl.SSLCertVerificationError:
        raise place.error(errors.InsecureConnectionError, told("the TLS certificate could not be verified")) from None
    except (OSError, http.client.HTTPException, ValueError, UpstreamError) as error:
        if timing.clock() >= deadline:
            late = told(f"not done within {policy.total_deadline:.0f} s")
            raise place.error(errors.DeadlineExceededError, late) from None
        if isinstance(error, UpstreamError):
            raise
        what = told("no answer in time") if isinstance(error, TimeoutError) else told("the connection failed or broke")
        raise place.error(errors.UnavailableError, f"{what} ({type(error).__name__})") from None


def _header(response: http.client.HTTPResponse, name: str) -> str:
    """A header that can be sent back as it came; '' for one that cannot."""
    value = (response.headers.get(name) or "").strip()
    return value if len(value) <= _LONGEST_VALIDATOR and value.isascii() and value.isprintable() else ""


@contextmanager
def judged_connection(there: Destination, policy: FetchPolicy, left: float) -> Iterator[http.client.HTTPConnection]:
    """Connect to the first judged address that answers; the certificate is checked against the name.

    A timer cuts the connection when the time that is left is over: a server that sends one byte now and then would
    never run into a read timeout.
    """
    raw = _connect(there, max(0.001, min(policy.connect_timeout, left)))
    raw.settimeout(policy.read_timeout)
    with raw.dup() as handle:
        timer = threading.Timer(max(0.0, left), _cut, [handle])
        timer.daemon = True
        timer.start()
        try:
            with raw:
                wrapped = raw
                if there.scheme == "https":
                    wrapped = _tls_context(ca_bundle()).wrap_socket(raw, server_hostname=there.host)
                with wrapped:
                    connection = http.client.HTTPConnection(there.host, there.port)
                    connection.sock = wrapped
                    yield connection
        finally:
            timer.cancel()
            timer.join()


def _connect(there: Destination, timeout: float) -> socket.socket:
    """Try the addresses in turn; all were judged."""
    *others, last = there.addresses
    for address in others:
        with suppress(OSError):
            return socket.create_connection((address, there.port), timeout)
    return socket.create_connection((last, there.port), timeout)


def _cut(handle: socket.socket) -> None:
    with suppress(OSError):
        handle.shutdown(socket.SHUT_RDWR)


@cache
def _tls_context(ca_file: str) -> ssl.SSLContext:
    """Once per file: reading the certificates takes longer than a small picture."""
    return ssl.create_default_context(cafile=ca_file)


def _read(response: http.client.HTTPResponse, place: Place, max_bytes: int, has_checksum: bool) -> bytes:
    """Read the body whole and compare it with the length that was announced."""
    bad = partial(place.error, status=200)
    lengths = {value.strip() for value in response.headers.get_all("Content-Length", [])}
    announced = None
    if lengths and not response.chunked:
        text = lengths.pop()
        if lengths or not (text.isascii() and text.isdigit()):
            raise bad(errors.BadAnswerError, told("the announced length is no number, or there are several"))
        announced = int(text)
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        raise bad(errors.BadAnswerError, told("the body is compressed although that was not asked for"))
    if announced is None and not has_checksum:
        raise bad(errors.BadAnswerError, told("the body has no length and its checksum is not known"))
    if announced is not None and announced > max_bytes:
        raise bad(errors.BodyTooLargeError, told(f"{announced} bytes are announced, {max_bytes} are allowed"))
    if response.will_close and not response.chunked:
        # Reading to the end of the connection is what shows a body that is longer than announced.
        response.length = None
    pieces: list[bytes] = []
    size = 0
    try:
        while piece := response.read1(_CHUNK):
            pieces.append(piece)
            size += len(piece)
            if announced is not None and size > announced:
                raise bad(errors.AlteredBodyError, told(f"the body is longer than the {announced} bytes announced"))
            if size > max_bytes:
                raise bad(errors.BodyTooLargeError, told(f"the body is larger than {max_bytes} bytes"))
    except http.client.IncompleteRead:
        raise bad(errors.TruncatedBodyError, told(f"the body broke off after {size} bytes")) from None
    if size < (announced or 1):
        raise bad(errors.TruncatedBodyError, told(f"{size} bytes came instead of {announced or 'a picture'}"))
    return b"".join(pieces)
