"""The bytes of one photo over the head office's API, streamed (docs/contracts/edge.md).

It stands on urllib3 and not on the session of upstream/: a call is cheaper there, and bodies must not be held whole.
"""

import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, cast

import orjson
import urllib3

from imagesync_pipelines.connectors.edge import errors
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.languages import told
from imagesync_pipelines.telemetry import spans
from imagesync_pipelines.upstream.answers import Place, failure_of_status, failure_without_answer, place_of
from imagesync_pipelines.upstream.errors import (
    BadAnswerError,
    BodyTooLargeError,
    DeadlineExceededError,
    NotFoundError,
    RedirectRefusedError,
    TruncatedBodyError,
    UnavailableError,
    UpstreamError,
)
from imagesync_pipelines.upstream.fetch import FetchPolicy, fetch_image
from imagesync_pipelines.upstream.retries import RetryPolicy, Timing, call_with_retries, retry_after_seconds
from imagesync_pipelines.upstream.session import USER_AGENT, open_pool
from imagesync_pipelines.upstream.tokens import Token, TokenHolder, text_in

CONNECT_SECONDS = 10.0
_CHUNK = 256 * 1024
_ERROR_BYTES = 64 * 1024
# Of its object store, which says nothing of the photo then.
_STORE_FAULT = re.compile(
    rb"\b(NoSuchBucket|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|RequestTimeTooSkewed|"
    rb"PermanentRedirect|AuthorizationHeaderMalformed)\b"
)
# The head office's tag of a photo is its MD5; only a redirect that says which bytes are there is followed.
_MD5_TAG = re.compile(r'"([0-9a-fA-F]{32})"')
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")


def refusal(status: int | None, *, unknown: bool = False) -> tuple[type[UpstreamError], str]:
    """What a 403 or 404 means for the whole store, the error and its words; unknown: HO says so of the store."""
    if status == 403:
        return errors.StoreNotAllowedError, told("HTTP 403: this account may not read the photos of this store")
    if unknown:
        return errors.StoreUnknownError, told("the head office does not know the store, or it is inactive")
    return NotFoundError, told("HTTP 404, but not the head office's own; is its url right?")


@dataclass
class PhotoBody:
    """An open download, of `limit` bytes at most.

    start: the byte of the photo at which it begins. late: whether the call's deadline is over. received: bytes so far.
    """

    _response: urllib3.BaseHTTPResponse
    _place: Place
    start: int
    limit: int
    late: Callable[[], bool]
    received: int = 0

    def __post_init__(self) -> None:
        """length: bytes announced for this answer, None: unknown; etag: what HO claims, from its table."""
        headers = self._response.headers
        announced = headers.get("Content-Length", "").strip()
        self.length = int(announced) if announced.isascii() and announced.isdigit() else None
        self.etag = headers.get("ETag", "")

    def chunks(self) -> Iterator[bytes]:
        """The body piece by piece, once.

        Raises TruncatedBodyError, UnavailableError and DeadlineExceededError when it ends early, BodyTooLargeError
        above EDGE_MAX_PHOTO_MB.
        """
        if self.start + (self.length or 0) > self.limit:
            raise self._error(BodyTooLargeError, told(f"{self.length} bytes are announced, {self.limit} are allowed"))
        try:
            while piece := self._response.read1(_CHUNK, decode_content=False):
                self.received += len(piece)
                if self.start + self.received > self.limit:
                    raise self._error(BodyTooLargeError, told(f"the photo is larger than {self.limit} bytes"))
                if self.late():
                    what = told(f"the photo was not complete in time; {self.received} bytes had come")
                    raise self._error(DeadlineExceededError, what)
                yield piece
        except (urllib3.exceptions.TimeoutError, TimeoutError):
            raise self._error(UnavailableError, told(f"the photo stopped coming after {self.received} bytes")) from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError):
            raise self._error(TruncatedBodyError, told(f"the photo broke off after {self.received} bytes")) from None

    def _error(self, kind: type[UpstreamError], what: str) -> UpstreamError:
        return self._place.error(kind, what, status=200)

    def close(self) -> None:
        """Give the connection back for the next download; one with unread bytes is closed."""
        if self.length is not None and self.received == self.length:
            self._response.release_conn()
        else:
            self._response.close()


class _SentOn(NamedTuple):
    """Where the head office has a photo fetched, for a short time; the MD5 of what is there, and its tag for it."""

    location: str
    md5: str
    etag: str


@dataclass
class BucketBody:
    """A photo that the head office let us fetch from its bucket, whole; etag is what the head office claims."""

    body: bytes
    etag: str
    start: int = 0
    received: int = 0

    @property
    def length(self) -> int:
        """How many bytes there are."""
        return len(self.body)

    def chunks(self) -> Iterator[bytes]:
        """All of it."""
        self.received = len(self.body)
        yield self.body

    def close(self) -> None:
        """The connection is closed already."""


class PhotoBodies:
    """Opens downloads at one head office; shared by all threads.

    bucket_hosts: those that may have private addresses when the head office sends us to its bucket.
    """

    def __init__(
        self,
        base_url: str,
        tokens: TokenHolder,
        settings: EdgeSettings,
        timing: Timing,
        bucket_hosts: Collection[str] = (),
    ) -> None:
        self._base, self._bucket_hosts = base_url.rstrip("/"), frozenset(bucket_hosts)
        self._reaches_bucket = True
        self._tokens, self._settings, self._timing = tokens, settings, timing
        self._pool = open_pool(self._base, settings.verify_tls, settings.concurrency)
        self._lock = threading.Lock()
        self.calls = self.bytes = 0

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    @contextmanager
    def open(self, photo_id: str, store_id: str, wanted: Mapping[str, str]) -> Iterator[PhotoBody | BucketBody]:
        """Open one photo; `wanted` are headers such as Range. Calls and bytes are counted.

        Tries again what is transient until an answer came. Raises what `api.open_photo` says.
        """
        url = f"{self._base}/api/v1/sync/product-photos/{photo_id}/download/?store_id={store_id}"
        itself = f"{url}&redirect=false"

        def attempt(deadline: float) -> tuple[Token, PhotoBody | BucketBody | UpstreamError]:
            token = self._tokens.current()
            found = self._exchange(url if self._reaches_bucket else itself, token.access, wanted, deadline)
            if not isinstance(found, _SentOn):
                return token, found
            if (fetched := self._from_bucket(found, deadline)) is not None:
                return token, fetched
            found = self._exchange(itself, token.access, wanted, deadline)
            if isinstance(found, _SentOn):
                refused = told("redirected although it was asked not to; is the head office's url right?")
                return token, place_of(url).error(RedirectRefusedError, refused, status=307)
            return token, found

        policy = RetryPolicy(tries=self._settings.tries, total_deadline=self._settings.call_deadline)
        found = call_with_retries(lambda end: self._tokens.using(lambda: attempt(end)), policy, self._timing)
        # mypy takes the two kinds together for any object.
        body = cast(PhotoBody | BucketBody, found)
        try:
            yield body
        finally:
            body.close()
            with self._lock:
                self.bytes += body.received

    def _from_bucket(self, there: _SentOn, deadline: float) -> BucketBody | None:
        """A photo from where the head office sends us, without our token; None when it, or these bytes, are not there.

        A bucket that cannot be reached, or only in the clear where the head office is not, is asked once in a run.
        """
        if self._base.startswith("https:") and not there.location.startswith("https:"):
            self._reaches_bucket = False
            return None
        policy = FetchPolicy(
            tries=1,
            total_deadline=max(0.0, deadline - self._timing.clock()),
            allowed_hosts=self._bucket_hosts,
            max_bytes=self._settings.max_photo,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=self._settings.timeout,
        )
        try:
            found = fetch_image(there.location, policy, checksum=f"md5:{there.md5}", timing=self._timing)
            return BucketBody(found.body, there.etag)
        except UpstreamError as error:
            self._reaches_bucket = error.status is not None
            return None

    def _exchange(
        self, url: str, token: str, wanted: Mapping[str, str], deadline: float
    ) -> PhotoBody | _SentOn | UpstreamError:
        settings, place, left = self._settings, place_of(url), deadline - self._timing.clock()
        if left <= 0:
            return place.error(
                DeadlineExceededError, told(f"not done within {settings.call_deadline:.0f} s"), sent=False
            )
        # Accept names no picture: the original HO would answer 406, its framework makes only JSON and HTML.
        headers = {"User-Agent": USER_AGENT, "Accept": "*/*", "Accept-Encoding": "identity", **wanted}
        with self._lock:
            self.calls += 1
        try:
            with spans.call("GET", url) as made:
                response = self._pool.request(
                    "GET",
                    url,
                    headers={"Authorization": f"Bearer {token}", **headers, **made.headers()},
                    timeout=urllib3.Timeout(connect=min(CONNECT_SECONDS, left), read=min(settings.timeout, left)),
                    retries=False,
                    redirect=False,
                    preload_content=False,
                )
                made.note(http__response__status_code=response.status)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return failure_without_answer(place, error)
        if response.status in {200, 206}:
            return self._body(response, place, deadline)
        try:
            location, etag = (response.headers.get(name, "") for name in ("Location", "ETag"))
            if response.status == 307 and not wanted and location and (md5 := _MD5_TAG.fullmatch(etag)):
                return _SentOn(location, md5[1], etag)
            return self._failure(response, place)
        finally:
            response.close()

    def _body(self, response: urllib3.BaseHTTPResponse, place: Place, deadline: float) -> PhotoBody | UpstreamError:
        headers, is_part = response.headers, response.status == 206
        found = _RANGE.fullmatch(headers.get("Content-Range", "").strip()) if is_part else None
        problem = told("a part of the photo came that does not say which") if is_part and found is None else ""
        if headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
            problem = told("the photo is compressed although that was not asked for")
        if problem:
            response.close()
            return place.error(BadAnswerError, problem, status=response.status)
        start = int(found[1]) if found else 0
        return PhotoBody(response, place, start, self._settings.max_photo, lambda: self._timing.clock() > deadline)

    def _failure(self, response: urllib3.BaseHTTPResponse, place: Place) -> UpstreamError:
        """The error that a refusal means.

        Only HO's own "Photo not found" says that a photo is gone: a 404 of a proxy or a wrong URL must retire nothing.
        """
        status = response.status
        try:
            said = response.read(_ERROR_BYTES, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError):
            said = b""
        try:
            message = text_in(orjson.loads(said), "message").lower()
        except orjson.JSONDecodeError:
            message = ""
        kind: type[UpstreamError]
        if status != 401 and (fault := _STORE_FAULT.search(said)):
            kind, what = UnavailableError, told(f"the head office's object store refuses ({fault[1].decode()})")
        elif b"NoSuchKey" in said or (status == 404 and message and "not found" not in message):
            kind, what = errors.ObjectMissingError, told("the head office lists the photo but has no bytes for it")
        elif status == 404 and message.startswith("photo not found"):
            kind, what = errors.PhotoGoneError, told("the head office no longer has this photo")
        elif status in {403, 404}:
            kind, what = refusal(status, unknown=message.startswith("store not found"))
        elif 300 <= status < 400:
            kind, what = RedirectRefusedError, told("redirected; is the head office's url right?")
        else:
            asked = retry_after_seconds(response.headers, self._timing.wall())
            return failure_of_status(place, status, said, asked)
        return place.error(kind, what, status=status)
