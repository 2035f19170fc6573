"""Writing the head office's photos: adding, replacing, deleting and ordering them.

The original replaced a photo under the same object key, without a transaction, and told nobody. Here the object is put
first, under a key of its own, then the rows change in one transaction, and only then the old object goes. So a reader
finds a photo whole at every moment, and a crash leaves at most an unused object.
"""

import hashlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from imagesync_pipelines.web.head_office.catalogue import UnknownRowError
from imagesync_pipelines.web.head_office.changes import any_of, changing, of_products
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tables import photo, product

UPLOADS = 8
EXTENSIONS = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/gif": ".gif"}

logger = logging.getLogger("imagesync.head_office")


@dataclass(frozen=True)
class NewPhoto:
    """A photo to be written: its bytes as they are, and what the caller knows about them."""

    product_id: UUID
    body: bytes
    filename: str
    content_type: str = "image/jpeg"


def put_photo(
    office: HeadOffice, product_id: UUID, body: bytes, *, filename: str, content_type: str = "image/jpeg"
) -> UUID:
    """Make this the product's only photo; gives the new photo's id. Raises UnknownRowError for an unknown product."""
    return put_photos(office, [NewPhoto(product_id, body, filename, content_type)])[0]


def put_photos(office: HeadOffice, photos: Sequence[NewPhoto]) -> list[UUID]:
    """Make each the only photo of its product, all in one transaction; gives the new ids in the same order.

    Photos that a product had before are reported as deleted to the stores that saw them. `version` counts the photos
    that the product has had.
    """
    products = [one.product_id for one in photos]
    if len(set(products)) < len(products):
        raise ValueError("a product is named twice; put its photos one after the other")
    rows = _upload(office, photos)
    with changing(office, of_products(products)) as change:
        _require_products(change.connection, products)
        old = change.connection.execute(
            photo.delete().where(photo.c.product_id == any_of(products))
            .returning(photo.c.product_id, photo.c.version, photo.c.object_key)
        ).all()  # fmt: skip
        versions: dict[UUID, int] = {}
        for gone in old:
            versions[gone.product_id] = max(versions.get(gone.product_id, 0), gone.version)
        _insert(change.connection, rows, change.stamp, versions)
    _drop_objects(office, [gone.object_key for gone in old])
    return [row["id"] for row in rows]


def add_photo(office: HeadOffice, new: NewPhoto, *, sort_order: int) -> UUID:
    """Give a product one more photo, which is not its primary; gives the new photo's id."""
    row = {**_upload(office, [new])[0], "is_primary": False, "sort_order": sort_order}
    with changing(office, of_products([new.product_id])) as change:
        _require_products(change.connection, [new.product_id])
        _insert(change.connection, [row], change.stamp, {})
    found: UUID = row["id"]
    return found


def delete_photo(office: HeadOffice, photo_id: UUID) -> None:
    """Delete a photo: its row, the report to the stores that saw it, then its object. A repeated call does nothing."""
    owner = _owner(office, photo_id)
    if owner is None:
        return
    with changing(office, of_products([owner])) as change:
        keys = change.connection.execute(photo.delete().where(photo.c.id == photo_id).returning(photo.c.object_key))
        gone = list(keys.scalars())
    _drop_objects(office, gone)


def set_order(office: HeadOffice, photo_id: UUID, sort_order: int) -> None:
    """Move a photo within its product; its bytes stay."""
    owner = _need_owner(office, photo_id)
    with changing(office, of_products([owner])) as change:
        change.connection.execute(
            photo.update().where(photo.c.id == photo_id).values(sort_order=sort_order, updated_at=change.stamp)
        )


def set_primary(office: HeadOffice, photo_id: UUID) -> None:
    """Make a photo its product's only primary; every photo whose mark changes gets a new `updated_at`."""
    owner = _need_owner(office, photo_id)
    with changing(office, of_products([owner])) as change:
        change.connection.execute(
            photo.update()
            .where(photo.c.product_id == owner, photo.c.is_primary != (photo.c.id == photo_id))
            .values(is_primary=photo.c.id == photo_id, updated_at=change.stamp)
        )


def _owner(office: HeadOffice, photo_id: UUID) -> UUID | None:
    """The product that a photo is on; None for an unknown photo."""
    with office.engine.connect() as connection:
        owner: UUID | None = connection.execute(sa.select(photo.c.product_id).where(photo.c.id == photo_id)).scalar()
    return owner


def _need_owner(office: HeadOffice, photo_id: UUID) -> UUID:
    owner = _owner(office, photo_id)
    if owner is None:
        raise UnknownRowError(f"There is no photo {photo_id}.")
    return owner


def _upload(office: HeadOffice, photos: Sequence[NewPhoto]) -> list[dict[str, Any]]:
    """Put the objects, several at a time; gives the row of each, without its version and stamp."""

    def one(new: NewPhoto) -> dict[str, Any]:
        photo_id = uuid4()
        extension = EXTENSIONS.get(new.content_type) or PurePosixPath(new.filename).suffix.lower()
        key = f"products/{new.product_id}/{photo_id}{extension}"
        office.s3.put_object(Bucket=office.bucket, Key=key, Body=new.body, ContentType=new.content_type)
        return {
            "id": photo_id,
            "product_id": new.product_id,
            "object_key": key,
            "filename": new.filename,
            "size": len(new.body),
            "content_type": new.content_type,
            "checksum": hashlib.md5(new.body, usedforsecurity=False).hexdigest(),
            "is_primary": True,
            "sort_order": 0,
        }

    with ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload") as pool:
        return list(pool.map(one, photos))


def _insert(
    connection: sa.Connection, rows: Sequence[dict[str, Any]], stamp: object, versions: dict[UUID, int]
) -> None:
    if rows:
        connection.execute(
            photo.insert(),
            [{**row, "version": versions.get(row["product_id"], 0) + 1, "updated_at": stamp} for row in rows],
        )


def _require_products(connection: sa.Connection, products: Sequence[UUID]) -> None:
    known = set(connection.execute(sa.select(product.c.id).where(of_products(products))).scalars())
    missing = sorted(str(one) for one in set(products) - known)
    if missing:
        raise UnknownRowError(f"There is no product {', '.join(missing[:5])}; no photo was written.")


def _drop_objects(office: HeadOffice, keys: Sequence[str]) -> None:
    """Delete objects that no row names any more; one that cannot be deleted is left and logged, it harms nobody."""
    for key in keys:
        if not key:
            continue
        try:
            office.s3.delete_object(Bucket=office.bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            logger.warning("object %s is not needed any more and could not be deleted: %s", key, error)
