"""What every operator works with: head office's parts, the choice of what is changed, and how a change is written."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

from imagesync_pipelines.sandbox.head_office.beginning import Beginning
from imagesync_pipelines.sandbox.mutation import MutationError
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.catalogue import changing
from imagesync_pipelines.web.head_office.office import HeadOffice

_BY_ID = aggregate_order_by(sa.literal(","), t.photo.c.id)


@dataclass(frozen=True)
class OfficeMutation:
    """One change that was made.

    `photo_id` is the photo that was changed or made, `gone` are the ids that head office does not have any more (a
    photo out of a store's scope is not gone), `detail` says in a few words what is different now.
    """

    operator: str
    product_id: UUID | None
    photo_id: UUID | None
    gone: tuple[UUID, ...]
    detail: str


@dataclass
class Bench:
    """Head office's parts, and what was chosen before. `silent` changes leave no trace for incremental readers."""

    office: HeadOffice
    beginning: Beginning
    silent: bool
    rng: Random
    chosen: set[UUID] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def next_label(self, sku: str) -> str:
        """A label that no photo had before."""
        return f"{sku}/{self.rng.getrandbits(64):016x}"

    def uuid(self) -> UUID:
        """A new id, from the seed."""
        return UUID(int=self.rng.getrandbits(128), version=4)


def open_bench(office: HeadOffice, beginning: Beginning, *, silent: bool) -> Bench:
    """A bench for what head office has now: the same choices for the same data, others after a change and a restart."""
    with office.engine.connect() as connection:
        there = connection.scalar(sa.select(sa.func.md5(sa.func.string_agg(sa.cast(t.photo.c.id, sa.Text), _BY_ID))))
    rng = Random(f"{beginning.seed}/changes/{there}")
    return Bench(office, beginning, silent, rng)


@contextmanager
def writing(bench: Bench, *products: UUID) -> Iterator[tuple[sa.Connection, datetime]]:
    """One transaction around some products, and the stamp for its rows.

    Head office's own service notes what left or entered a store's scope; a silent change, and every change in the
    original, writes the rows and nothing else.
    """
    if bench.silent:
        with bench.office.engine.begin() as connection:
            yield connection, bench.office.clock()
    else:
        with changing(bench.office, t.product.c.id.in_(products)) as change:
            yield change.connection, change.stamp


def choose_photo(bench: Bench, photo_id: UUID | None) -> sa.Row[Any]:
    """The row of the photo that is named, or of one that the first store sees, each product once before any twice.

    Columns: those of the photo, and the product's sku.
    """
    rows = sa.select(t.photo, t.product.c.sku).join(t.product, t.product.c.id == t.photo.c.product_id)
    if photo_id is not None:
        return _only(bench, rows.where(t.photo.c.id == photo_id), f"there is no photo {photo_id}")
    seen = t.scope().subquery()
    mine = sa.select(seen.c.photo_id).where(seen.c.store_id == bench.beginning.stores[0].id)
    good = rows.where(t.photo.c.id.in_(mine), t.photo.c.checksum != "").order_by(t.product.c.sku, t.photo.c.id)
    with bench.office.engine.connect() as connection:
        found = connection.execute(good).all()
    fresh = [row for row in found if row.product_id not in bench.chosen]
    if not found:
        raise MutationError("the first store sees no photo that could be changed; name one, or refill the store")
    if not fresh:
        bench.chosen.clear()
    row = bench.rng.choice(fresh or found)
    bench.chosen.add(row.product_id)
    return row


def choose_product(bench: Bench, product_id: UUID | None) -> sa.Row[Any]:
    """The row of the product that is named, or of one chosen as `choose_photo` does."""
    chosen = product_id if product_id is not None else choose_photo(bench, None).product_id
    return _only(bench, sa.select(t.product).where(t.product.c.id == chosen), f"there is no product {chosen}")


def choose_store(bench: Bench, store_id: UUID | None) -> UUID:
    """The store that is named, or the first."""
    return store_id if store_id is not None else bench.beginning.stores[0].id


def products_of_brands(bench: Bench, brands: list[UUID]) -> list[UUID]:
    """All products of some brands."""
    with bench.office.engine.connect() as connection:
        return list(connection.scalars(sa.select(t.product.c.id).where(t.product.c.brand_id.in_(brands))))


def _only(bench: Bench, query: sa.Select[Any], problem: str) -> sa.Row[Any]:
    with bench.office.engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    if row is None:
        raise MutationError(problem)
    return row
