"""Getting what an address of Amazon's shows, out of the sandbox: what the stand-in of Plytix downloads with.

What belongs here: leading Amazon's host names to the local image host. What does not: the careful fetch of this project
(upstream): a stand-in of somebody else's server is not to share our mistakes.
"""

from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import requests

from imagesync_pipelines.sandbox.serving import LOOPBACK

ALIASES = (
    "m.media-amazon.com",
    "images-na.ssl-images-amazon.com",
    "images-eu.ssl-images-amazon.com",
    "images-fe.ssl-images-amazon.com",
    "ecx.images-amazon.com",
    "g-ecx.images-amazon.com",
)
SECONDS, REDIRECTS = 30, 6


@dataclass(frozen=True)
class Answer:
    """What came from an address, redirects followed; `content_type` is what the host claims."""

    status: int
    content_type: str
    body: bytes


def fetch_from(images_url: str, url: str) -> Answer:
    """Get an address of Amazon's from the image host at `images_url`, or any address on loopback.

    Raises OSError (as requests does) when no whole answer came, and for every other host: nothing leaves this machine.
    """
    for _ in range(REDIRECTS):
        answer = requests.get(_local(images_url, url), timeout=SECONDS, allow_redirects=False)
        if not answer.is_redirect:
            return Answer(answer.status_code, answer.headers.get("Content-Type", ""), answer.content)
        url = urljoin(url, answer.headers["Location"])
    raise OSError(f"{url}: too many redirects")


def _local(images_url: str, url: str) -> str:
    """Where in the sandbox an address is; raises OSError for one that is not in it."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        raise OSError(f"{url} is not an address") from error
    if host in ALIASES:
        query = f"?{parts.query}" if parts.query else ""
        return f"{images_url}{parts.path}{query}"
    if host in (LOOPBACK, "localhost"):
        return url
    raise OSError(f"{host} is not in the sandbox")
