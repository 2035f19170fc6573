"""Photos fetched ahead of those who write them: bounded in number, pace and bytes, proven before they are handed on.

What belongs here: prefetching, the budget, MD5 over what was received, the full decode. What does not: where the bytes
come from (sources.py), what a bad photo means for its row (applying.py).
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from imagesync_pipelines.edge.model import Photo
from imagesync_pipelines.edge.settings import EdgeSettings


class PhotoBody(Protocol):
    """An open download: what the sender says it is, and its bytes as they come."""

    @property
    def content_type(self) -> str: ...
    def chunks(self) -> Iterator[bytes]: ...


OpenPhoto = Callable[[Photo], AbstractContextManager[PhotoBody]]


class Fault(StrEnum):
    """Why a photo was not fetched."""

    GONE = "gone"
    NO_OBJECT = "no object"
    MISMATCH = "checksum mismatch"
    BAD_IMAGE = "bad image"
    TOO_LARGE = "too large"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class Fetched:
    """What came of one download: the proven bytes, or a fault with its reason. received: bytes over the wire."""

    photo: Photo
    body: bytes | None
    fault: Fault | None
    reason: str
    received: int
    tries: int


@dataclass(frozen=True)
class DownloadPolicy:
    """How photos are fetched; sizes in bytes. pace_seconds lies between the starts of two downloads of the run."""

    concurrency: int = 5
    pace_seconds: float = 0.0
    budget: int = 64 * 1024 * 1024
    max_photo: int = 50 * 1024 * 1024
    tries: int = 3


def policy_of(settings: EdgeSettings) -> DownloadPolicy:
    """The policy that the settings ask for."""
    return DownloadPolicy(
        concurrency=settings.concurrency,
        pace_seconds=settings.pace_ms / 1000,
        budget=settings.memory_budget,
        max_photo=settings.max_photo,
    )
