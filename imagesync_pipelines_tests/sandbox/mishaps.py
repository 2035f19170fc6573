"""Faults in the words of the systems that are played, beside the general ones of faults.py; other places with `.at`.

Faults of images take the id of a picture or file: without one any image meets them.
"""

import json
from collections.abc import Callable
from functools import partial

import orjson

from imagesync_pipelines.sandbox.amazon.catalogue import SEARCH
from imagesync_pipelines.sandbox.amazon.hosts import IMAGE, TINY_GIF
from imagesync_pipelines.sandbox.faults import HTML_PAGE, WireFault, answer, truncated
from imagesync_pipelines.sandbox.head_office.photos import bomb
from imagesync_pipelines.sandbox.head_office.watching import DOWNLOAD
from imagesync_pipelines.sandbox.moysklad.answers import JSON, refused

# Amazon.


def _of_image(fault: WireFault) -> Callable[..., WireFault]:
    return lambda picture_id="": fault.at(IMAGE, picture_id)


def _of_catalogue(status: int, code: str, message: str) -> Callable[..., WireFault]:
    body = json.dumps({"errors": [{"code": code, "message": message, "details": ""}]})
    return lambda operation=SEARCH: answer(status, body, "application/json").at(operation)


forbidden_image = _of_image(answer(403, "", "text/plain"))  # as after some time
missing_image = _of_image(answer(404, b"", "image/jpeg"))  # though it is listed
unavailable_image = _of_image(answer(503, "Service Unavailable", "text/plain"))
tiny_image = _of_image(answer(200, TINY_GIF, "image/gif"))  # a GIF of one pixel, as the legacy addresses give it
truncated_image = _of_image(truncated())
quota_exceeded = _of_catalogue(429, "QuotaExceeded", "You exceeded your quota for the requested resource.")
internal_failure = _of_catalogue(500, "InternalFailure", "We encountered an internal error. Please try again.")
token_refused = _of_catalogue(403, "Unauthorized", "Access to requested resource is denied.")  # whatever the token


def html_image(picture_id: str = "", content_type: str = "text/html; charset=utf-8") -> WireFault:
    """A 200 with a page of HTML, which may say that it is an image."""
    return answer(200, HTML_PAGE, content_type).at(IMAGE, picture_id)


# Head office.

EXPIRED_ANSWER = (
    '{"detail":"Given token not valid for any token type","code":"token_not_valid","messages":[{"token_class":'
    '"AccessToken","token_type":"access","message":"Token is invalid or expired"}]}'
)
ACCESS_DENIED = '<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>'
# A 401 as for an expired token, whatever the token.
token_expired = partial(answer, 401, EXPIRED_ANSWER, "application/json", WWW_Authenticate='Bearer realm="api"')
# A 403 as a proxy or a bucket policy gives it: XML, and not about the token.
forbidden = partial(answer, 403, ACCESS_DENIED, "application/xml")


def _download_failed(detail: str) -> Callable[[], WireFault]:
    body = {"status": "error", "message": "Internal server error", "detail": f"Failed to download image: {detail}"}
    return lambda: answer(500, json.dumps(body), "application/json").at(DOWNLOAD)


# A missing object, as the original reports it: a 500 that is permanent.
no_such_key = _download_failed(
    "S3 operation failed; code: NoSuchKey, message: Object does not exist, resource: /product-images, "
    "request_id: 0, host_id: 0"
)
# The object store is away: a 500 without NoSuchKey, which passes.
object_store_down = _download_failed("connection refused")


def html_photo(content_type: str = "image/jpeg") -> WireFault:
    """A download that is a page of HTML and says that it is a photo."""
    return answer(200, HTML_PAGE, content_type).at(DOWNLOAD)


def bomb_photo() -> WireFault:
    """A download that is a small PNG of far too many pixels."""
    return answer(200, bomb(), "image/png").at(DOWNLOAD)


# МойСклад.


def refusal(place: str, code: int, part: str = "", **numbers: object) -> WireFault:
    """The API refuses a call by code, whatever it is; `place` is `<account> <door>`, `part` an entity or image."""
    error = refused(code, "", **numbers)
    return answer(error.status_of(), orjson.dumps(error.body()), JSON).at(place, part)


file_storage_unavailable = partial(refusal, code=51007)  # the API cannot reach its storage
