"""Faults in the words of Amazon, beside the general ones of sandbox/faults.py.

What belongs here: ready answers of the image host and the catalogue. What does not: changes of listings (mutation.py).
"""

import json

from imagesync_pipelines.sandbox.amazon.catalogue import SEARCH
from imagesync_pipelines.sandbox.amazon.image_host import IMAGE, TINY_GIF
from imagesync_pipelines.sandbox.faults import HTML_PAGE, Fault, FaultKind, answer, latency


def forbidden_image(picture_id: str = "") -> Fault:
    """A 403 where an image was, as after some time; without an id on any image."""
    return answer(403, "", "text/plain").at(IMAGE, picture_id)


def missing_image(picture_id: str = "") -> Fault:
    """A 404 for an image that is listed."""
    return answer(404, b"", "image/jpeg").at(IMAGE, picture_id)


def unavailable_image(picture_id: str = "") -> Fault:
    """A 503 of the image host."""
    return answer(503, "Service Unavailable", "text/plain").at(IMAGE, picture_id)


def html_image(picture_id: str = "", content_type: str = "text/html; charset=utf-8") -> Fault:
    """A 200 with a page of HTML, which may say that it is an image."""
    return answer(200, HTML_PAGE, content_type).at(IMAGE, picture_id)


def tiny_image(picture_id: str = "") -> Fault:
    """A 200 with a GIF of one pixel, as the legacy addresses give it."""
    return answer(200, TINY_GIF, "image/gif").at(IMAGE, picture_id)


def truncated_image(picture_id: str = "") -> Fault:
    """An image whose second half does not come."""
    return Fault(FaultKind.TRUNCATED).at(IMAGE, picture_id)


def slow_image(seconds: float, picture_id: str = "") -> Fault:
    """An image that comes late."""
    return latency(seconds).at(IMAGE, picture_id)


def quota_exceeded(operation: str = SEARCH) -> Fault:
    """A 429 of the catalogue, without any word on how long to wait."""
    return _error(429, "QuotaExceeded", "You exceeded your quota for the requested resource.").at(operation)


def internal_failure(operation: str = SEARCH) -> Fault:
    """A 500 of the catalogue."""
    return _error(500, "InternalFailure", "We encountered an internal error. Please try again.").at(operation)


def token_refused(operation: str = SEARCH) -> Fault:
    """A 403 as for an access token that has expired, whatever the token."""
    return _error(403, "Unauthorized", "Access to requested resource is denied.").at(operation)


def _error(status: int, code: str, message: str) -> Fault:
    body = json.dumps({"errors": [{"code": code, "message": message, "details": ""}]})
    return answer(status, body, "application/json")
