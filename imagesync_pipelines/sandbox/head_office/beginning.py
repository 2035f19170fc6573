"""What the sandbox's head office has when it starts, from a seed, and writing it into tables and bucket."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from imagesync_pipelines.sandbox.head_office.photos import PhotoFile, kind_of, make_photo
from imagesync_pipelines.web.head_office import tables as t

# Dishes with quotes, accents and other scripts: contract, "What a faithful simulator must do".
DISHES = (
    'Nasi Goreng "Spesial"',
    "Crème brûlée d'été",
    "宮保雞丁",
    "Суп «Харчо»",
    "كبسة دجاج",
    "Sate Ayam; 10 tusuk",
    "Phở bò tái",
    "Fish & Chips <large>",
    "Käsespätzle",
    "แกงเขียวหวาน",
    "Es Teh 50% \\ less sugar",
    "Pizza 'Quattro' 🍕",
)
BRAND_SHARES = (0.5, 0.3, 0.2)
DAYS_BACK = 400
HIDDEN_PER_REASON = 2
FIRST_SKU, SKU_STEP = 5018970, 13


@dataclass(frozen=True)
class Brand:
    """A brand of a company."""

    id: UUID
    company: UUID
    name: str
    is_active: bool = True


@dataclass(frozen=True)
class Store:
    """A store and the brands that are linked to it; `granted` says whether the sandbox's account may read it."""

    id: UUID
    company: UUID
    code: str
    name: str
    brands: tuple[UUID, ...]
    is_active: bool = True
    granted: bool = True


@dataclass(frozen=True)
class OfficeProduct:
    """A product with its one photo; `updated_at` is the photo's, `kind` its file's (photos.py)."""

    id: UUID
    brand: UUID
    sku: str
    name: str
    photo_id: UUID
    kind: str
    filename: str
    updated_at: datetime
    is_active: bool = True

    @property
    def object_key(self) -> str:
        """The key of the photo in the bucket, as head office makes it."""
        return f"products/{self.id}/primary.{self.kind}"


@dataclass(frozen=True)
class Beginning:
    """All rows at the start.

    The first of `stores` sees every one of the photos that were asked for, each other store a part of them.
    `closed_store` is granted but not active, `foreign_store` active but another company's and not granted.
    """

    seed: int
    companies: tuple[tuple[UUID, str], ...]
    brands: tuple[Brand, ...]
    stores: tuple[Store, ...]
    closed_store: Store
    foreign_store: Store
    products: tuple[OfficeProduct, ...]
    hidden: tuple[OfficeProduct, ...]

    @property
    def all_stores(self) -> tuple[Store, ...]:
        """The open stores, the closed and the foreign one."""
        return (*self.stores, self.closed_store, self.foreign_store)


def make_beginning(seed: int, photos: int, stores: int, now: datetime) -> Beginning:
    """Rows for so many photos and stores, the same for the same seed and time.

    Beside them there are a few products with photos that no store may list: not active, of a brand that is not active,
    of another company.
    """
    rng = Random(f"{seed}/head office")
    main, other = _uuid(rng), _uuid(rng)
    brands = [Brand(_uuid(rng), main, name) for name in ("Warung Satu", "Kedai Dua", "Dapur Tiga")]
    closed_brand = Brand(_uuid(rng), main, "Closed Kitchen", is_active=False)
    other_brand = Brand(_uuid(rng), other, "Elsewhere")
    linked = (*(brand.id for brand in brands), closed_brand.id)
    # The first store sees all; every other one the first brand, so that it has photos, and never all active ones.
    shops = [
        Store(
            _uuid(rng),
            main,
            f"ST{nth:03}",
            f"Store {nth}",
            linked if nth == 1 else (linked[0], rng.choice(linked[1:3])),
        )
        for nth in range(1, stores + 1)
    ]
    closed_store = Store(_uuid(rng), main, "ST900", "Closed store", linked, is_active=False)
    foreign_store = Store(_uuid(rng), other, "ST901", "Store of others", (other_brand.id,), granted=False)
    choose = [brand.id for brand in brands]
    products = [
        _product(rng, nth, rng.choices(choose, BRAND_SHARES)[0] if nth >= len(choose) else choose[nth], now)
        for nth in range(photos)
    ]
    reasons = [(brands[0].id, False), (closed_brand.id, True), (other_brand.id, True)] * HIDDEN_PER_REASON
    hidden = [_product(rng, photos + nth, brand, now, is_active=active) for nth, (brand, active) in enumerate(reasons)]
    return Beginning(
        seed=seed,
        companies=((main, "Main company"), (other, "Other company")),
        brands=(*brands, closed_brand, other_brand),
        stores=tuple(shops),
        closed_store=closed_store,
        foreign_store=foreign_store,
        products=tuple(products),
        hidden=tuple(hidden),
    )


def _product(rng: Random, nth: int, brand: UUID, now: datetime, *, is_active: bool = True) -> OfficeProduct:
    updated_at = _stamp(rng, nth, now)
    kind = kind_of(nth)
    return OfficeProduct(
        id=_uuid(rng),
        brand=brand,
        # Leading zeros: a sku is text.
        sku=f"{FIRST_SKU + nth * SKU_STEP:08}",
        name=f"{DISHES[nth % len(DISHES)]} {nth + 1}",
        photo_id=_uuid(rng),
        kind=kind,
        filename=f"Menu_Image_{updated_at:%Y%m%d%H%M%S}.{kind}",
        updated_at=updated_at,
        is_active=is_active,
    )


def _stamp(rng: Random, nth: int, now: datetime) -> datetime:
    """When a photo was changed: some without a fraction of a second, and of forty ten at the same time."""
    if nth % 40 < 10:
        return now.replace(microsecond=250_000) - timedelta(days=30 + nth // 40)
    at = now - timedelta(seconds=rng.uniform(3600, DAYS_BACK * 86_400))
    return at.replace(microsecond=0) if nth % 7 == 0 else at


def _uuid(rng: Random) -> UUID:
    return UUID(int=rng.getrandbits(128), version=4)


ROWS_AT_ONCE = 1000


def checksum_of(content: bytes) -> str:
    """The MD5 that head office lists, 32 lower-case characters."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def fill(engine: sa.Engine, bucket: Path, beginning: Beginning) -> None:
    """Write every object into the bucket's folder, then all rows in one transaction; the tables are there, empty.

    The object store must not run yet: it would not see files that others write. That is ten times as fast as asking it.
    """
    products = beginning.products + beginning.hidden
    photos = []
    for product in products:
        file, path = make_photo(beginning.seed, product.sku, product.kind), bucket / product.object_key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.content)
        photos.append(_photo_row(product, file))
    with engine.begin() as connection:
        _insert(connection, t.company, [{"id": key, "name": name} for key, name in beginning.companies])
        _insert(connection, t.brand, [_row(one, "id name is_active", company_id="company") for one in beginning.brands])
        _insert(
            connection,
            t.store,
            [_row(one, "id code name is_active", company_id="company") for one in beginning.all_stores],
        )
        links = [{"store_id": store.id, "brand_id": brand} for store in beginning.all_stores for brand in store.brands]
        _insert(connection, t.store_brand, links)
        rows = [_row(product, "id sku name is_active", brand_id="brand") for product in products]
        _insert(connection, t.product, rows)
        _insert(connection, t.photo, photos)


def _row(record: object, names: str, **columns: str) -> dict[str, Any]:
    """A row with the fields of these names, and columns whose fields are called otherwise."""
    columns |= {name: name for name in names.split()}
    return {column: getattr(record, name) for column, name in columns.items()}


def _photo_row(product: OfficeProduct, file: PhotoFile) -> dict[str, Any]:
    return {
        **_row(product, "object_key filename updated_at", id="photo_id", product_id="id"),
        "size": len(file.content),
        "content_type": file.content_type,
        "checksum": checksum_of(file.content),
        "version": 1,
        "is_primary": True,
        "sort_order": 0,
    }


def _insert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> None:
    for start in range(0, len(rows), ROWS_AT_ONCE):
        connection.execute(table.insert(), rows[start : start + ROWS_AT_ONCE])
