"""Looking after the photos of a store: what they take, what is wrong with them, what rotted, and beginning anew."""

from collections.abc import Callable, Iterable

import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.store import StoreDatabase, read_current
from imagesync_pipelines.languages import N_
from imagesync_pipelines.sync.model import PlanRow

_DOUBLES = "SELECT count(*) FROM (SELECT FROM {table} WHERE is_primary GROUP BY product_id HAVING count(*) > 1) several"

SCRUBBED = N_("the stored picture was not what its checksum said; found by a scrub")
ROWS_PER_STATEMENT = 200

# The checksum tells from now on what is there; no byte of a picture leaves the database.
_HASH = """
WITH part AS (
    SELECT id, coalesce(lower(checksum), '') AS listed, md5(image_binary) AS actual
      FROM {table} WHERE image_binary IS NOT NULL AND id > CAST(:after AS uuid) ORDER BY id LIMIT :rows
), marked AS (
    UPDATE {table} t SET checksum = part.actual, sync_status = 'pending', sync_error = :reason
      FROM part WHERE t.id = part.id AND part.actual <> part.listed
    RETURNING t.id
)
SELECT part.id::text, marked.id IS NOT NULL FROM part LEFT JOIN marked ON marked.id = part.id ORDER BY part.id
"""


def reset(database: StoreDatabase, *, everything: bool = False) -> int:
    """Make failed photos pending again, without their errors; returns how many. Pictures stay, and are hashed.

    everything: every photo that is not pending, as after a rollback.
    """
    which = "sync_status IS DISTINCT FROM 'pending'" if everything else "sync_status = 'failed'"
    statement = f"UPDATE {database.table} SET sync_status = 'pending', sync_error = NULL WHERE {which}"  # noqa: S608
    with database.engine.begin() as connection:
        return int(connection.execute(sa.text(statement)).rowcount)


def storage_used(database: StoreDatabase) -> tuple[int, dict[str, int]]:
    """The size of the database in bytes, and how many photos are in each status."""
    counts = f"SELECT coalesce(sync_status, 'pending'), count(*) FROM {database.table} GROUP BY 1"  # noqa: S608
    with database.engine.connect() as connection:
        size = connection.scalar(sa.text("SELECT pg_database_size(current_database())"))
        return int(size or 0), dict(connection.execute(sa.text(counts)).all())


def products_with_several_primaries(database: StoreDatabase) -> int:
    """How many products show more than one photo as their primary."""
    with database.engine.connect() as connection:
        return int(connection.scalar(sa.text(_DOUBLES.format(table=database.table))) or 0)


def gave_way(database: StoreDatabase, rows: Iterable[PlanRow]) -> bool:
    """Whether the photos of rows of a plan are as they were, but for being primary: another one is that now."""
    before = {row.key_before or row.key: row.fingerprint_before for row in rows}
    there = read_current(database, before.keys(), as_primaries=True)
    return dict(zip(there["key"], there["fingerprint"], strict=True)) == before


def scrub(
    database: StoreDatabase, *, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[int, list[str]]:
    """Hash every stored picture; what differs becomes pending, with the reason and with the checksum that it has.

    Returns how many were hashed, and the ids of those that differed. Call it under `store_lock`. The pictures stay and
    are served until they are repaired. on_progress gets how many were hashed, of how many.
    """
    count = sa.text(f"SELECT count(*) FROM {database.table} WHERE image_binary IS NOT NULL")  # noqa: S608 - ours
    with database.engine.connect() as connection:
        total = int(connection.scalar(count) or 0)
    values = {"after": "00000000-0000-0000-0000-000000000000", "rows": ROWS_PER_STATEMENT, "reason": SCRUBBED}
    hashed, differing = 0, list[str]()
    while True:
        with database.engine.begin() as connection:
            rows = connection.execute(sa.text(_HASH.format(table=database.table)), values).all()
        if not rows:
            return hashed, differing
        hashed += len(rows)
        values["after"] = rows[-1][0]
        differing += [photo_id for photo_id, differs in rows if differs]
        on_progress(hashed, total)
