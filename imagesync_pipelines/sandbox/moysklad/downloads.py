"""The first step to an image's bytes: the API answers with an address on another host (contract section 7.5).

What belongs here: that endpoint. What does not: the other host (hosts.py).
"""

from imagesync_pipelines.sandbox.moysklad.answers import Answer, refused
from imagesync_pipelines.sandbox.moysklad.links import USUAL_SECONDS
from imagesync_pipelines.sandbox.moysklad.office import Ask

EXPIRATION = "x-lognex-download-expiration-seconds"
FOUND = 302


def download(ask: Ask) -> Answer:
    """GET /download/{image}: nothing but the `Location`, which ends after a minute unless a header asks for more."""
    return Answer(FOUND, headers={"Location": _location(ask)})


def head(ask: Ask) -> Answer:
    """HEAD /download/{image}: documented nowhere; it tells no size."""
    status = ask.office.switches.head_of_download
    return Answer(status, headers={"Location": _location(ask)} if status == FOUND else {})


def post(ask: Ask) -> Answer:
    """POST /download/{image}."""
    raise refused(44000)


def put(ask: Ask) -> Answer:
    """PUT /download/{image}."""
    raise refused(44001)


def delete(ask: Ask) -> Answer:
    """DELETE /download/{image}."""
    raise refused(44002)


def _location(ask: Ask) -> str:
    account, links = ask.account, ask.office.links
    image = account.images.get(ask.ids["image"])
    if image is None or not (account.shown[image.id] or ask.office.switches.old_images_downloadable):
        raise refused(1021)
    if ask.query.get("miniature") == "true":
        account.visited.add(image.id)
        return links.miniature(account, image)
    seconds = (ask.headers.get(EXPIRATION) or (str(USUAL_SECONDS),))[0]
    return links.original(account, image, int(seconds) if seconds.isdecimal() else USUAL_SECONDS)
