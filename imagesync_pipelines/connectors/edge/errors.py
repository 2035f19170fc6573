"""What the head office can answer instead of what was asked, as named errors.

What belongs here: the errors that only this connector knows. What does not: those of any HTTP call
(upstream/errors.py), of which these are kinds, so that a caller who does not care catches UpstreamError.
"""

# Kinds are named after what happened, as in "except PhotoGoneError".

from imagesync_pipelines.upstream.errors import UpstreamError


class PhotoGoneError(UpstreamError):
    """The head office has no photo with this id: its own word (404 "Photo not found"), so the id may be retired."""


class ObjectMissingError(UpstreamError):
    """The head office has the photo's row but not its bytes; permanent until somebody uploads it again."""


class StoreUnknownError(UpstreamError):
    """The head office does not know the store, or it is inactive; this says nothing about its photos."""


class NotAllowedError(UpstreamError):
    """403: this account may not read the store, or a proxy refuses; a new token would change nothing."""


class BadListingError(UpstreamError):
    """JSON came that is no page of a listing, or a listing that would never end."""
