"""Operators on what stores see: products, brands and stores that come and go without any photo being touched.

What belongs here: one function per operator. What does not: photos (photos.py). In the original, and when silent, a
photo keeps its `updated_at`: what reappears does so with an old one (contract section 5).
"""

from uuid import UUID

import sqlalchemy as sa

from imagesync_pipelines.sandbox.head_office.changes.bench import (
    Bench,
    Mutation,
    MutationError,
    choose_product,
    choose_store,
    products_of_brands,
    writing,
)
from imagesync_pipelines.web.head_office import tables as t


def deactivate_product(bench: Bench, product_id: UUID | None = None) -> Mutation:
    """A product is switched off: its photos vanish from every list."""
    return _set_product(bench, "deactivate_product", product_id, active=False)


def reactivate_product(bench: Bench, product_id: UUID) -> Mutation:
    """A product is switched on again: its photos reappear."""
    return _set_product(bench, "reactivate_product", product_id, active=True)


def delete_product(bench: Bench, product_id: UUID | None = None) -> Mutation:
    """A product is deleted and takes its photos' rows along; the objects stay in the bucket."""
    product = choose_product(bench, product_id)
    with writing(bench, product.id) as (connection, _):
        gone = tuple(connection.scalars(sa.select(t.photo.c.id).where(t.photo.c.product_id == product.id)))
        connection.execute(t.product.delete().where(t.product.c.id == product.id))
    return Mutation("delete_product", product.id, None, gone, f"the product {product.sku} is deleted")


def unlink_brand(bench: Bench, brand_id: UUID | None = None, store_id: UUID | None = None) -> Mutation:
    """A store loses a brand (by default the first store the second brand): all its photos vanish from that list."""
    brand = brand_id if brand_id is not None else bench.beginning.brands[1].id
    return _link(bench, "unlink_brand", choose_store(bench, store_id), [brand], linked=False)


def link_brand(bench: Bench, brand_id: UUID | None = None, store_id: UUID | None = None) -> Mutation:
    """A store gets a brand (by default the first store the second brand)."""
    brand = brand_id if brand_id is not None else bench.beginning.brands[1].id
    return _link(bench, "link_brand", choose_store(bench, store_id), [brand], linked=True)


def empty_store(bench: Bench, store_id: UUID | None = None) -> Mutation:
    """A store loses all brands: its list has a total of 0."""
    store = choose_store(bench, store_id)
    with bench.office.engine.connect() as connection:
        brands = list(connection.scalars(sa.select(t.store_brand.c.brand_id).where(t.store_brand.c.store_id == store)))
    return _link(bench, "empty_store", store, brands, linked=False)


def refill_store(bench: Bench, store_id: UUID | None = None) -> Mutation:
    """A store gets the brands again that it had at the start."""
    store = choose_store(bench, store_id)
    known = (*bench.beginning.stores, bench.beginning.closed_store, bench.beginning.foreign_store)
    brands = [list(one.brands) for one in known if one.id == store]
    if not brands:
        raise MutationError(f"there is no store {store}")
    return _link(bench, "refill_store", store, brands[0], linked=True)


def deactivate_store(bench: Bench, store_id: UUID | None = None) -> Mutation:
    """A store is switched off: its list answers 404."""
    return _set_store(bench, "deactivate_store", choose_store(bench, store_id), active=False)


def activate_store(bench: Bench, store_id: UUID | None = None) -> Mutation:
    """A store is switched on again."""
    return _set_store(bench, "activate_store", choose_store(bench, store_id), active=True)


def _set_product(bench: Bench, operator: str, product_id: UUID | None, *, active: bool) -> Mutation:
    product = choose_product(bench, product_id)
    with writing(bench, product.id) as (connection, _):
        connection.execute(t.product.update().where(t.product.c.id == product.id).values(is_active=active))
    return Mutation(operator, product.id, None, (), f"{product.sku} is {'on' if active else 'off'}")


def _link(bench: Bench, operator: str, store: UUID, brands: list[UUID], *, linked: bool) -> Mutation:
    there = t.store_brand.c
    with writing(bench, *products_of_brands(bench, brands)) as (connection, _):
        connection.execute(t.store_brand.delete().where(there.store_id == store, there.brand_id.in_(brands)))
        if linked:
            connection.execute(t.store_brand.insert(), [{"store_id": store, "brand_id": brand} for brand in brands])
    return Mutation(operator, None, None, (), f"{len(brands)} brands {'linked to' if linked else 'unlinked from'} it")


def _set_store(bench: Bench, operator: str, store: UUID, *, active: bool) -> Mutation:
    with bench.office.engine.begin() as connection:
        connection.execute(t.store.update().where(t.store.c.id == store).values(is_active=active))
    return Mutation(operator, None, None, (), f"the store is {'on' if active else 'off'}")
