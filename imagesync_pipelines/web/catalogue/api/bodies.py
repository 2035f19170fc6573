"""Bodies of requests: how large they may be, and that they are JSON."""

from email.message import Message

from fastapi import Depends, Request

from imagesync_pipelines.web.catalogue.api.problems import ApiRefusedError

LARGEST_BODY = 256 * 1024


def json_only(request: Request) -> None:
    """Refuse a body that does not say that it is JSON: a browser sends others across sites without asking."""
    told = Message()
    told["Content-Type"] = request.headers.get("Content-Type", "")
    if told.get_content_type() != "application/json":
        raise ApiRefusedError(415, "Send the body as JSON, with Content-Type: application/json.")


JSON_BODY = Depends(json_only)
"""For the dependencies of a route that takes a body."""
