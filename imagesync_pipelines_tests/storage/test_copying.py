"""Columns into a table in binary: every value as it was, and what does not fit is refused."""

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.copying import copy_columns

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
