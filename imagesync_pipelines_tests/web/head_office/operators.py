"""What people do at a head office beside importing pictures: adding, ordering and deleting photos; showing and hiding.

The service itself has no such commands; the traces that they leave (catalogue.changing) are what is tested.
"""

from typing import Any
from uuid import UUID

import sqlalchemy as sa

from imagesync_pipelines.web.head_office import catalogue
from imagesync_pipelines.web.head_office.catalogue import changing
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tables import brand, photo, product, store, store_brand


def add_product(office: HeadOffice, brand_id: UUID, sku: str, name: str) -> UUID:
    """Add an active product; the same sku in the same brand gives its id and takes the new name."""
    return catalogue.add_products(office, brand_id, {sku: name})[sku]


def unlink_brand(office: HeadOffice, store_id: UUID, brand_id: UUID) -> None:
    """Take a brand out of a store; its photos are reported as deleted to that store."""
    with changing(office, product.c.brand_id == brand_id) as (connection, _):
        connection.execute(
            store_brand.delete().where(store_brand.c.store_id == store_id, store_brand.c.brand_id == brand_id)
        )


def set_brand_active(office: HeadOffice, brand_id: UUID, active: bool) -> None:
    """Show or hide a brand in every store that it is linked to."""
    with changing(office, product.c.brand_id == brand_id) as (connection, _):
        connection.execute(brand.update().where(brand.c.id == brand_id).values(is_active=active))


def set_product_active(office: HeadOffice, product_id: UUID, active: bool) -> None:
    """Show or hide a product; its photos are reported as deleted, or come back with a new `updated_at`."""
    with changing(office, product.c.id == product_id) as (connection, _):
        connection.execute(product.update().where(product.c.id == product_id).values(is_active=active))


def set_store_active(office: HeadOffice, store_id: UUID, active: bool) -> None:
    """Open or close a store: a closed one is answered with 404, and nothing of it is reported as deleted."""
    _update(office, store, store.c.id == store_id, {"is_active": active})


def put_photo(
    office: HeadOffice, product_id: UUID, body: bytes, *, filename: str, content_type: str = "image/jpeg"
) -> UUID:
    """Make this the only photo of its product."""
    return catalogue.put_photos(office, [catalogue.NewPhoto(product_id, body, filename, content_type)])[0]


def add_photo(office: HeadOffice, new: catalogue.NewPhoto, *, sort_order: int) -> UUID:
    """Give a product one more photo, which is not its primary; gives the new photo's id."""
    row = {**catalogue.upload(office, [new])[0], "is_primary": False, "sort_order": sort_order, "version": 1}
    with changing(office, product.c.id == new.product_id) as (connection, stamp):
        connection.execute(photo.insert(), [{**row, "updated_at": stamp}])
    found: UUID = row["id"]
    return found


def delete_photo(office: HeadOffice, photo_id: UUID) -> None:
    """Delete a photo: its row, the report to the stores that saw it, then its object. A repeated call does nothing."""
    owner = _owner(office, photo_id)
    if owner is None:
        return
    with changing(office, product.c.id == owner) as (connection, _):
        keys = connection.execute(photo.delete().where(photo.c.id == photo_id).returning(photo.c.object_key))
        gone = list(keys.scalars())
    catalogue.drop_objects(office, gone)


def set_order(office: HeadOffice, photo_id: UUID, sort_order: int) -> None:
    """Move a photo within its product; its bytes stay."""
    owner = _owner(office, photo_id)
    assert owner is not None
    with changing(office, product.c.id == owner) as (connection, stamp):
        connection.execute(photo.update().where(photo.c.id == photo_id).values(sort_order=sort_order, updated_at=stamp))


def set_primary(office: HeadOffice, photo_id: UUID) -> None:
    """Make a photo its product's only primary; every photo whose mark changes gets a new `updated_at`."""
    owner = _owner(office, photo_id)
    assert owner is not None
    with changing(office, product.c.id == owner) as (connection, stamp):
        connection.execute(
            photo.update()
            .where(photo.c.product_id == owner, photo.c.is_primary != (photo.c.id == photo_id))
            .values(is_primary=photo.c.id == photo_id, updated_at=stamp)
        )


def _owner(office: HeadOffice, photo_id: UUID) -> UUID | None:
    """The product that a photo is on; None for an unknown photo."""
    with office.engine.connect() as connection:
        owner: UUID | None = connection.execute(sa.select(photo.c.product_id).where(photo.c.id == photo_id)).scalar()
    return owner


def _update(office: HeadOffice, table: sa.Table, which: sa.ColumnElement[bool], values: dict[str, Any]) -> None:
    with office.engine.begin() as connection:
        assert connection.execute(table.update().where(which).values(values)).rowcount == 1
