"""Photos fetched ahead of those who write them: bounded in number, pace and bytes, proven before they are handed on.

They come from the head office's API, or from its bucket directly (EDGE_BYTES_FROM); the bucket is read with obstore,
because boto3 costs several times the processor time (benchmarks/README.md). boto3 reads keys that obstore cannot ask
for as they are, and is asked what it means when obstore gets nothing.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]
from obstore.store import S3Store

from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.errors import (
    NOT_ABOUT_ONE_PHOTO,
    BucketUnfitError,
    ObjectMissingError,
    PhotoGoneError,
)
from imagesync_pipelines.connectors.edge.model import Body, Photo
from imagesync_pipelines.connectors.edge.planning import mismatch_reason
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.imaging.validation import BadImageError, check_image
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.storage.object_reader import is_plain, open_objects
from imagesync_pipelines.storage.objects import S3Place, error_code, is_of_all, lacks_object, s3_client, said_of
from imagesync_pipelines.sync.apply import item_failure
from imagesync_pipelines.upstream import errors
from imagesync_pipelines.upstream.answers import Place, place_of
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.transport import Pacer

R = TypeVar("R")

_CHUNK = 1024 * 1024
_OF_KEYS = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"})

# Rows that are looked at ahead of the one that is written; small photos would else fill memory with rows.
ROWS_AHEAD = 500
# Of one photo; opening it is tried again by the source itself.
TRIES, FIRST_WAIT = 3, 0.5


class OpenBody(Protocol):
    """An open download: the byte of the photo at which it begins, the source's ETag ('' for none), and the bytes."""

    start: int
    etag: str

    def chunks(self) -> Iterator[Body]: ...


OpenPhoto = Callable[[Photo, int, str], AbstractContextManager[OpenBody]]
"""Opens the download of a photo, from a byte on if the photo still has this ETag and the source can do that.

Raises PhotoGoneError, ObjectMissingError, and the errors of upstream.
"""


class DownloadFault(StrEnum):
    """Why a photo was not fetched."""

    GONE = N_("gone")
    NO_OBJECT = N_("no object")
    MISMATCH = N_("checksum mismatch")
    BAD_IMAGE = N_("bad image")
    TOO_LARGE = N_("too large")
    UNREACHABLE = N_("unreachable")
    UNFORESEEN = N_("unforeseen")


# What an error means for the photo; every other one: its source cannot be reached.
_FAULTS: dict[type[errors.UpstreamError], DownloadFault] = {
    PhotoGoneError: DownloadFault.GONE,
    ObjectMissingError: DownloadFault.NO_OBJECT,
    errors.BodyTooLargeError: DownloadFault.TOO_LARGE,
}


@dataclass
class FetchedPhoto:
    """One download: at its end the proven bytes, or a fault with its reason.

    received: bytes over the wire. held: what it has reserved in the budget. part: what came, under the source's ETag
    for it; problem: why that is not whole. damage: of a picture that the head office has so.
    """

    photo: Photo
    held: int
    body: Body | None = field(default=None, repr=False)
    fault: DownloadFault | None = None
    reason: str = ""
    damage: str = ""
    received: int = 0
    tries: int = 0
    part: Body = field(default=b"", repr=False)
    etag: str = ""
    problem: errors.UpstreamError | None = None


class Budget:
    """How many bytes of photos may be in memory; one photo larger than all of it may be there alone."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used, self._lock = limit, 0, threading.Lock()

    def admit(self, size: int) -> bool:
        """Reserve room for a photo if there is room, or nothing else is there; False: nothing was reserved."""
        with self._lock:
            if self._used and self._used + size > self._limit:
                return False
            self._used += size
            return True

    def release(self, size: int) -> None:
        """Give back what was reserved."""
        with self._lock:
            self._used -= size


def decode_whole(body: Body, photo: Photo) -> str:
    """Decode every byte of a picture whose checksum is right; gives its damage where the head office has it so.

    Raises BadImageError when it is none, or not what its content type says.
    """
    return check_image(bytes(body), content_type=photo.content_type, is_as_listed=True).damage


@dataclass
class Downloads:
    """How the photos of one run are fetched, with a pace and a budget in common.

    check: looks at bytes whose checksum is right, and gives their damage; raises BadImageError for what is no picture.
    """

    open_photo: OpenPhoto
    settings: EdgeSettings
    check: Callable[[Body, Photo], str] = field(default=decode_whole, kw_only=True)
    timing: Timing = field(default_factory=Timing, kw_only=True)

    def __post_init__(self) -> None:
        """pacer: between the starts of downloads; budget: of their bytes in memory."""
        self.pacer = Pacer(self.settings.pace_ms / 1000, self.timing)
        self.budget = Budget(self.settings.memory_budget)


def fetch_ahead(
    rows: Iterator[R], photo_of: Callable[[R], Photo | None], downloads: Downloads
) -> Generator[tuple[R, FetchedPhoto | None] | None, None, None]:
    """Every row in its order with its photo, while further photos are being fetched; close it at the end.

    photo_of gives what is to be fetched for a row, None when nothing is. Each photo's listed size is reserved in the
    budget, and the caller releases what is `held` once the bytes are no longer needed. None in between means that the
    next photo finds no room until the caller has released everything it holds. Raises NOT_ABOUT_ONE_PHOTO.
    """
    pool = ThreadPoolExecutor(downloads.settings.concurrency, thread_name_prefix="photo")
    line: deque[tuple[R, Future[FetchedPhoto] | None]] = deque()
    try:
        upcoming = next(rows, None)
        while line or upcoming is not None:
            while upcoming is not None and len(line) < ROWS_AHEAD:
                photo = photo_of(upcoming)
                if photo is not None and not downloads.budget.admit(photo.size):
                    break
                line.append((upcoming, None if photo is None else pool.submit(fetch_photo, photo, downloads)))
                upcoming = next(rows, None)
            if not line:
                yield None
                continue
            row, future = line.popleft()
            yield row, None if future is None else future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def fetch_photo(photo: Photo, downloads: Downloads) -> FetchedPhoto:
    """Fetch one photo, and prove it by its listed checksum and by decoding it whole.

    A body that broke off is asked for again, from where it broke when the source can do that; bytes that are not the
    listed ones are fetched a second time: the same wrong bytes twice are what the source has. A body that broke off
    counts when its checksum is right: announced lengths come from a table (docs/contracts/edge.md). Whatever else goes
    wrong with the photo is its fault alone. Raises NOT_ABOUT_ONE_PHOTO.
    """
    found = FetchedPhoto(photo, held=photo.size)
    try:
        _fetch(found, downloads)
    except Exception as error:  # noqa: BLE001 - whatever one photo does to a library, the others go on
        found.fault, found.reason = DownloadFault.UNFORESEEN, item_failure(error, NOT_ABOUT_ONE_PHOTO)
    return found


def _fetch(found: FetchedPhoto, downloads: Downloads) -> None:
    photo, wrong = found.photo, ""
    while found.tries < TRIES:
        if found.problem is not None:
            downloads.timing.sleep(FIRST_WAIT * 2 ** (found.tries - 1))
        found.tries += 1
        downloads.pacer.wait()
        again = _receive(found, downloads)
        digest = hashlib.md5(found.part, usedforsecurity=False).hexdigest()
        if digest == photo.checksum:
            try:
                found.damage = downloads.check(found.part, photo)
                found.body = found.part
            except BadImageError as error:
                found.fault, found.reason = DownloadFault.BAD_IMAGE, str(error)
            return
        if not again or (found.problem is None and digest == wrong):
            break
        if found.problem is None:
            wrong, found.part, found.etag = digest, b"", ""
    if found.problem is None:
        found.fault, found.reason = DownloadFault.MISMATCH, mismatch_reason(photo.checksum, wrong)
    else:
        found.fault = _FAULTS.get(type(found.problem), DownloadFault.UNREACHABLE)
        found.reason = str(found.problem)


def _receive(found: FetchedPhoto, downloads: Downloads) -> bool:
    """One try: the rest of the body where the source goes on from what is here, else all of it.

    Gives whether another try may help; opening is tried again by the source itself, so that its failure is final here.
    """
    pieces: list[Body] = []
    etag, opened, again, limit = "", False, True, downloads.settings.max_photo
    found.problem = None
    try:
        with downloads.open_photo(found.photo, len(found.part), found.etag) as body:
            opened, etag = True, body.etag
            pieces = [found.part] if body.start else []
            size = sum(map(len, pieces))
            for piece in body.chunks():
                pieces.append(piece)
                size += len(piece)
                found.received += len(piece)
                if size > limit:
                    raise errors.BodyTooLargeError(f"the photo is larger than {limit} bytes (EDGE_MAX_PHOTO_MB)")
                # A listed size may be wrong; what memory holds must not be.
                if size > found.held:
                    if not downloads.budget.admit(size - found.held):
                        listed = told(f"the {found.photo.size} bytes that are listed")
                        raise errors.BodyTooLargeError(
                            f"the photo is larger than {listed}, and there is no room for it"
                        )
                    found.held = size
    except NOT_ABOUT_ONE_PHOTO:
        raise
    except errors.UpstreamError as error:
        found.problem, again = error, opened and error.retryable
        if isinstance(error, errors.BodyTooLargeError):
            pieces = []
    found.part, found.etag = pieces[0] if len(pieces) == 1 else b"".join(pieces), etag
    return again


def from_head_office(api: HeadOfficeApi, store_id: str) -> OpenPhoto:
    """Photos over the head office's API."""
    return lambda photo, start, etag: api.open_photo(photo.photo_id, store_id, start=start, etag=etag)


def from_bucket(place: S3Place, settings: EdgeSettings) -> "BucketPhotos":
    """Photos straight from the head office's bucket; close it at the end."""
    return BucketPhotos(place, settings)


@dataclass
class InPieces:
    """A picture that is being read from its first byte on."""

    chunks: Callable[[], Iterator[Body]]
    start: int = 0
    etag: str = ""


class BucketPhotos:
    """The photos of a bucket by their object keys, each asked for byte for byte.

    Only the store's own word says that an object is missing, and that never means that the photo is gone.
    """

    def __init__(self, place: S3Place, settings: EdgeSettings) -> None:
        seconds = settings.call_deadline
        self._place, self._most = place, settings.max_photo
        self._objects = open_objects(place, tries=settings.tries, seconds=seconds, timeout=timedelta(seconds=seconds))
        self._client = s3_client(place)

    @contextmanager
    def __call__(self, photo: Photo, start: int, etag: str) -> Iterator[OpenBody]:
        """Open a photo."""
        place, client = self._place, self._client
        where = place_of(f"{place.endpoint_url}/{place.bucket}/{photo.object_key}")
        if not photo.object_key:
            raise where.error(ObjectMissingError, told("the head office lists the photo without an object key"))
        pieces = _quickly(self._objects, photo, self._most) if is_plain(photo.object_key) else None
        if pieces is None:
            try:
                body = client.get_object(Bucket=place.bucket, Key=photo.object_key)["Body"]
            except ClientError as error:
                raise _meaning(error, lacks_object(client, place.bucket, error), place, where) from None
            except BotoCoreError as error:
                what = told(f"the bucket does not answer ({type(error).__name__})")
                raise where.error(errors.UnavailableError, what) from None
            pieces = body.iter_chunks(_CHUNK)

        def chunks() -> Iterator[Body]:
            try:
                for piece in pieces:
                    yield memoryview(piece)
            except Exception as error:  # noqa: BLE001 - of two libraries and those below them
                what = told(f"the object broke off ({type(error).__name__})")
                raise where.error(errors.TruncatedBodyError, what) from None

        yield InPieces(chunks)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _quickly(store: S3Store, photo: Photo, most: int) -> Iterable[Any] | None:
    """The pieces of an object, one where it is as large as listed and as large as allowed.

    None when it was not given, whatever the reason.
    """
    try:
        found = store.get(photo.object_key)
        # Room for the listed size is reserved; any other comes in pieces, so that it can be cut off.
        if found.meta["size"] == photo.size <= most:
            return (whole.bytes() for whole in (found,))
        return found.stream(min_chunk_size=_CHUNK)
    except Exception:  # noqa: BLE001 - the other client is asked, whose errors are told apart
        return None


def _meaning(error: ClientError, missing: bool, place: S3Place, where: Place) -> errors.UpstreamError:
    """What the bucket's refusal of one object means; missing: it proves that there is no such object."""
    code = error_code(error)
    if missing:
        return where.error(ObjectMissingError, told(f"the bucket has no such object ({code})"))
    kind: type[errors.UpstreamError] = errors.UnavailableError
    if is_of_all(error):
        kind = errors.CredentialsError if code in _OF_KEYS else BucketUnfitError
    return where.error(kind, said_of(error, place.endpoint_url, place.bucket))
