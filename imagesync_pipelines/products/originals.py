"""The bytes of an original, wherever it is: at an address, or in an account that a connector reads."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from urllib.parse import urlsplit

from imagesync_pipelines.imaging.errors import BadImageError, Fault
from imagesync_pipelines.languages import told
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.sync.connector import AT
from imagesync_pipelines.upstream.errors import DeadlineExceededError, UnavailableError
from imagesync_pipelines.upstream.fetch import Fetched, FetchPolicy, fetch_image

# What could not be had is not asked for again so soon: a page has many pictures, and people reload it.
FAILED_SECONDS, MOST_FAILED = 60.0, 10_000

ReadPicture = Callable[[str, str, str], bytes | None]
"""Connector.read_picture of a connector by its name; account and key follow."""


def fetch_original(url: str, policy: FetchPolicy, read: ReadPicture) -> Fetched:
    """What an address gives, or an account (sync.connector.picture_at). Raises UpstreamError, BadImageError."""
    if not url.startswith(AT):
        return fetch_image(url, policy)
    name, account, _, key = url.removeprefix(AT).split(":", 3)
    try:
        body = read(name, account, key)
    except StorageError as error:
        raise UnavailableError(f"the picture {key} of {account} cannot be read: {error}") from error
    except SettingsError as error:
        raise BadImageError(Fault.NO_IMAGE, told(f"the picture {key} of {account} cannot be read: {error}")) from error
    if body is None:
        raise BadImageError(Fault.NO_IMAGE, told(f"{account} has no picture {key}"))
    return Fetched(url, "", hashlib.sha256(body).hexdigest(), bytes(body))


@dataclass
class Failed:
    """What could not be had lately: addresses, and hosts that did not answer. Used from several threads."""

    clock: Callable[[], float] = time.monotonic
    _until: dict[str, float] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def note(self, url: str, error: Exception) -> None:
        """Note that an address failed, and its host when it is the host that did not answer."""
        until = self.clock() + FAILED_SECONDS
        with self._lock:
            if len(self._until) >= MOST_FAILED:
                self._until.clear()
            self._until[url] = until
            if isinstance(error, DeadlineExceededError) or (
                isinstance(error, UnavailableError) and error.status is None
            ):
                self._until[_host(url)] = until

    def knows(self, url: str) -> bool:
        """Whether an address or its host failed a moment ago."""
        with self._lock:
            return max(self._until.get(url, 0.0), self._until.get(_host(url), 0.0)) > self.clock()


def _host(url: str) -> str:
    if url.startswith(AT):
        return ":".join(url.split(":")[:3])
    try:
        return urlsplit(url).netloc.lower()
    except ValueError:
        return url
