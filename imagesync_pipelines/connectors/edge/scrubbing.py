"""The stored pictures, hashed again inside their database: what rotted or was altered becomes pending.

What belongs here: finding and marking. What does not: the repair, which is the next plan: a photo whose checksum at the
store is not the listed one is fetched.
"""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.store import StoreDatabase

SCRUBBED = "the stored picture was not what its checksum said; found by a scrub"
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


@dataclass(frozen=True)
class ScrubFound:
    """How many pictures were hashed, and the ids of those that were not what their checksum said."""

    hashed: int
    differing: tuple[str, ...]


def scrub(database: StoreDatabase, *, on_progress: Callable[[int, int], None] = lambda done, total: None) -> ScrubFound:
    """Hash every stored picture; what differs becomes pending, with the reason and with the checksum that it has.

    Call it under `store.store_lock`. The pictures stay and are served until they are repaired. on_progress gets how
    many were hashed, of how many.
    """
    statement = sa.text(_HASH.format(table=database.table))
    count = sa.text(f"SELECT count(*) FROM {database.table} WHERE image_binary IS NOT NULL")  # noqa: S608 - ours
    with database.engine.connect() as connection:
        total = int(connection.scalar(count) or 0)
    hashed, after = 0, "00000000-0000-0000-0000-000000000000"
    differing: list[str] = []
    while True:
        with database.engine.begin() as connection:
            values = {"after": after, "rows": ROWS_PER_STATEMENT, "reason": SCRUBBED}
            rows = connection.execute(statement, values).all()
        if not rows:
            return ScrubFound(hashed, tuple(differing))
        hashed, after = hashed + len(rows), rows[-1][0]
        differing += [photo_id for photo_id, differs in rows if differs]
        on_progress(hashed, total)
