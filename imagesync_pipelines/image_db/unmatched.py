"""The tables for a product manager: article numbers that no product has, and images that no product shows.

What belongs here: writing both tables. What does not: finding what is unmatched (planning.py, matching.py).
"""

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import sqlalchemy as sa

from imagesync_pipelines.storage.schema import unmatched_article, unused_image


def write(engine: sa.Engine, unmatched: pd.DataFrame, unused: pd.DataFrame) -> None:
    """Replace both tables in one transaction; the frames are those of planning.Planned."""
    now = datetime.now(UTC)
    with engine.begin() as connection:
        for table, frame in ((unmatched_article, unmatched), (unused_image, unused)):
            connection.execute(table.delete())
            rows: list[dict[Any, Any]] = frame.assign(seen_at=now).to_dict(orient="records")
            if rows:
                connection.execute(table.insert(), rows)
