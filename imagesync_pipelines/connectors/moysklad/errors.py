"""What МойСклад can answer instead of what was asked, as named errors (docs/contracts/moysklad.md).

A write whose answer was lost is errors.AnswerLostError, in every connector.
"""

from imagesync_pipelines.sync.identity import IdentityRefusedError
from imagesync_pipelines.upstream.errors import UpstreamError


class AccountStoppedError(UpstreamError):
    """Nothing more is asked of this account in this run; what is done stays done, and the next run goes on.

    Raised by itself where we stop of our own accord, far below what МойСклад bans an account for.
    """


class AccountRefusedError(AccountStoppedError):
    """The credentials of the account were refused, or the user has no access to the API (1056, 1061, 1048)."""


class AccountForbiddenError(AccountStoppedError):
    """This account may not do that: a permission or the tariff is missing (403, 1016 to 1018, 1045, 1075, 1070)."""


class StorageFullError(AccountStoppedError):
    """The account's storage is full (51003); its owner must make room."""


class ImagesRefusedError(UpstreamError):
    """МойСклад refused a write; its own words are in the message.

    code: МойСклад's number, None where it gave none. column: of the request's JSON, which is one line, from 1.
    element: index in the list that was sent. Both only where the answer tells.
    """

    code: int | None = None
    column: int | None = None
    element: int | None = None


class UnknownPathError(ImagesRefusedError):
    """The API does not know what was called (1002), so nothing was carried out."""


class ImageTooLargeError(ImagesRefusedError):
    """An image is larger than the account takes (51004). limit_bytes: the number that the answer names, or None."""

    limit_bytes: int | None = None


class NotAnImageError(ImagesRefusedError):
    """An image has no content, no file name, or is none that МойСклад takes (51001, 51002, 51005)."""


class TooLargeError(ImagesRefusedError):
    """The request is larger than 20 MB, has too many elements, or took too long (413, 1044, 2007, 2022, 1088)."""


class ChangedMeanwhileError(ImagesRefusedError):
    """Somebody changed the entity in the same moment (1065), or perhaps since we read it; read it, then write."""


class EntityGoneError(UpstreamError):
    """The account has no entity with this id any more (404, 1020, 1021, 1008)."""


class RowsMissingError(UpstreamError):
    """Rows were asked for and did not come, or not all of them; that never means that there are none."""


class SkippedOffError(Exception):
    """The account's mode is off: nothing of it is read or written, and that is no failure."""

    retryable = False


# What no entity can help: the run of the account ends with it.
FATAL = (AccountRefusedError, AccountForbiddenError, IdentityRefusedError)
