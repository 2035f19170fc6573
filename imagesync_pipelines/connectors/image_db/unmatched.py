"""The tables for a product manager: article numbers that no product has, and images that no product shows.

What belongs here: writing both tables. What does not: finding what is unmatched (planning.py, matching.py).
"""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from imagesync_pipelines.connectors.image_db.batch import Unmatched
from imagesync_pipelines.storage.schema import unmatched_article, unused_image


def write(engine: sa.Engine, found: Unmatched, read_ids: Collection[str] | None = None) -> None:
    """Replace both tables in one transaction; with `read_ids` only what they say about these images."""
    now = datetime.now(UTC)
    with engine.begin() as connection:
        for table, frame in ((unmatched_article, found.unmatched), (unused_image, found.unused)):
            known: sa.ColumnElement[bool] = sa.true()
            if read_ids is not None:
                known = table.c.external_id == sa.any_(sa.literal(list(read_ids), sa.ARRAY(sa.Text)))
            connection.execute(table.delete().where(known))
            rows: list[dict[Any, Any]] = frame.assign(seen_at=now).to_dict(orient="records")
            if rows:
                connection.execute(table.insert(), rows)
