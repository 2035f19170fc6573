"""Writing the head office's catalogue: companies, brands, stores, products, accounts and who sees what.

Adding what is there already updates it and gives its id, so every call can be repeated. Nothing is deleted.

What stores see is changed in one transaction that leaves the traces an incremental reader needs: a photo that leaves a
store's scope gets a row in `photo_deletion`; one that enters it gets a new `updated_at`, so that `since` finds it.
Changes run one after the other, so a later stamp is never committed before an earlier one: a reader whose cursor is the
largest `updated_at` it saw misses nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.office import HeadOffice

_before = sa.table("scope_before", sa.column("store_id"), sa.column("photo_id"), sa.column("product_id"))


class UnknownRowError(StorageError):
    """A company, brand, store, product, photo or account that is named does not exist; nothing was changed."""


def add_company(office: HeadOffice, name: str) -> UUID:
    """Add a company; a name that is there already gives its id."""
    return _upsert(office, t.company, ["name"], {"name": name})


def add_brand(office: HeadOffice, company_id: UUID, name: str) -> UUID:
    """Add a brand to a company; stores see it once it is linked to them."""
    return _upsert(office, t.brand, ["company_id", "name"], {"company_id": company_id, "name": name})


def add_store(office: HeadOffice, company_id: UUID, code: str, name: str) -> UUID:
    """Add an active store to a company; `code` is unique over all companies."""
    with office.engine.begin() as connection:
        owner = connection.execute(sa.select(t.store.c.company_id).where(t.store.c.code == code)).scalar()
    if owner is not None and owner != company_id:
        raise UnknownRowError(f"Store {code} belongs to another company; choose another code.")
    return _upsert(office, t.store, ["code"], {"company_id": company_id, "code": code, "name": name})


def add_products(office: HeadOffice, brand_id: UUID, names: Mapping[str, str]) -> dict[str, UUID]:
    """Add many active products at once, sku -> name; gives sku -> id of all of them."""
    if not names:
        return {}
    rows = [{"id": uuid4(), "brand_id": brand_id, "sku": sku, "name": name} for sku, name in names.items()]
    statement = insert(t.product)
    news = {"name": statement.excluded.name}
    statement = statement.on_conflict_do_update(index_elements=["brand_id", "sku"], set_=news)
    with office.engine.begin() as connection:
        connection.execute(statement, rows)
        return product_ids(connection, brand_id, list(names))


def product_ids(connection: sa.Connection, brand_id: UUID, skus: list[str]) -> dict[str, UUID]:
    """sku -> id of those of the products that the brand has."""
    here = t.product.c.brand_id == brand_id, among(t.product.c.sku, skus)
    return {row.sku: row.id for row in connection.execute(sa.select(t.product.c.sku, t.product.c.id).where(*here))}


def add_account(office: HeadOffice, username: str, password_hash: str, *, all_stores: bool = False) -> UUID:
    """Add an active account, or give an existing one a new password; `all_stores` reads every store.

    `password_hash` comes from tokens.hash_password.
    """
    row = {"username": username, "password_hash": password_hash, "all_stores": all_stores}
    return _upsert(office, t.account, ["username"], row)


def grant(office: HeadOffice, username: str, store_id: UUID) -> None:
    """Let an account read a store."""
    with office.engine.begin() as connection:
        found = connection.execute(sa.select(t.account.c.id).where(t.account.c.username == username)).scalar()
        if found is None:
            raise UnknownRowError(f"There is no account {username}.")
        if connection.execute(sa.select(t.store.c.id).where(t.store.c.id == store_id)).first() is None:
            raise UnknownRowError(f"There is no store {store_id}.")
        row = {"account_id": found, "store_id": store_id}
        connection.execute(insert(t.account_store).values(row).on_conflict_do_nothing())


def find_store(office: HeadOffice, code: str) -> UUID:
    """The id of the store with this code; raises UnknownRowError."""
    with office.engine.connect() as connection:
        found: UUID | None = connection.execute(sa.select(t.store.c.id).where(t.store.c.code == code)).scalar()
    if found is None:
        raise UnknownRowError(f"There is no store with the code {code}; see `imagesync head-office health`.")
    return found


def link_brand(office: HeadOffice, store_id: UUID, brand_id: UUID) -> None:
    """Let a store see a brand of its company; its photos get a new `updated_at` when they come into view."""
    with changing(office, t.product.c.brand_id == brand_id) as (connection, _):
        row = {"store_id": store_id, "brand_id": brand_id}
        connection.execute(insert(t.store_brand).values(row).on_conflict_do_nothing())


@contextmanager
def changing(office: HeadOffice, products: sa.ColumnElement[bool]) -> Iterator[tuple[sa.Connection, datetime]]:
    """One transaction that changes rows around some products, and the stamp for the rows it writes.

    products: a condition on the product table. On leaving, the photos that entered and left the scope of each store are
    worked out and noted. Nothing is kept when the body raises.
    """
    seen = t.scope().where(products).subquery()
    with office.engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": t.WRITE_LOCK})
        stamp = office.clock()
        columns = "store_id uuid, photo_id uuid, product_id uuid"
        connection.execute(sa.text(f"CREATE TEMPORARY TABLE scope_before ({columns}) ON COMMIT DROP"))
        connection.execute(sa.insert(_before).from_select(["store_id", "photo_id", "product_id"], sa.select(seen)))
        yield connection, stamp
        same = (seen.c.store_id == _before.c.store_id) & (seen.c.photo_id == _before.c.photo_id)
        was_or_is = sa.exists().where(same)
        left = sa.select(_before, sa.literal(stamp, sa.DateTime(timezone=True))).where(~was_or_is)
        gone = insert(t.photo_deletion).from_select(["store_id", "photo_id", "product_id", "deleted_at"], left)
        again = {"deleted_at": gone.excluded.deleted_at}
        connection.execute(gone.on_conflict_do_update(index_elements=["store_id", "photo_id"], set_=again))
        entered = sa.select(seen.c.store_id, seen.c.photo_id).where(~was_or_is)
        stale = t.photo.c.id.in_(sa.select(entered.subquery().c.photo_id)), t.photo.c.updated_at != stamp
        connection.execute(t.photo.update().where(*stale).values(updated_at=stamp))
        key = sa.tuple_(t.photo_deletion.c.store_id, t.photo_deletion.c.photo_id)
        connection.execute(t.photo_deletion.delete().where(key.in_(entered)))


def _upsert(office: HeadOffice, table: sa.Table, natural_key: list[str], row: dict[str, Any]) -> UUID:
    """Insert a row, or update the one with the same natural key; gives the id of the row that is there then."""
    statement = insert(table).values(id=uuid4(), **row)
    news = {name: statement.excluded[name] for name in row}
    statement = statement.on_conflict_do_update(index_elements=natural_key, set_=news)
    with office.engine.begin() as connection:
        found: UUID = connection.execute(statement.returning(table.c.id)).scalar_one()
    return found
