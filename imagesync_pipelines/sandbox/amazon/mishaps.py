"""Faults in the words of Amazon, beside the general ones of sandbox/faults.py.

Those of images take the id of a picture, without one any image meets them; those of the catalogue an operation.
"""

import json
from collections.abc import Callable

from imagesync_pipelines.sandbox.amazon.catalogue import SEARCH
from imagesync_pipelines.sandbox.amazon.hosts import IMAGE, TINY_GIF
from imagesync_pipelines.sandbox.faults import HTML_PAGE, FaultKind, WireFault, answer, latency


def _of_image(fault: WireFault) -> Callable[..., WireFault]:
    return lambda picture_id="": fault.at(IMAGE, picture_id)


def _of_catalogue(status: int, code: str, message: str) -> Callable[..., WireFault]:
    body = json.dumps({"errors": [{"code": code, "message": message, "details": ""}]})
    return lambda operation=SEARCH: answer(status, body, "application/json").at(operation)


forbidden_image = _of_image(answer(403, "", "text/plain"))  # as after some time
missing_image = _of_image(answer(404, b"", "image/jpeg"))  # though it is listed
unavailable_image = _of_image(answer(503, "Service Unavailable", "text/plain"))
tiny_image = _of_image(answer(200, TINY_GIF, "image/gif"))  # a GIF of one pixel, as the legacy addresses give it
truncated_image = _of_image(WireFault(FaultKind.TRUNCATED))
quota_exceeded = _of_catalogue(429, "QuotaExceeded", "You exceeded your quota for the requested resource.")
internal_failure = _of_catalogue(500, "InternalFailure", "We encountered an internal error. Please try again.")
token_refused = _of_catalogue(403, "Unauthorized", "Access to requested resource is denied.")  # whatever the token


def html_image(picture_id: str = "", content_type: str = "text/html; charset=utf-8") -> WireFault:
    """A 200 with a page of HTML, which may say that it is an image."""
    return answer(200, HTML_PAGE, content_type).at(IMAGE, picture_id)


def slow_image(seconds: float, picture_id: str = "") -> WireFault:
    """An image that comes late."""
    return latency(seconds).at(IMAGE, picture_id)
