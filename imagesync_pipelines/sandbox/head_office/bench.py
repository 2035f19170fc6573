"""Where changes of head office are made: its parts, and the photo, product or new file that a change is about."""

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
from imagesync_pipelines.sandbox.head_office.photos import JPEG, PhotoFile, make_photo
from imagesync_pipelines.sandbox.mutation import MutationError
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.catalogue import changing
from imagesync_pipelines.web.head_office.office import HeadOffice

_BY_ID = aggregate_order_by(sa.literal(","), t.photo.c.id)


@dataclass
class Bench:
    """Head office's parts, and what was chosen before. `silent` changes leave no trace for incremental readers."""

    office: HeadOffice
    beginning: Beginning
    silent: bool
    rng: Random
    chosen: set[UUID] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def uuid(self) -> UUID:
        """A new id, from the seed."""
        return UUID(int=self.rng.getrandbits(128), version=4)

    def new_file(self, sku: str, kind: str = JPEG) -> PhotoFile:
        """A photo that no product had before."""
        return make_photo(self.beginning.seed, f"{sku}/{self.rng.getrandbits(64):016x}", kind)

    def put(self, key: str, content: bytes, content_type: str) -> None:
        """Write an object."""
        self.office.s3.put_object(Bucket=self.office.bucket, Key=key, Body=content, ContentType=content_type)

    def scalars(self, query: sa.Select[Any]) -> list[Any]:
        """The first column of what a query finds."""
        with self.office.engine.connect() as connection:
            return list(connection.scalars(query))

    @contextmanager
    def writing(self, *products: UUID) -> Iterator[tuple[sa.Connection, datetime]]:
        """One transaction around some products, and the stamp for its rows.

        Head office's own service notes what left or entered a store's scope; a silent change, and every change in the
        original, writes the rows and nothing else.
        """
        if self.silent:
            with self.office.engine.begin() as connection:
                yield connection, self.office.clock()
        else:
            with changing(self.office, t.product.c.id.in_(products)) as change:
                yield change

    def photo(self, photo_id: UUID | None) -> sa.Row[Any]:
        """The row of the photo that is named, or of one that the first store sees, each product once before any twice.

        Columns: those of the photo, and the product's sku.
        """
        rows = sa.select(t.photo, t.product.c.sku).join(t.product, t.product.c.id == t.photo.c.product_id)
        if photo_id is not None:
            return self._only(rows.where(t.photo.c.id == photo_id), f"there is no photo {photo_id}")
        seen = t.scope().subquery()
        mine = sa.select(seen.c.photo_id).where(seen.c.store_id == self.beginning.stores[0].id)
        good = rows.where(t.photo.c.id.in_(mine), t.photo.c.checksum != "").order_by(t.product.c.sku, t.photo.c.id)
        with self.office.engine.connect() as connection:
            found = connection.execute(good).all()
        if not found:
            raise MutationError("the first store sees no photo that could be changed; name one, or refill the store")
        fresh = [row for row in found if row.product_id not in self.chosen]
        if not fresh:
            self.chosen.clear()
        row = self.rng.choice(fresh or found)
        self.chosen.add(row.product_id)
        return row

    def product(self, product_id: UUID | None) -> sa.Row[Any]:
        """The row of the product that is named, or of one chosen as `photo` does."""
        chosen = product_id if product_id is not None else self.photo(None).product_id
        return self._only(sa.select(t.product).where(t.product.c.id == chosen), f"there is no product {chosen}")

    def _only(self, query: sa.Select[Any], problem: str) -> sa.Row[Any]:
        with self.office.engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            raise MutationError(problem)
        return row


def open_bench(office: HeadOffice, beginning: Beginning, *, silent: bool) -> Bench:
    """A bench for what head office has now: the same choices for the same data, others after a change and a restart."""
    with office.engine.connect() as connection:
        there = connection.scalar(sa.select(sa.func.md5(sa.func.string_agg(sa.cast(t.photo.c.id, sa.Text), _BY_ID))))
    return Bench(office, beginning, silent, Random(f"{beginning.seed}/changes/{there}"))
