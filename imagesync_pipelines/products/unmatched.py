"""The tables for a product manager: article numbers that no product has, and images that no product shows."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import sqlalchemy as sa

from imagesync_pipelines.storage.schema import unmatched_article, unused_image


@dataclass(frozen=True)
class Unmatched:
    """What a plan found that no product shows.

    unmatched: number, variant, external_id, image_type, image_url, reason, candidates (list of {sku, name, why}).
    unused: external_id, image_type, image_url, reason; images that no product shows although no number is wrong.
    """

    unmatched: pd.DataFrame
    unused: pd.DataFrame


def write(engine: sa.Engine, source: str, found: Unmatched, read_ids: Collection[str] | None = None) -> None:
    """Replace what a source has in both tables in one transaction.

    read_ids: only what they say about these images.
    """
    now = datetime.now(UTC)
    with engine.begin() as connection:
        for table, frame in ((unmatched_article, found.unmatched), (unused_image, found.unused)):
            known = table.c.source == source
            if read_ids is not None:
                known &= table.c.external_id == sa.any_(sa.literal(list(read_ids), sa.ARRAY(sa.Text)))
            connection.execute(table.delete().where(known))
            rows: list[dict[Any, Any]] = frame.assign(seen_at=now, source=source).to_dict(orient="records")
            if rows:
                connection.execute(table.insert(), rows)
