"""The whole image database: its records in the order of the table, deterministic from a seed."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from zlib import crc32

import orjson

from imagesync_pipelines.sandbox.answers import SandboxError
from imagesync_pipelines.sandbox.image_db.pictures import MediaPicture, file_id_of, pictures_of
from imagesync_pipelines.sandbox.image_db.products import PARENTS, VARIANTS, Products, build_products
from imagesync_pipelines.sandbox.image_db.records import (
    DESKTOP,
    FOLDER,
    LAST_FILE_ID,
    SPECIALS,
    UPLOAD,
    Record,
    Workshop,
    apply_specials,
)

RECORDS = 2489
DESKTOP_SHARE = 1900 / 2489
DESKTOP_FROM = datetime(2023, 5, 2, 7, tzinfo=UTC)
DESKTOP_DAYS = 25
LATER_FROM = datetime(2023, 6, 1, 7, tzinfo=UTC)
LATER_DAYS = 870
LARGEST_STOCK = 10**9


class CatalogueError(SandboxError):
    """A record that was asked for is not there; the message names it."""


class ImageCatalogue:
    """The records and the ERP's products. Safe between threads; every choice comes from the seed."""

    def __init__(self, seed: int, products: Products, workshop: Workshop, rows: list[bytes]) -> None:
        self.seed = seed
        self.products = products
        self.workshop = workshop
        self.lock = threading.RLock()
        self._rows = rows
        self._pictures: dict[str, MediaPicture] | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def records(self) -> list[Any]:
        """Every record in table order, parsed; media URLs are below MEDIA_ROOT."""
        with self.lock:
            return [orjson.loads(row) for row in self._rows]

    def rows(self, start: int, stop: int, shaken_by: int | None = None) -> tuple[int, list[bytes]]:
        """The count and the rows [start, stop) as JSON; `shaken_by` swaps some rows of the table for this reading."""
        with self.lock:
            rows = self._rows
            if shaken_by is not None:
                rows = list(rows)
                rng = Random(self.seed * 1_000_003 + shaken_by)
                for _ in range(max(1, len(rows) // 50) if len(rows) > 1 else 0):
                    one, other = rng.randrange(len(rows)), rng.randrange(len(rows))
                    rows[one], rows[other] = rows[other], rows[one]
            return len(rows), rows[start:stop]

    def file_ids(self) -> list[int]:
        """The file_id of every record that has a whole number there, in table order."""
        return [file_id for record in self.records() if (file_id := file_id_of(record)) is not None]

    def record(self, file_id: int) -> Record:
        """The record of a file_id, as a copy; raises CatalogueError."""
        with self.lock:
            found: Record = orjson.loads(self._rows[self._place(file_id)])
            return found

    def insert(self, record: object, position: int) -> None:
        """Put a record, odd ones too, at a place of the table."""
        with self.lock:
            self._rows.insert(position, orjson.dumps(record))
            self._pictures = None

    def replace(self, file_id: int, record: Record) -> None:
        """Write a changed record; the URLs that it no longer has are gone."""
        with self.lock:
            self._rows[self._place(file_id)] = orjson.dumps(record)
            self._pictures = None

    def remove(self, file_id: int) -> Record:
        """Take a record out of the table and give it; raises CatalogueError."""
        with self.lock:
            removed: Record = orjson.loads(self._rows.pop(self._place(file_id)))
            self._pictures = None
            return removed

    def reorder(self, rng: Random) -> None:
        """Put all rows into another order, that then stays."""
        with self.lock:
            rng.shuffle(self._rows)

    def picture(self, name: str) -> MediaPicture | None:
        """What the media file of this name shows; None when no record has it (any more)."""
        with self.lock:
            if self._pictures is None:
                self._pictures = {}
                for row in self._rows:
                    self._pictures.update(pictures_of(orjson.loads(row)))
            return self._pictures.get(name)

    def _place(self, file_id: int) -> int:
        marker = b'"file_id":%d,' % file_id
        for place, row in enumerate(self._rows):
            if marker in row and file_id_of(orjson.loads(row)) == file_id:
                return place
        raise CatalogueError(f"no record has the file_id {file_id}")


def build_catalogue(
    seed: int = 1,
    records: int = RECORDS,
    parents: int | None = None,
    variants: int | None = None,
    last_file_id: int = LAST_FILE_ID,
) -> ImageCatalogue:
    """Make a catalogue; parents and variants keep the real proportion to the records unless they are given.

    last_file_id: no file_id is larger, unless there are too many records for that.
    The same arguments give the same catalogue. Proportions and rare cases: sections 3, 3.1 and 4.
    """
    rng = Random(seed)
    parents = max(1, round(records * PARENTS / RECORDS)) if parents is None else parents
    variants = max(1, round(parents * VARIANTS / PARENTS)) if variants is None else variants
    products = build_products(rng, parents, variants)
    workshop = Workshop(rng, products, max(last_file_id, records * 20))
    chosen = dict.fromkeys(rng.sample(range(records), min(records, SPECIALS)))
    special: dict[int, Record] = {}
    rows: list[bytes] = []
    for nth, (imported_at, source) in enumerate(_arrivals(rng, records)):
        record = workshop.record(imported_at, source)
        if nth in chosen:
            special[nth] = record
        rows.append(orjson.dumps(record))
    apply_specials(workshop, [special[nth] for nth in chosen])
    for nth, record in special.items():
        rows[nth] = orjson.dumps(record)
    rng.shuffle(rows)
    return ImageCatalogue(seed, products, workshop, rows)


def _arrivals(rng: Random, records: int) -> list[tuple[datetime, str]]:
    """When each record came and from where: three quarters in one month from the desktop app, the rest later."""
    desktop = round(records * DESKTOP_SHARE)
    moments = []
    for nth in range(records):
        start, days = (DESKTOP_FROM, DESKTOP_DAYS) if nth < desktop else (LATER_FROM, LATER_DAYS)
        moment = start + timedelta(microseconds=rng.randrange(days * 86_400_000_000))
        source = DESKTOP if nth < desktop else rng.choices((FOLDER, UPLOAD), (13, 4))[0]
        moments.append((moment, source))
    return sorted(moments)


def drift_stock(records: Sequence[Any], seed: int, call: int) -> None:
    """Move every known stock by -2 to 2, differently on every call: stock is never the same twice (contract trap 5).

    An absurd stock stays as it is: moved past 64 bits it could not be sent.
    """
    for record in records:
        links = record.get("articles") if isinstance(record, dict) else None
        for link in links if isinstance(links, list) else ():
            if isinstance(link, dict) and type(link.get("stock")) is int and abs(link["stock"]) <= LARGEST_STOCK:
                link["stock"] += crc32(f"{seed}/{call}/{link.get('number')}".encode("utf-8", "replace")) % 5 - 2
