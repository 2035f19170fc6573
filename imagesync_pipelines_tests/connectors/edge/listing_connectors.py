"""A store's connector in our database beside a fake head office, for the tests of listing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.listing import PROVEN_GONE, ListingHandOver, take_listing
from imagesync_pipelines.connectors.edge.model import EDGE, Photo
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.storage.mirror import read_cursor, read_gone, read_mirror
from imagesync_pipelines.storage.schema import mirror
from imagesync_pipelines_tests.connectors.edge.head_office import Call, FakeHeadOffice, row, store_of, uid

STORE = "jakarta-1"


@dataclass
class Connector:
    """A store's connector in our database, beside a head office; `marked` is what the store was told to be pending."""

    database: sa.Engine
    office: FakeHeadOffice
    api: HeadOfficeApi
    marked: list[Photo] = field(default_factory=list)

    def take(self, *, full: bool = False, **settings: Any) -> ListingHandOver:
        self.marked.clear()
        return take_listing(
            self.database,
            store_of(self.office),
            self.api,
            EdgeSettings(_env_file=None, **{"page_size": 10, **settings}),
            full=full,
            mark_pending=self.mark,
        )

    def mark(self, photos: Sequence[Photo]) -> None:
        self.marked.extend(photos)

    @property
    def marked_ids(self) -> set[str]:
        return {photo.photo_id for photo in self.marked}

    @property
    def live(self) -> set[str]:
        with self.database.connect() as connection:
            return set(read_mirror(connection, EDGE, STORE)["key"])

    @property
    def absent(self) -> frozenset[str]:
        """The photos that HO itself called gone, in this and earlier listings."""
        with self.database.connect() as connection:
            return read_gone(connection, EDGE, STORE, PROVEN_GONE)

    @property
    def cursor(self) -> datetime | None:
        with self.database.connect() as connection:
            value = read_cursor(connection, EDGE, STORE)
        return None if value is None else datetime.fromisoformat(value)

    def gone(self) -> dict[str, str]:
        query = sa.select(mirror.c.key, mirror.c.gone_because).where(mirror.c.gone_at.is_not(None))
        with self.database.connect() as connection:
            return {found[0]: found[1] for found in connection.execute(query)}

    def replace(self, old: int, new: int, **changes: Any) -> None:
        """Replace a photo as HO does: another id, the same product, now."""
        product = uid(1_000_000 + old)
        self.office.photos = [photo for photo in self.office.photos if photo["id"] != uid(old)]
        self.office.photos.append(row(new, product_id=product, **changes))


def ids(*numbers: int) -> set[str]:
    """The ids of photos by their numbers."""
    return {uid(number) for number in numbers}


def between(connector: Connector, offset: str, action: Any) -> None:
    """Do something when a page is asked for, the first time only."""
    done: list[bool] = []

    def hook(call: Call) -> None:
        if call.query.get("offset") == offset and not done:
            done.append(True)
            action()

    connector.office.hook = hook
