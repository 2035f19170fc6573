"""The errors of talking to an outside system: one named class per kind, safe to log, to show and to pickle.

No error holds a request, an answer, a header or a query, so no error can leak a credential.
"""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from imagesync_pipelines.errors import RemoteError
from imagesync_pipelines.languages import told


@dataclass(eq=False, repr=False)
class UpstreamError(RemoteError):
    """A call to an outside system failed; `str` is one line for people: where, what, after how many attempts.

    host: name of the system, with its port when it is not the usual one; empty when the URL names none.
    path: the path without the query. status: HTTP status, or None when there was no answer.
    attempts: how often the call was made. retryable: the same call may succeed later.
    sent: the request may have reached the system. ambiguous: the call was not idempotent and may have had its effect
    although no good answer came.
    retry_after: seconds the other side asked us to wait, or None. excerpt: a few printable characters of the answer.
    """

    what: str
    _: KW_ONLY
    host: str = ""
    path: str = ""
    status: int | None = None
    attempts: int = 1
    retry_after: float | None = None
    excerpt: str = ""
    sent: bool = True
    ambiguous: bool = False
    retryable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Be an exception, which is pickled with what it was made of."""
        super().__init__(self.what)

    def __str__(self) -> str:
        """Give the whole line."""
        where = f"{self.host}{self.path}"
        said = self.what
        if self.excerpt:
            said = told(f"{said}; the answer begins: {self.excerpt}")
        if self.attempts > 1:
            said = told(f"{said} ({self.attempts} attempts)")
        return f"{where}: {said}" if where else said


class CredentialsError(UpstreamError):
    """The system refused our credentials (401, 403), or they cannot be sent at all; never tried again by itself."""


class NotFoundError(UpstreamError):
    """404 or 410: the system says that this very thing is not there."""


class RateLimitedError(UpstreamError):
    """429: too many calls; `retry_after` says what the system asked for."""

    retryable = True


class UnavailableError(UpstreamError):
    """No connection, no answer in time, or 500, 502, 503, 504."""

    retryable = True


class DeadlineExceededError(UpstreamError):
    """The call as a whole took longer than it may."""

    retryable = True


class TruncatedBodyError(UpstreamError):
    """The body ended before it was complete, or its compression is broken."""

    retryable = True


class AlteredBodyError(UpstreamError):
    """The body is longer than announced, or its checksum is not the one that the caller knows."""

    retryable = True


class MalformedJsonError(UpstreamError):
    """The body looks like JSON and is none: most often it was cut."""

    retryable = True


class NotJsonError(UpstreamError):
    """HTML, XML or something else came where JSON was expected."""


class BodyTooLargeError(UpstreamError):
    """The body, once decompressed, is larger than this call may hold."""


class RedirectRefusedError(UpstreamError):
    """A redirect to another origin, too many of them, or one on a call that changes something."""


class InsecureConnectionError(UpstreamError):
    """The certificate of the system could not be verified."""


class UrlRefusedError(UpstreamError):
    """A URL that is data points where we do not go: its form, its port, or an address that is not public."""


class BadAnswerError(UpstreamError):
    """Any other answer that is not the one asked for."""
