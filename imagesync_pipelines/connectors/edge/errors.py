"""The errors that only this connector knows: of the head office, and of a store's database."""

# Kinds are named after what happened, as in "except PhotoGoneError".

from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.upstream.errors import CredentialsError, InsecureConnectionError, UpstreamError


class PhotoGoneError(UpstreamError):
    """The head office has no photo with this id: its own word (404 "Photo not found"), so the id may be retired."""


class ObjectMissingError(UpstreamError):
    """The head office has the photo's row but not its bytes; permanent until somebody uploads it again."""


class StoreUnknownError(UpstreamError):
    """The head office does not know the store, or it is inactive; this says nothing about its photos."""


class StoreNotAllowedError(UpstreamError):
    """403: this account may not read the store, or a proxy refuses; a new token would change nothing."""


class BucketUnfitError(UpstreamError):
    """The head office's bucket cannot be read at all: it is not there, in another region, or a clock is wrong."""


# Errors that every photo of the store would meet.
NOT_ABOUT_ONE_PHOTO = (
    CredentialsError,
    StoreNotAllowedError,
    StoreUnknownError,
    InsecureConnectionError,
    BucketUnfitError,
)


class BadListingError(UpstreamError):
    """JSON came that is no page of a listing, or a listing that would never end."""


class SourceGoneError(UpstreamError):
    """The source of the photos stopped giving any; the run ends, and the next one goes on."""

    retryable = True


class StoreNotReadyError(StorageError):
    """A store's table of photos lacks columns that a run needs; the message says what to run."""


class StoreUnreachableError(StorageError):
    """A store's database did not answer; nothing was changed there."""


class StoreFullError(StorageError):
    """The disk of a store's database is full; what was written stays."""
