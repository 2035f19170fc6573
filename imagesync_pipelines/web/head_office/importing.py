"""Importing a folder of pictures that are named after their products."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa

from imagesync_pipelines.imaging.validation import BadImageError, check_image
from imagesync_pipelines.web.head_office.catalogue import add_products
from imagesync_pipelines.web.head_office.changes import of_products
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.photos import NewPhoto, put_photos
from imagesync_pipelines.web.head_office.tables import photo, product

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif"})
CONTENT_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
LARGEST_PHOTO = 50 * 1024 * 1024
# Files whose bytes are held at the same time; one transaction each.
BATCH_FILES, BATCH_BYTES = 100, 64 * 1024 * 1024


@dataclass
class Imported:
    """What became of a folder: numbers of files, and the name and reason of each that was refused."""

    written: int = 0
    unchanged: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


def import_folder(office: HeadOffice, brand_id: UUID, folder: Path) -> Imported:
    """Make each picture `<sku>.<jpg|png|webp|gif>` of the folder the only photo of its product in the brand.

    A product that is not there is made, with its sku as its name. A picture that the product has already is left alone,
    so the import can be repeated. Every picture is decoded whole first; a bad one is refused and the others go on.
    """
    imported = Imported()
    for batch in _batches(folder, imported):
        _write(office, brand_id, batch, imported)
    return imported


def _batches(folder: Path, imported: Imported) -> Iterator[list[tuple[str, NewPhoto]]]:
    """The good pictures with their skus, a few at a time; their product is filled in later."""
    batch: list[tuple[str, NewPhoto]] = []
    held = 0
    seen: set[str] = set()
    for file in sorted(one for one in folder.iterdir() if one.suffix.lower() in SUFFIXES and one.is_file()):
        if file.stem in seen:
            imported.refused.append((file.name, f"a second picture for {file.stem}; the first one counts"))
            continue
        size = file.stat().st_size
        if size > LARGEST_PHOTO:
            imported.refused.append((file.name, f"{size} bytes; {LARGEST_PHOTO} are allowed"))
            continue
        body = file.read_bytes()
        try:
            content_type = CONTENT_TYPES[check_image(body).format]
        except (BadImageError, KeyError) as error:
            imported.refused.append((file.name, str(error)))
            continue
        seen.add(file.stem)
        batch.append((file.stem, NewPhoto(UUID(int=0), body, file.name, content_type)))
        held += size
        if len(batch) >= BATCH_FILES or held >= BATCH_BYTES:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _write(office: HeadOffice, brand_id: UUID, batch: Sequence[tuple[str, NewPhoto]], imported: Imported) -> None:
    products = _products(office, brand_id, [sku for sku, _ in batch])
    there = _checksums(office, list(products.values()))
    new = []
    for sku, one in batch:
        checksum = hashlib.md5(one.body, usedforsecurity=False).hexdigest()
        if there.get(products[sku]) == [checksum]:
            imported.unchanged += 1
        else:
            new.append(NewPhoto(products[sku], one.body, one.filename, one.content_type))
    put_photos(office, new)
    imported.written += len(new)


def _products(office: HeadOffice, brand_id: UUID, skus: list[str]) -> dict[str, UUID]:
    """The ids of the products by sku; only the missing ones are made, so that no name is lost."""
    wanted = product.c.sku == sa.any_(sa.literal(skus, sa.ARRAY(sa.Text)))
    with office.engine.connect() as connection:
        rows = connection.execute(sa.select(product.c.sku, product.c.id).where(product.c.brand_id == brand_id, wanted))
        known = {row.sku: row.id for row in rows}
    return known | add_products(office, brand_id, {sku: sku for sku in skus if sku not in known})


def _checksums(office: HeadOffice, products: list[UUID]) -> dict[UUID, list[str]]:
    with office.engine.connect() as connection:
        rows = connection.execute(
            sa.select(product.c.id, sa.func.array_agg(photo.c.checksum).label("checksums"))
            .join(photo, photo.c.product_id == product.c.id).where(of_products(products)).group_by(product.c.id)
        )  # fmt: skip
        return {row.id: row.checksums for row in rows}
