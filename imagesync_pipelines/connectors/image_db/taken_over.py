"""What is taken over from an earlier reading: its record file, when it is whole and was read in the same way.

A record is its bytes, read by a version of this package under its settings. All of that is in the reading key, which is
kept with the file: records of another key are never taken over.
"""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from imagesync_pipelines.connectors.image_db.choosing import CHOICE_VERSION
from imagesync_pipelines.connectors.image_db.known import NOTHING_KNOWN, Column, KnownRecords, known_by

# Every module of ours, and every library, that has a part in what a record becomes; a test compares them with what a
# helper process loads.
MODULES = (
    *(f"imagesync_pipelines.connectors.image_db.{name}" for name in ("choosing", "choosing_columns", "columns")),
    *(f"imagesync_pipelines.connectors.image_db.{name}" for name in ("errors", "in_order", "known", "records")),
    "imagesync_pipelines.errors",
    "imagesync_pipelines.imaging.formats",
    "imagesync_pipelines.languages",
    *(f"imagesync_pipelines.languages.{name}" for name in ("current", "numbers", "texts", "told")),
    *(f"imagesync_pipelines.upstream.{name}" for name in ("answers", "canonical", "details", "errors", "redaction")),
)
# Rows that are handed on at once at least: the small groups of many runs would add up from file to file.
ROWS_AT_ONCE = 2_000
LIBRARIES = ("msgspec", "numpy", "orjson", "pyarrow", "pydantic", "pydantic-core", "typing-extensions")


@dataclass(frozen=True)
class KnownFile:
    """The records that are known by their bytes, and the file that they are in; None where nothing is known."""

    records: KnownRecords
    file: IO[bytes] | None

    def fingerprints(self) -> pa.ChunkedArray:
        """The fingerprints of all rows of the file."""
        return self._parquet().read(columns=["fingerprint"])["fingerprint"]

    def tables(self, rows: Column) -> Iterator[pa.Table]:
        """These rows of the file, in its order, some thousand at a time."""
        few: list[pa.Table] = []
        for table in self._parts(rows):
            few.append(table)
            if sum(map(len, few)) >= ROWS_AT_ONCE:
                yield pa.concat_tables(few)
                few = []
        if few:
            yield pa.concat_tables(few)

    def _parts(self, rows: Column) -> Iterator[pa.Table]:
        """These rows by row group: it is read once or not at all."""
        if not len(rows):
            return
        parquet, first = self._parquet(), 0
        wanted = np.zeros(parquet.metadata.num_rows, bool)
        wanted[rows] = True
        for group in range(parquet.num_row_groups):
            here = wanted[first : first + parquet.metadata.row_group(group).num_rows]
            first += len(here)
            if here.all():
                yield parquet.read_row_group(group, use_threads=False)
            elif here.any():
                yield parquet.read_row_group(group, use_threads=False).filter(pa.array(here))

    def _parquet(self) -> pq.ParquetFile:
        if self.file is None:
            raise ValueError("nothing is known")
        self.file.seek(0)
        return pq.ParquetFile(self.file)


NOTHING = KnownFile(NOTHING_KNOWN, None)


@contextmanager
def open_known(path: UPath, sha256: str) -> Iterator[KnownFile]:
    """The records of a file, for taking over; nothing where it is not there, or is not what was written.

    Nobody would notice a damaged record: what is taken over is never read again.
    """
    try:
        file = path.open("rb")
    except OSError:
        yield NOTHING
        return
    with file:
        known = NOTHING
        try:
            if _sha256(file) == sha256:
                known = _known(file)
        except OSError:
            pass
        yield known


def code_key() -> bytes:
    """The code and the libraries that have a part in a record, as they are on the disk now."""
    digest = hashlib.sha256()
    for name in MODULES:
        spec = find_spec(name)
        digest.update(Path(str(spec and spec.origin)).read_bytes())
    digest.update("\n".join([sys.version, *map(version, LIBRARIES)]).encode())
    return digest.digest()


# Of the moment when this process began: an upgrade may replace the files under one that runs for an hour.
_CODE = code_key()


def reading_key(min_height: int, base_url: str) -> str:
    """What records depend on besides their bytes: settings, mapping, the choice of files, code, libraries."""
    digest = hashlib.sha256(_CODE)
    digest.update("\n".join(map(str, (CHOICE_VERSION, min_height, base_url))).encode())
    return digest.hexdigest()


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _known(file: IO[bytes]) -> KnownFile:
    file.seek(0)
    table = pq.read_table(file, columns=["external_id", "bytes_digest"], use_threads=False)
    digests = table["bytes_digest"].combine_chunks()
    rows = np.flatnonzero(digests.is_valid().to_numpy(zero_copy_only=False))
    ids = table["external_id"].cast(pa.int64()).to_numpy()
    return KnownFile(known_by(b"".join(digests.drop_null().to_pylist()), rows, ids), file)
