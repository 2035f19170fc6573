"""What PostgreSQL knows of a table that was just filled.

Autovacuum looks at a table a minute later at the earliest. Until then PostgreSQL takes the rows of an account for one
or two and any index that names the account for as good as the right one: each look-up by key reads the whole account.
"""

import sqlalchemy as sa

# So few rows are read as fast whatever PostgreSQL knows.
MANY = 1_000
SHARE = 0.1


def analyze_if_many(connection: sa.Connection, table: sa.Table | str, written: int, among: int = 0) -> bool:
    """Let PostgreSQL look at a table of which many rows were written, in the caller's transaction.

    table: one of ours, or the name of one. among: how many rows there are of the kind that was written, where that is
    known; a small share of them changes nothing. Otherwise nothing is executed. Says whether it was.
    """
    if written < MANY or written < among * SHARE:
        return False
    connection.exec_driver_sql(f"ANALYZE {table if isinstance(table, str) else table.fullname}")
    return True
