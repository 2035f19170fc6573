"""The exports as files below the storage root, for systems that fetch a file and ask nothing."""

from collections.abc import Iterator
from dataclasses import dataclass

import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.products.exports.formats import Format, kind_of
from imagesync_pipelines.products.exports.rows import Batches, ExportRow, read_rows, snapshot
from imagesync_pipelines.storage.files import write_stream

FOLDER = "exports"


@dataclass(frozen=True)
class Exported:
    """What was written: rows in each file, and the size of each in bytes by its path below the storage root."""

    rows: int
    sizes: dict[str, int]


def write_exports(engine: sa.Engine, storage: UPath, *, own_images_first: bool = False) -> Exported:
    """Write every format; a file is replaced whole or not at all."""
    sizes: dict[str, int] = {}
    with snapshot(engine) as connection:
        for wanted in Format:
            kind, counted = kind_of(wanted), Counted(read_rows(connection, own_images_first=own_images_first))
            path = f"{FOLDER}/{kind.file_name}"
            sizes[path] = write_stream(storage / path, kind.write(counted))
    return Exported(counted.rows, sizes)


class Counted:
    """Batches that count their rows as they are taken."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.rows = 0

    def __iter__(self) -> Iterator[list[ExportRow]]:
        return self

    def __next__(self) -> list[ExportRow]:
        batch = next(self._batches)
        self.rows += len(batch)
        return batch
