"""Writing the head office's photos: one by one, or a folder of pictures that are named after their products.

The original replaced a photo under the same object key, without a transaction, and told nobody. Here the object is put
first, under a key of its own, then the rows change in one transaction, and only then the old object goes. So a reader
finds a photo whole at every moment, and a crash leaves at most an unused object.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from imagesync_pipelines.imaging.validation import BadImageError, check_image
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.web.head_office import catalogue
from imagesync_pipelines.web.head_office.catalogue import changing
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tables import photo, product

UPLOADS = 8
EXTENSIONS = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp", "image/gif": ".gif"}
# Of the pictures in a folder: the suffixes that count, and what their bytes may be.
SUFFIXES = frozenset({".jpeg", *EXTENSIONS.values()})
CONTENT_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
LARGEST_PHOTO = 50 * 1024 * 1024
# Files whose bytes are held at the same time; one transaction each.
BATCH_FILES, BATCH_BYTES = 100, 64 * 1024 * 1024

logger = logging.getLogger("imagesync.head_office")


@dataclass(frozen=True)
class NewPhoto:
    """A photo to be written: its bytes as they are, and what the caller knows about them."""

    product_id: UUID
    body: bytes
    filename: str
    content_type: str = "image/jpeg"


@dataclass
class Imported:
    """What became of a folder: numbers of files, and the name and reason of each that was refused."""

    written: int = 0
    unchanged: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


def put_photos(office: HeadOffice, photos: Sequence[NewPhoto]) -> list[UUID]:
    """Make each the only photo of its product, all in one transaction; gives the new ids in the same order.

    Photos that a product had before are reported as deleted to the stores that saw them. `version` counts the photos
    that the product has had.
    """
    products = [one.product_id for one in photos]
    if len(set(products)) < len(products):
        raise ValueError("a product is named twice; put its photos one after the other")
    if not photos:
        return []
    rows = upload(office, photos)
    these = among(product.c.id, products)
    with changing(office, these) as (connection, stamp):
        known = set(connection.scalars(sa.select(product.c.id).where(these)))
        missing = sorted(str(one) for one in set(products) - known)
        if missing:
            raise catalogue.UnknownRowError(f"There is no product {', '.join(missing[:5])}; no photo was written.")
        old = connection.execute(
            photo.delete().where(among(photo.c.product_id, products))
            .returning(photo.c.product_id, photo.c.version, photo.c.object_key)
        ).all()  # fmt: skip
        # Of several versions of a product the highest comes last.
        versions = {gone.product_id: gone.version for gone in sorted(old, key=lambda one: one.version)}
        news = [{**row, "version": versions.get(row["product_id"], 0) + 1, "updated_at": stamp} for row in rows]
        connection.execute(photo.insert(), news)
    drop_objects(office, [gone.object_key for gone in old])
    return [row["id"] for row in rows]


def upload(office: HeadOffice, photos: Sequence[NewPhoto]) -> list[dict[str, Any]]:
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
            "checksum": _md5(new.body),
            "is_primary": True,
            "sort_order": 0,
        }

    with ThreadPoolExecutor(UPLOADS, thread_name_prefix="upload") as pool:
        return list(pool.map(one, photos))


def drop_objects(office: HeadOffice, keys: Sequence[str]) -> None:
    """Delete objects that no row names any more; one that cannot be deleted is left and logged, it harms nobody."""
    for key in filter(None, keys):
        try:
            office.s3.delete_object(Bucket=office.bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            logger.warning("object %s is not needed any more and could not be deleted: %s", key, error)


def import_folder(office: HeadOffice, brand_id: UUID, folder: Path) -> Imported:
    """Make each picture `<sku>.<jpg|png|webp|gif>` of the folder the only photo of its product in the brand.

    A product that is not there is made, with its sku as its name. A picture that the product has already is left alone,
    so the import can be repeated. Every picture is decoded whole first; a bad one is refused and the others go on.
    """
    imported = Imported()
    for batch in _batches(folder, imported):
        with office.engine.connect() as connection:
            products = catalogue.product_ids(connection, brand_id, list(batch))
        # Only the missing ones are made, so that no name is lost.
        products |= catalogue.add_products(office, brand_id, {sku: sku for sku in batch if sku not in products})
        there = _checksums(office, list(products.values()))
        new = [
            replace(one, product_id=products[sku])
            for sku, one in batch.items()
            if there.get(products[sku]) != [_md5(one.body)]
        ]
        put_photos(office, new)
        imported.written += len(new)
        imported.unchanged += len(batch) - len(new)
    return imported


def _batches(folder: Path, imported: Imported) -> Iterator[dict[str, NewPhoto]]:
    """The good pictures by their skus, a few at a time; their product is filled in later."""
    batch: dict[str, NewPhoto] = {}
    held = 0
    seen: set[str] = set()
    for file in sorted(one for one in folder.iterdir() if one.suffix.lower() in SUFFIXES and one.is_file()):
        try:
            if file.stem in seen:
                raise ValueError(f"a second picture for {file.stem}; the first one counts")
            size = file.stat().st_size
            if size > LARGEST_PHOTO:
                raise ValueError(f"{size} bytes; {LARGEST_PHOTO} are allowed")
            body = file.read_bytes()
            content_type = CONTENT_TYPES[check_image(body).format]
        except (BadImageError, ValueError, KeyError) as error:
            imported.refused.append((file.name, str(error)))
            continue
        seen.add(file.stem)
        batch[file.stem] = NewPhoto(UUID(int=0), body, file.name, content_type)
        held += size
        if len(batch) >= BATCH_FILES or held >= BATCH_BYTES:
            yield batch
            batch, held = {}, 0
    if batch:
        yield batch


def _checksums(office: HeadOffice, products: list[UUID]) -> dict[UUID, list[str]]:
    with office.engine.connect() as connection:
        rows = connection.execute(
            sa.select(photo.c.product_id, sa.func.array_agg(photo.c.checksum).label("checksums"))
            .where(among(photo.c.product_id, products)).group_by(photo.c.product_id)
        )  # fmt: skip
        return {row.product_id: row.checksums for row in rows}


def _md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()
