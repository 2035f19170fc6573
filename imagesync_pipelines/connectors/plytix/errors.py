"""What Plytix and Amazon can answer instead of what was asked, as named errors.

A write whose answer was lost is errors.AnswerLostError, in every connector.
"""

# Kinds are named after what happened, as in "except ImageRefusedError".

from imagesync_pipelines.upstream.errors import UpstreamError


class HourSpentError(UpstreamError):
    """The account's calls are used up for longer than a run waits; nothing was sent. `retry_after`: seconds until then.

    Not the fault of any product: the run stops here, keeps what is done, and the next one goes on.
    """


class ImageRefusedError(UpstreamError):
    """Plytix would not take this image: it cannot reach the URL, or what came is no picture. The others go on."""


class ProductUnfitError(UpstreamError):
    """Plytix has no product with this id, or the product has no attribute with the label of the gallery."""


class AssetGoneError(UpstreamError):
    """Plytix has no asset with this id, so the picture must be uploaded again."""


class WriteRefusedError(UpstreamError):
    """Plytix refused to change this product (a full gallery, for one); its own words are in the message."""


class NotAllowedError(UpstreamError):
    """403: this account may not do that; a new token would change nothing."""


class SearchRefusedError(UpstreamError):
    """Plytix does not understand a search; its own words are in the message."""


class BadImageUrlError(ValueError):
    """A link that addresses no picture of Amazon by its id; the text says why, in a few words."""


class MappingError(ValueError):
    """A mapping file that cannot be used at all; one sentence with the file, what is wrong and what to do."""

    retryable = False
