"""The errors that only this connector knows: of the API's pages, and of what was read and is planned from."""

from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.upstream.errors import UpstreamError


class BadPageError(UpstreamError):
    """A body that is no page of the image database; the message says what is wrong with it."""


class PastTheEndError(Exception):
    """The API says that it has no page of this number; the end of the data, not a failure."""


class BatchMissingError(ImagesyncError):
    """Records to plan from, or of a plan that is carried out, are not there; the message says what to run."""

    retryable = False


class PagesFailedError(ImagesyncError):
    """Pages that a run asked for could not be read; the message names the first, with its reason."""


class UnknownSkuError(ImagesyncError):
    """A product was asked for that the ERP does not have; the message names it."""

    retryable = False
