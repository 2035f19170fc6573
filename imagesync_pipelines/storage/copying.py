"""Many rows into a table at once, with PostgreSQL's COPY.

What belongs here: the one place that reaches through SQLAlchemy for psycopg's COPY. What does not: which rows, and what
is done with them afterwards (the rooms).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
import sqlalchemy as sa


def copy_rows(connection: sa.Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Append rows to a table, in the connection's transaction; `table` and `columns` are names of ours."""
    driver: psycopg.Connection[Any] | None = connection.connection.driver_connection
    if driver is None:
        raise TypeError("the connection is closed")
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
