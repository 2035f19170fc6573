"""Faults in the words of head office, beside the general ones of sandbox/faults.py: expired tokens, bad photos."""

from functools import partial

from imagesync_pipelines.sandbox.faults import HTML_PAGE, WireFault, answer, server_error
from imagesync_pipelines.sandbox.head_office.photos import bomb
from imagesync_pipelines.sandbox.head_office.watching import DOWNLOAD

EXPIRED_ANSWER = (
    '{"detail":"Given token not valid for any token type","code":"token_not_valid","messages":[{"token_class":'
    '"AccessToken","token_type":"access","message":"Token is invalid or expired"}]}'
)
NO_SUCH_KEY = (
    '{"status":"error","message":"Internal server error","detail":"Failed to download image: S3 operation failed; '
    'code: NoSuchKey, message: Object does not exist, resource: /product-images, request_id: 0, host_id: 0"}'
)
ACCESS_DENIED = '<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>'
STORE_DOWN = (
    '{"status":"error","message":"Internal server error","detail":"Failed to download image: connection refused"}'
)
# A 401 as for an expired token, whatever the token; for another endpoint use `.at`.
token_expired = partial(answer, 401, EXPIRED_ANSWER, "application/json", WWW_Authenticate='Bearer realm="api"')
# A 403 as a proxy or a bucket policy gives it: XML, and not about the token.
forbidden = partial(answer, 403, ACCESS_DENIED, "application/xml")


def no_such_key() -> WireFault:
    """A download whose object is missing, as the original reports it: a 500 that is permanent."""
    return answer(500, NO_SUCH_KEY, "application/json").at(DOWNLOAD)


def object_store_down() -> WireFault:
    """A download while the object store is away: a 500 without NoSuchKey, which passes."""
    return answer(500, STORE_DOWN, "application/json").at(DOWNLOAD)


def html_photo(content_type: str = "image/jpeg") -> WireFault:
    """A download that is a page of HTML and says that it is a photo."""
    return answer(200, HTML_PAGE, content_type).at(DOWNLOAD)


def bomb_photo() -> WireFault:
    """A download that is a small PNG of far too many pixels."""
    return answer(200, bomb(), "image/png").at(DOWNLOAD)


def bad_gateways(times: int = 3) -> tuple[WireFault, ...]:
    """A burst of so many 500, 502 and 503 in turn, on any endpoint."""
    return tuple(server_error((500, 502, 503)[nth % 3]) for nth in range(times))
