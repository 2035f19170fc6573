"""Whether the head office has news for a store: one call, one row, no listing.

What belongs here: the look and what it compares. What does not: when to look and what to start then (defs/edge.py).
"""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from imagesync_pipelines.accounts.file import EdgeStore
from imagesync_pipelines.connectors.edge.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.model import EDGE, fingerprint
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.storage import cursors
from imagesync_pipelines.storage.schema import mirror


@dataclass(frozen=True)
class Look:
    """What one look found; `mark` is the same for the same news, so that no run is started twice for it."""

    changed: bool
    why: str
    mark: str


def look(engine: sa.Engine, store: EdgeStore, api: HeadOfficeApi, settings: EdgeSettings) -> Look:
    """Ask for the first photo since the store's cursor and for how many there are, and compare with the mirror.

    What the cursor stands on is listed again (`since` is inclusive), so the same number of the same photos is no news.
    A change committed late, below the cursor, is not seen here; the next run's overlap finds it.
    """
    with engine.connect() as connection:
        value = cursors.read_cursor(connection, EDGE, store.name)
    if value is None:
        return Look(True, "it was never listed", "never listed")
    since = datetime.fromisoformat(value)
    page = api.list_page(store.store_id, since=since, limit=1, offset=0)
    mine = sa.select(mirror.c.key, mirror.c.fingerprint).where(
        mirror.c.connector == EDGE, mirror.c.account == store.name, mirror.c.gone_at.is_(None)
    )
    named = [*(photo.photo_id for photo in page.photos), *page.deleted_ids]
    with engine.connect() as connection:
        known = connection.scalar(
            sa.select(sa.func.count()).select_from(mine.where(mirror.c.source_updated_at >= since).subquery())
        )
        there = dict(
            connection.execute(mine.where(mirror.c.key == sa.any_(sa.literal(named, sa.ARRAY(sa.Text))))).all()
        )
    deleted = sorted(page.deleted_ids & there.keys())
    different = [photo.photo_id for photo in page.photos if there.get(photo.photo_id) != fingerprint(photo)]
    mark = f"{value} {page.total} {' '.join(different)} {len(deleted)} {''.join(deleted[:1])}"
    if page.total != known or different or deleted:
        return Look(True, f"{page.total} photos since {since:%Y-%m-%d %H:%M:%S} UTC, {len(deleted)} deleted", mark)
    return Look(False, f"no photo newer than {since:%Y-%m-%d %H:%M:%S} UTC", mark)
