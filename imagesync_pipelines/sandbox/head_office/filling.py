"""Writing the beginning into head office's tables and bucket.

What belongs here: the rows as they are on the first day, in bulk. What does not: choosing them (beginning.py), changing
them later (operators.py).
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from imagesync_pipelines.sandbox.head_office.beginning import Beginning, Product
from imagesync_pipelines.sandbox.head_office.photos import PhotoFile, make_photo
from imagesync_pipelines.web.head_office import tables as t

ROWS_AT_ONCE = 1000


def first_photo(beginning: Beginning, product: Product) -> PhotoFile:
    """The file that a product's photo has at the start."""
    return make_photo(beginning.seed, product.sku, product.kind)


def checksum_of(content: bytes) -> str:
    """The MD5 that head office lists, 32 lower-case characters (contract section 5)."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def fill(engine: sa.Engine, bucket: Path, beginning: Beginning) -> None:
    """Write every object into the bucket's folder, then all rows in one transaction; the tables are there, empty.

    The object store must not run yet: it would not see files that others write. That is ten times as fast as asking it.
    """
    products = beginning.products + beginning.hidden
    photos = [_photo_row(product, _write(bucket, beginning, product)) for product in products]
    stores = (*beginning.stores, beginning.closed_store, beginning.foreign_store)
    with engine.begin() as connection:
        _insert(connection, t.company, [{"id": key, "name": name} for key, name in beginning.companies])
        _insert(
            connection,
            t.brand,
            [
                {"id": brand.id, "company_id": brand.company, "name": brand.name, "is_active": brand.is_active}
                for brand in beginning.brands
            ],
        )
        _insert(
            connection,
            t.store,
            [
                {
                    "id": store.id,
                    "company_id": store.company,
                    "code": store.code,
                    "name": store.name,
                    "is_active": store.is_active,
                }
                for store in stores
            ],
        )
        links = [{"store_id": store.id, "brand_id": brand} for store in stores for brand in store.brands]
        _insert(connection, t.store_brand, links)
        _insert(connection, t.product, [_product_row(product) for product in products])
        _insert(connection, t.photo, photos)


def _write(bucket: Path, beginning: Beginning, product: Product) -> PhotoFile:
    file = first_photo(beginning, product)
    path = bucket / product.object_key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.content)
    return file


def _product_row(product: Product) -> dict[str, Any]:
    return {
        "id": product.id,
        "brand_id": product.brand,
        "sku": product.sku,
        "name": product.name,
        "is_active": product.is_active,
    }


def _photo_row(product: Product, file: PhotoFile) -> dict[str, Any]:
    return {
        "id": product.photo_id,
        "product_id": product.id,
        "object_key": product.object_key,
        "filename": product.filename,
        "size": len(file.content),
        "content_type": file.content_type,
        "checksum": checksum_of(file.content),
        "version": 1,
        "is_primary": True,
        "sort_order": 0,
        "updated_at": product.updated_at,
    }


def _insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    for block in _blocks(rows):
        connection.execute(table.insert(), block)


def _blocks(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield rows[start : start + ROWS_AT_ONCE]
