"""Photos, plans and a source of bytes made up for the tests of writing; no HTTP."""

import hashlib
import io
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple

import orjson
import pandas as pd
import sqlalchemy as sa
from PIL import Image

from imagesync_pipelines.connectors.edge.model import Photo, fingerprint
from imagesync_pipelines.connectors.edge.planning import payload_of, plan_photos
from imagesync_pipelines.connectors.edge.primaries import Payloads
from imagesync_pipelines.connectors.edge.settings import MEGABYTE, EdgeSettings
from imagesync_pipelines.connectors.edge.store import StoreDatabase
from imagesync_pipelines.storage.quarantine import QuarantineItem
from imagesync_pipelines.sync.model import DeletionLimits, Proof, Scope
from imagesync_pipelines.upstream.retries import Timing

START = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)
NO_LIMITS = DeletionLimits(share=1, count=10**6, bare=10**6, floor=10**6)
PROVEN = Scope(None, Proof(1, complete=True, reason=""))
PARTIAL = Scope(None, None)


@cache
def picture(seed: int, kind: str = "JPEG") -> bytes:
    """A small real picture, the same for the same seed."""
    buffer = io.BytesIO()
    Image.frombytes("RGB", (24, 16), hashlib.shake_256(str(seed).encode()).digest(24 * 16 * 3)).save(buffer, kind)
    return buffer.getvalue()


def some_id(kind: str, number: int) -> str:
    """The same UUID for the same kind and number."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{number}"))


def photo(number: int, body: bytes | None = None, **fields: Any) -> Photo:
    """The photo of product `number`, listed as HO lists it; `fields` replace what is made up."""
    body = picture(number) if body is None else body
    product_id = fields.pop("product_id", some_id("product", number))
    values: dict[str, Any] = {
        "photo_id": some_id("photo", number),
        "product_id": product_id,
        "product_sku": f"{number:08d}",
        "product_name": f"Product “{number}”",
        "object_key": f"products/{product_id}/primary.jpg",
        "filename": f"Menu_Image_{number}.jpg",
        "size": len(body),
        "content_type": "image/jpeg",
        "checksum": hashlib.md5(body).hexdigest(),
        "version": 1,
        "is_primary": True,
        "sort_order": 0,
        "updated_at": START + timedelta(minutes=number),
        "image_url": "",
    }
    return Photo(**{**values, **fields})


def mirror_of(photos: Sequence[Photo]) -> pd.DataFrame:
    """The mirror's frame of these photos, as storage/mirror.py reads it for planning."""
    rows = [
        (
            *(one.photo_id, one.product_id, fingerprint(one), one.checksum),
            *(str(one.is_primary).lower(), one.updated_at.isoformat(), one.size, one.sort_order),
        )
        for one in photos
    ]
    texts = ["key", "group_key", "fingerprint", "checksum", "is_primary", "updated_at"]
    numbers = ["size", "sort_order"]
    types = {**dict.fromkeys(texts, "str"), **dict.fromkeys(numbers, "int64")}
    return pd.DataFrame(rows, columns=[*texts, *numbers]).astype(types)


def payloads_of(photos: Sequence[Photo]) -> Payloads:
    """Looks up these photos, as storage/mirror.py does."""

    def look_up(keys: Sequence[str]) -> pd.DataFrame:
        rows = [(one.photo_id, orjson.dumps(one._asdict()).decode()) for one in photos if one.photo_id in set(keys)]
        return pd.DataFrame(rows, columns=["key", "payload"], dtype="str")

    return look_up


class Made(NamedTuple):
    """A plan with its payload, as they are stored."""

    plan: pd.DataFrame
    payload: list[pd.DataFrame]


def made_of(photos: Sequence[Photo], current: pd.DataFrame, scope: Scope) -> Made:
    """The plan of these photos over what a store has; no deletion_limits."""
    planned = plan_photos(mirror_of(photos), current, scope, NO_LIMITS, max_bytes=10**7)
    return Made(planned.plan, list(payload_of(planned.written, payloads_of(photos))))


def settings_of(
    *,
    budget: int = 64 * MEGABYTE,
    max_photo: int = 50 * MEGABYTE,
    pace_seconds: float = 0.0,
    concurrency: int = 5,
    rows_per_commit: int = 100,
) -> EdgeSettings:
    """How photos are fetched; sizes in bytes."""
    return EdgeSettings(
        _env_file=None,
        memory_budget_mb=budget / MEGABYTE,
        max_photo_mb=max_photo / MEGABYTE,
        pace_ms=pace_seconds * 1000,
        concurrency=concurrency,
        rows_per_commit=rows_per_commit,
    )


@dataclass
class Body:
    """What a source sends for one download; an exception among the pieces is raised in its place."""

    pieces: Sequence[bytes | Exception]
    start: int = 0
    etag: str = ""

    def chunks(self) -> Iterator[bytes]:
        """The pieces."""
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


@dataclass
class Source:
    """Photos by id; what `answers` has for an id comes before, one per download, errors to be raised included."""

    bodies: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, list[Exception | Body]] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)
    asked: list[tuple[int, str]] = field(default_factory=list)
    before: Callable[[Photo], None] = lambda photo: None

    @contextmanager
    def open(self, photo: Photo, start: int, etag: str) -> Iterator[Body]:
        """Open a download."""
        self.before(photo)
        self.opened.append(photo.photo_id)
        self.asked.append((start, etag))
        waiting = self.answers.get(photo.photo_id)
        answer: Exception | Body = waiting.pop(0) if waiting else Body([self.bodies[photo.photo_id]])
        if isinstance(answer, Exception):
            raise answer
        yield answer


@dataclass
class Basket:
    """A quarantine in memory."""

    items: dict[str, QuarantineItem] = field(default_factory=dict)

    def put(self, items: Sequence[QuarantineItem]) -> None:
        """Put items in."""
        self.items |= {item.key: item for item in items}

    def list(self) -> Sequence[QuarantineItem]:
        """Everything that is in."""
        return tuple(self.items.values())

    def clear(self, keys: Any) -> None:
        """Take items out."""
        for key in keys:
            self.items.pop(key, None)


def no_waiting() -> Timing:
    """Time that passes without anybody waiting."""
    return Timing(sleep=lambda seconds: None)


def rows_of(database: StoreDatabase, columns: str = "*") -> Mapping[str, Mapping[str, Any]]:
    """The rows of a store's table by id; `columns` as in a SELECT."""
    with database.engine.connect() as connection:
        found = connection.execute(sa.text(f"SELECT id::text AS key, {columns} FROM {database.table}"))
        return {row.key: dict(row._mapping) for row in found}


def run_sql(database: StoreDatabase, statement: str, **values: Any) -> None:
    """Change a store's database behind our back."""
    with database.engine.begin() as connection:
        connection.execute(sa.text(statement), values)
