"""What the photo server reads of a store's table: what is known of a picture, and its bytes apart from that.

A blob is read for one photo at a time, by its own statement.
"""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.store import StoreDatabase

LISTED = 100

_KNOWN = """
SELECT id::text, product_id::text, coalesce(content_type, ''), coalesce(filename, ''), coalesce(object_key, ''),
       coalesce(nullif(lower(checksum), ''), md5(image_binary), '') AS checksum,
       coalesce(octet_length(image_binary), 0) AS length, coalesce(is_primary, false), coalesce(sort_order, 0),
       coalesce(sync_status, 'pending')
  FROM {table}
"""
# A picture before none, the primary before the others; after a replacement that left two, the one that was synced, then
# the newer one.
_SHOWN_FIRST = """
 ORDER BY image_binary IS NULL, is_primary DESC NULLS LAST, sync_status IS DISTINCT FROM 'synced', sort_order,
          updated_at DESC NULLS LAST, id
"""
# The checksum keeps a picture that was replaced between the two statements from going out under the old ETag.
_BYTES = """
SELECT substring(image_binary FROM :first + 1 FOR :length) FROM {table}
 WHERE id = :id AND coalesce(nullif(lower(checksum), ''), md5(image_binary)) = :checksum
"""


class StorePicture(NamedTuple):
    """What is known of a photo; length in bytes, 0 when its picture is not there."""

    photo_id: str
    product_id: str
    content_type: str
    filename: str
    object_key: str
    checksum: str
    length: int
    is_primary: bool
    sort_order: int
    sync_status: str


@dataclass(frozen=True)
class StorePictures:
    """The photos of one store, for reading."""

    database: StoreDatabase

    def by_id(self, photo_id: UUID) -> StorePicture | None:
        """A photo by its id."""
        return self._first("WHERE id = :id", id=photo_id)

    def of_product(self, product_id: UUID) -> StorePicture | None:
        """The photo that a product shows first."""
        return self._first("WHERE product_id = :id" + _SHOWN_FIRST, id=product_id)

    def all_of_product(self, product_id: UUID) -> list[StorePicture]:
        """The photos of a product, in the order in which they are shown."""
        return self._all("WHERE product_id = :id" + _SHOWN_FIRST, id=product_id)

    def newest(self) -> list[StorePicture]:
        """Photos whose pictures came last."""
        return self._all(f"WHERE image_binary IS NOT NULL ORDER BY last_sync_at DESC NULLS LAST, id LIMIT {LISTED}")

    def read(self, picture: StorePicture, first: int, length: int) -> bytes | None:
        """Bytes of a picture; None when it is no longer the one that is known."""
        statement = sa.text(_BYTES.format(table=self.database.table))
        values = {"id": UUID(picture.photo_id), "checksum": picture.checksum, "first": first, "length": length}
        with self.database.engine.connect() as connection:
            found = connection.scalar(statement, values)
        return None if found is None else bytes(found)

    def _first(self, which: str, **values: UUID) -> StorePicture | None:
        return next(iter(self._all(which + " LIMIT 1", **values)), None)

    def _all(self, which: str, **values: UUID) -> list[StorePicture]:
        statement = sa.text(_KNOWN.format(table=self.database.table) + which)
        with self.database.engine.connect() as connection:
            return [StorePicture(*row) for row in connection.execute(statement, values)]
