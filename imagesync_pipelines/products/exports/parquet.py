"""Rows as Parquet."""

import io
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from imagesync_pipelines.products.exports.rows import Batches, ExportRow

# What is in memory until it is compressed and given on.
ROWS_IN_A_GROUP = 5_000

_NOT_TEXT = {
    "position": pa.int32(),
    "id": pa.int64(),
    "is_primary": pa.bool_(),
    "is_front": pa.bool_(),
    "width": pa.int32(),
    "height": pa.int32(),
    "last_synced": pa.timestamp("us", tz="UTC"),
}
SCHEMA = pa.schema([(name, _NOT_TEXT.get(name, pa.string())) for name in ExportRow._fields])


def write_parquet(batches: Batches) -> Iterator[bytes]:
    """Row groups of about 5,000 rows, compressed with zstd; a file without rows has its columns."""
    sink = _Sink()
    with pq.ParquetWriter(pa.PythonFile(sink, mode="w"), SCHEMA, compression="zstd") as writer:
        waiting: list[ExportRow] = []
        for batch in batches:
            waiting += batch
            if len(waiting) >= ROWS_IN_A_GROUP:
                writer.write_table(_table(waiting))
                waiting = []
                yield sink.taken()
        if waiting:
            writer.write_table(_table(waiting))
    yield sink.taken()


class _Sink(io.RawIOBase):
    """A file that only grows; what was written is taken out and given on."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, part: object) -> int:
        self._parts.append(bytes(part))  # type: ignore[call-overload]
        return len(self._parts[-1])

    def taken(self) -> bytes:
        """What was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _table(rows: list[ExportRow]) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, SCHEMA.types, strict=True)], schema=SCHEMA)
