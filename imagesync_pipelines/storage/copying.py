"""Many rows into a table or out of it at once, with PostgreSQL's COPY."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import sqlalchemy as sa

from imagesync_pipelines.storage.database import driver_cursor

# COPY in binary: what comes before the rows and after them, and the numbers as they are on the wire.
_SIGNATURE, _TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
_NUMBERS = {"bool": ">u1", "int4": ">i4", "int8": ">i8", "timestamptz": ">i8"}
# PostgreSQL counts microseconds from the year 2000.
_YEAR_2000 = 946_684_800_000_000


def copy_rows(connection: sa.Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Append rows to a table, in the connection's transaction; `table` and `columns` are names of ours."""
    with driver_cursor(connection) as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def copy_columns(connection: sa.Connection, table: str, columns: pa.Table, types: Sequence[str]) -> None:
    """Append columns to a table, in the connection's transaction; `table` and the columns' names are ours.

    types: of the columns, as PostgreSQL names them (bool, int4, int8, timestamptz, text, jsonb). No row becomes a
    Python object, which takes a tenth of the time of copy_rows. Raises pyarrow's ArrowInvalid for a number that does
    not fit its type.
    """
    names = ", ".join(columns.column_names)
    with driver_cursor(connection) as cursor, cursor.copy(f"COPY {table} ({names}) FROM STDIN (FORMAT binary)") as copy:
        copy.write(_SIGNATURE)
        if len(columns):
            copy.write(_binary_rows(columns, types))
        copy.write(_TRAILER)


def read_columns(connection: sa.Connection, query: str, types: Mapping[str, pa.DataType]) -> pa.Table:
    """The answer to a query of ours as columns, in the order of `types`; no row of it becomes a Python object.

    A tenth of the time and memory of fetching rows, once there are tens of thousands of them.
    """
    out = _copied_out(driver_cursor(connection), f"COPY ({query}) TO STDOUT (FORMAT csv)")
    if not out.tell():
        return pa.table({name: pa.array([], kind) for name, kind in types.items()})
    # COPY writes NULL as nothing and an empty text as "".
    return pa.csv.read_csv(
        pa.BufferReader(out.getbuffer()),
        # Each further thread keeps memory of its own; what is read here takes no time in one.
        read_options=pa.csv.ReadOptions(column_names=list(types), use_threads=False),
        parse_options=pa.csv.ParseOptions(newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict(types),
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
        ),
    )


def frame_of(table: pa.Table) -> pd.DataFrame:
    """Columns as a frame of pandas; texts stay as they are in memory."""
    frame: pd.DataFrame = table.to_pandas()
    del table
    pa.default_memory_pool().release_unused()  # Arrow keeps what it freed, often as much again
    return frame


def _copied_out(cursor: "psycopg.Cursor[Any]", statement: str) -> io.BytesIO:
    """What a COPY gives, row by row from the buffer of libpq: Copy.read takes twice as long for each."""
    out, libpq, size = io.BytesIO(), cursor.connection.pgconn, 1
    with cursor.copy(statement) as copy:
        while size >= 0 and (part := copy.read()):  # waits for the server, and ends
            while True:
                out.write(part)
                size, part = libpq.get_copy_data(1)
                if size <= 0:
                    break
        results = list(iter(libpq.get_result, None)) if size < 0 else []  # all of them, or the connection is not free
        for result in results:
            if result.status != psycopg.pq.ExecStatus.COMMAND_OK:
                raise psycopg.errors.error_from_result(result)
    return out


def _binary_rows(columns: pa.Table, types: Sequence[str]) -> memoryview:
    """Rows as COPY takes them in binary: the number of columns, then the length (-1: NULL) and the value of each."""
    parts = [pa.scalar(len(types).to_bytes(2, "big"))]
    for column, kind in zip(columns.columns, types, strict=True):
        parts += _field(column.combine_chunks(), kind)
    rows = pc.binary_join_element_wise(*parts, b"")
    ends = np.frombuffer(rows.buffers()[1], np.int32, len(rows) + 1, rows.offset * 4)
    return memoryview(rows.buffers()[2])[ends[0] : ends[-1]]


def _field(column: pa.Array, kind: str) -> list[Any]:
    """A column of the type `kind` as binary ones: sizes, then values; a scalar where all rows have the same."""
    nulls = column.is_null() if column.null_count else None
    if kind not in _NUMBERS:
        # A jsonb is a version and its text.
        texts, version = column.cast(pa.binary()), b"\x01" if kind == "jsonb" else b""
        sizes = pc.add(pc.binary_length(texts), len(version))
        if nulls is None:
            return [_fixed(sizes, ">i4"), pa.scalar(version), texts]
        parts = pc.if_else(nulls, b"", version), pc.fill_null(texts, b"")
        return [_fixed(pc.fill_null(sizes, -1), ">i4"), *parts]
    if kind == "timestamptz":
        column = pc.subtract(column.cast(pa.int64()), _YEAR_2000)
    wire = np.dtype(_NUMBERS[kind])
    values = _fixed(pc.fill_null(column.cast(pa.from_numpy_dtype(wire.newbyteorder("="))), 0), wire)
    if nulls is None:
        return [pa.scalar(wire.itemsize.to_bytes(4, "big")), values]
    return [_fixed(pc.if_else(nulls, -1, wire.itemsize), ">i4"), pc.if_else(nulls, b"", values)]


def _fixed(numbers: pa.Array, wire: Any) -> pa.Array:
    """Numbers as binary values of one size, as they are on the wire."""
    size, bytes_of = np.dtype(wire).itemsize, np.asarray(numbers).astype(wire)
    return pa.Array.from_buffers(pa.binary(size), len(numbers), [None, pa.py_buffer(bytes_of)]).cast(pa.binary())
