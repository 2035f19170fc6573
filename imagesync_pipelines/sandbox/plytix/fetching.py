"""How the stand-in gets the file behind a URL, and what kind of file it takes it for (contract sections 5.1 and 5.6).

What belongs here: one GET as Plytix makes it, and the kinds it stores. What does not: storing (assets.py), and the
careful fetch of this project (upstream/fetch.py): a stand-in of somebody else's server is not to share our mistakes.
"""

import mimetypes
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol
from urllib.parse import unquote, urlsplit

import requests

from imagesync_pipelines.sandbox.plytix.answers import Refused

SECONDS = 30
_MAGIC = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"BM", "image/bmp"),
    (b"8BPS", "image/vnd.adobe.photoshop"),
    (b"%PDF-", "application/pdf"),
)
_EXECUTABLE = b"MZ"
_PAGES = (b"<!doctype html", b"<html")


class Fetched(Protocol):
    """What came from a URL, redirects followed. `content_type` is what the host claims."""

    @property
    def status(self) -> int:
        """The status of the last answer."""

    @property
    def content_type(self) -> str:
        """The Content-Type of the last answer."""

    @property
    def body(self) -> bytes:
        """The whole body."""


# Raises OSError (as requests does) when no whole answer came.
Fetch = Callable[[str], Fetched]


@dataclass(frozen=True)
class Page:
    """A `Fetched` of our own."""

    status: int
    content_type: str
    body: bytes


def fetch_over_http(url: str) -> Page:
    """Get a URL and follow its redirects; raises OSError when the host does not answer or the body is cut short."""
    with requests.Session() as session:
        # The sandbox's hosts are on loopback, where no proxy of this machine can reach.
        session.trust_env = False
        answer = session.get(url, timeout=SECONDS)
        return Page(answer.status_code, answer.headers.get("Content-Type", ""), answer.content)


def fetch_file(fetch: Fetch, url: str, bad_image_status: int) -> bytes:
    """The content behind a URL, or the error for a URL that gives no file."""
    if not _is_address(url):
        raise _bad_url(bad_image_status, "Not a valid URL.")
    try:
        page = fetch(url)
    except OSError as error:
        raise _bad_url(bad_image_status, "the file could not be downloaded") from error
    if page.status != HTTPStatus.OK:
        raise _bad_url(bad_image_status, f"the file could not be downloaded: {page.status}")
    if page.content_type.startswith("text/html") or is_page(page.body):
        raise _bad_url(bad_image_status, "the file type is not supported")
    return page.body


def name_in(url: str) -> str:
    """The file name that a URL gives: its last path segment, decoded; `+` stays `+`."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def content_type_of(content: bytes, filename: str) -> str | None:
    """What Plytix calls the content, by its first bytes, else by the name; None is a kind that it does not store."""
    if not content or content.startswith(_EXECUTABLE) or is_page(content):
        return None
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    by_magic = next((kind for magic, kind in _MAGIC if content.startswith(magic)), None)
    return by_magic or mimetypes.guess_type(filename)[0]


def is_page(content: bytes) -> bool:
    """Whether the content is a page of HTML, whatever it is called."""
    return content[:512].lstrip().lower().startswith(_PAGES)


def _is_address(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname)
    except ValueError:
        return False


def _bad_url(status: int, message: str) -> Refused:
    return Refused(status, "Schema validation error", (("url", message),))
