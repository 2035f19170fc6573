"""What the original consists of: its parts, and the switches where the sources leave open how it behaves.

What belongs here: plain data. What does not: behaviour (app.py, rows.py, tokens.py).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa

from imagesync_pipelines.sandbox.head_office.original.tokens import Tokens
from imagesync_pipelines.storage.objects import S3Client

# The endpoint that the original puts into image_url: nobody but head office itself can reach it.
IMAGE_HOST = "http://localhost:9000"


class Order(StrEnum):
    """In which order a listing comes."""

    ARBITRARY = "arbitrary"  # by sort_order, which is 0 nearly everywhere; equal rows are shuffled for every call
    STORED = "stored"  # by sort_order; equal rows as the database has stored them: whatever is written moves to the end
    UPDATED_AT = "updated_at"  # by time; rows of the same time are shuffled for every call


class Stamps(StrEnum):
    """How `updated_at` is written; without a fraction when there is none."""

    OFFSET = "offset"  # 2026-02-03T04:14:24.796133+00:00
    ZULU = "zulu"  # 2026-02-03T04:14:24.796133Z


class MissingObject(StrEnum):
    """How the 500 of a missing object looks."""

    JSON = "json"
    PAGE = "page"


@dataclass
class OriginalSwitches:
    """How the original behaves where the sources differ; may be changed while it runs."""

    order: Order = Order.ARBITRARY
    stamps: Stamps = Stamps.OFFSET
    missing_object: MissingObject = MissingObject.JSON


@dataclass
class Original:
    """The parts of a running original."""

    engine: sa.Engine
    s3: S3Client
    bucket: str
    tokens: Tokens
    now: Callable[[], datetime]
    switches: OriginalSwitches
    calls: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_call(self) -> int:
        """The number of this call, for shuffling."""
        with self.lock:
            self.calls += 1
            return self.calls
