"""Where the bytes of photos come from: the head office's API, or its bucket directly (EDGE_BYTES_FROM).

What belongs here: opening one photo at either. What does not: proving what came (downloads.py), the API itself
(api.py). The bucket is read with obstore: boto3 costs several times the processor time (benchmarks/README.md).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from imagesync_pipelines.connectors.edge.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.bodies import CONNECT_SECONDS
from imagesync_pipelines.connectors.edge.downloads import OpenPhoto, PhotoBody
from imagesync_pipelines.connectors.edge.errors import ObjectMissingError
from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.storage.objects import S3Place
from imagesync_pipelines.upstream.answers import Place, place_of
from imagesync_pipelines.upstream.errors import CredentialsError, TruncatedBodyError, UnavailableError

if TYPE_CHECKING:
    # It is in obstore's types only.
    from obstore import GetResult

_CHUNK = 1024 * 1024


def from_head_office(api: HeadOfficeApi, store_id: str) -> OpenPhoto:
    """Photos over the head office's API."""

    @contextmanager
    def open_photo(photo: Photo, start: int, etag: str) -> Iterator[PhotoBody]:
        with api.open_photo(photo.photo_id, store_id, start=start, etag=etag) as body:
            yield body

    return open_photo


def from_bucket(place: S3Place, settings: EdgeSettings) -> OpenPhoto:
    """Photos straight from the head office's bucket, by their object keys.

    A bucket that does not let us list answers 403 for a key that is not there, so neither answer says more than that
    the object is missing; it never means that the photo is gone.
    """
    store = S3Store(
        place.bucket,
        endpoint=place.endpoint_url,
        region=place.region,
        access_key_id=place.access_key,
        secret_access_key=place.secret_key.get_secret_value(),
        virtual_hosted_style_request=False,
        client_options={
            "allow_http": place.endpoint_url.startswith("http://"),
            "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
            "timeout": timedelta(seconds=settings.call_deadline),
        },
        retry_config={"max_retries": settings.tries - 1, "retry_timeout": timedelta(seconds=settings.call_deadline)},
    )

    @contextmanager
    def open_photo(photo: Photo, start: int, etag: str) -> Iterator[PhotoBody]:
        where = place_of(f"{place.endpoint_url}/{place.bucket}/{photo.object_key}")
        if not photo.object_key:
            raise where.error(ObjectMissingError, "the head office lists the photo without an object key")
        try:
            found = store.get(photo.object_key)
        except FileNotFoundError:
            raise where.error(ObjectMissingError, "the bucket has no such object") from None
        except (PermissionDeniedError, UnauthenticatedError) as error:
            # The store's answer is in the text; it names no secret.
            if "AccessDenied" in str(error):
                raise where.error(ObjectMissingError, "the bucket does not give the object (AccessDenied)") from None
            what = "the bucket refuses the keys; check IMAGESYNC_S3_ACCESS_KEY and IMAGESYNC_S3_SECRET_KEY"
            raise where.error(CredentialsError, what) from None
        except (BaseError, OSError) as error:
            raise where.error(UnavailableError, f"the bucket does not answer ({type(error).__name__})") from None
        yield _Object(found, where)

    return open_photo


@dataclass(frozen=True)
class _Object:
    """An object that is being read, from its first byte on."""

    found: "GetResult"
    where: Place
    start: int = 0
    etag: str = ""

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they come. Raises TruncatedBodyError when they break off."""
        try:
            for piece in self.found.stream(min_chunk_size=_CHUNK):
                yield bytes(piece)
        except (BaseError, OSError) as error:
            what = f"the object broke off ({type(error).__name__})"
            raise self.where.error(TruncatedBodyError, what) from None
