"""Columns into a table in binary: every value as it was, and what does not fit is refused."""

from datetime import UTC, datetime
from typing import Any

import psycopg
import pyarrow as pa
import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.copying import copy_columns, read_columns

TYPES = ("bool", "int4", "int8", "timestamptz", "text", "jsonb")
ARROW = (pa.bool_(), pa.int64(), pa.int64(), pa.timestamp("us", "UTC"), pa.string(), pa.binary())
NAMES = tuple(f"a_{kind}" for kind in TYPES)
EARLY, LATE = datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), datetime(2038, 2, 1, 10, 0, 0, 123456, UTC)
FULL = [(True, -(2**31), -(2**63), EARLY, "", b"{}"), (False, 2**31 - 1, 2**63 - 1, LATE, "é\t\\N\n", b'{"a": [1]}')]
NOTHING = (None,) * len(TYPES)


def table_of(rows: list[tuple[Any, ...]]) -> pa.Table:
    return pa.table([pa.array([row[at] for row in rows], kind) for at, kind in enumerate(ARROW)], names=list(NAMES))


def copied(connection: sa.Connection, columns: pa.Table) -> list[tuple[Any, ...]]:
    made = ", ".join(f"{name} {kind}" for name, kind in zip(NAMES, TYPES, strict=True))
    connection.execute(sa.text(f"CREATE TEMPORARY TABLE copied ({made}) ON COMMIT DROP"))
    copy_columns(connection, "copied", columns, TYPES)
    return [tuple(row) for row in connection.execute(sa.text("SELECT * FROM copied"))]


@pytest.mark.parametrize("rows", [[], FULL, [NOTHING], [*FULL, NOTHING, *FULL]], ids=["none", "full", "null", "mixed"])
def test_columns_arrive_as_they_are(database: sa.Engine, rows: list[tuple[Any, ...]]) -> None:
    as_json = {b"{}": {}, b'{"a": [1]}': {"a": [1]}, None: None}
    with database.begin() as connection:
        whole = table_of([*rows, *rows])
        assert copied(connection, whole.slice(len(rows))) == [(*row[:-1], as_json[row[-1]]) for row in rows]


def test_a_number_that_does_not_fit_is_refused(database: sa.Engine) -> None:
    with database.connect() as connection, pytest.raises(pa.ArrowInvalid, match="2147483648 not in range"):
        copied(connection, table_of([(True, 2**31, 1, EARLY, "", b"{}")]))


def test_what_is_read_is_what_is_there(database: sa.Engine) -> None:
    texts = ["", None, 'a,"b"\nc', "\\N", "é"] * 20_000
    given = ", ".join("NULL" if text is None else f"'{text}'" for text in texts[:5])
    query = f"SELECT t, n = 1 FROM unnest(ARRAY[{given}]) WITH ORDINALITY AS w (t, n), generate_series(1, 20000) s"
    types = {"text": pa.string(), "first": pa.bool_()}
    with database.connect() as connection:
        found = read_columns(connection, f"{query} ORDER BY s, n", types)
        assert found["text"].to_pylist() == texts
        assert found["first"].to_pylist() == [True, False, False, False, False] * 20_000
        assert read_columns(connection, f"{query} WHERE t = 'none'", types).num_rows == 0


def test_a_reading_that_breaks_off_is_an_error_and_leaves_the_connection_free(database: sa.Engine) -> None:
    with database.connect() as connection, pytest.raises(psycopg.errors.DivisionByZero):
        read_columns(connection, "SELECT 1 / (50000 - n) FROM generate_series(1, 60000) n", {"n": pa.int64()})
    with database.connect() as connection:
        assert read_columns(connection, "SELECT 1", {"n": pa.int64()})["n"].to_pylist() == [1]
