"""Writing the head office's catalogue: companies, brands, stores, products, accounts and who sees what.

Adding what is there already updates it and gives its id, so every call can be repeated. Nothing is deleted: things are
made inactive, links and grants are taken back.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.web.head_office.changes import changing, of_products
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tables import (
    account,
    account_store,
    brand,
    company,
    product,
    store,
    store_brand,
)


class UnknownRowError(StorageError):
    """A company, brand, store, product, photo or account that is named does not exist; nothing was changed."""


def add_company(office: HeadOffice, name: str, *, company_id: UUID | None = None) -> UUID:
    """Add a company; a name that is there already gives its id."""
    return _upsert(office, company, ["name"], {"id": company_id or uuid4(), "name": name})


def add_brand(office: HeadOffice, company_id: UUID, name: str, *, brand_id: UUID | None = None) -> UUID:
    """Add a brand to a company; stores see it once it is linked to them."""
    row = {"id": brand_id or uuid4(), "company_id": company_id, "name": name}
    return _upsert(office, brand, ["company_id", "name"], row)


def add_store(office: HeadOffice, company_id: UUID, code: str, name: str, *, store_id: UUID | None = None) -> UUID:
    """Add an active store to a company; `code` is unique over all companies."""
    row = {"id": store_id or uuid4(), "company_id": company_id, "code": code, "name": name}
    with office.engine.begin() as connection:
        owner = connection.execute(sa.select(store.c.company_id).where(store.c.code == code)).scalar()
    if owner is not None and owner != company_id:
        raise UnknownRowError(f"Store {code} belongs to another company; choose another code.")
    return _upsert(office, store, ["code"], row)


def add_product(office: HeadOffice, brand_id: UUID, sku: str, name: str, *, product_id: UUID | None = None) -> UUID:
    """Add an active product; the same sku in the same brand gives its id and takes the new name."""
    row = {"id": product_id or uuid4(), "brand_id": brand_id, "sku": sku, "name": name}
    return _upsert(office, product, ["brand_id", "sku"], row)


def add_products(office: HeadOffice, brand_id: UUID, names: Mapping[str, str]) -> dict[str, UUID]:
    """Add many products at once, sku -> name; gives sku -> id of all of them."""
    if not names:
        return {}
    rows = [{"id": uuid4(), "brand_id": brand_id, "sku": sku, "name": name} for sku, name in names.items()]
    statement = insert(product)
    statement = statement.on_conflict_do_update(
        index_elements=["brand_id", "sku"], set_={"name": statement.excluded.name}
    )
    with office.engine.begin() as connection:
        connection.execute(statement, rows)
        found = connection.execute(
            sa.select(product.c.sku, product.c.id).where(
                product.c.brand_id == brand_id, product.c.sku == sa.any_(sa.literal(list(names), sa.ARRAY(sa.Text)))
            )
        )
        return {row.sku: row.id for row in found}


def add_account(office: HeadOffice, username: str, password_hash: str, *, all_stores: bool = False) -> UUID:
    """Add an active account, or give an existing one a new password; `all_stores` reads every store.

    `password_hash` comes from tokens.hash_password.
    """
    row = {"id": uuid4(), "username": username, "password_hash": password_hash, "all_stores": all_stores}
    return _upsert(office, account, ["username"], row)


def set_account_active(office: HeadOffice, username: str, active: bool) -> None:
    """Let an account in or keep it out; tokens that it holds stop working at once."""
    _update(office, account, account.c.username == username, {"is_active": active}, f"account {username}")


def grant(office: HeadOffice, username: str, store_id: UUID) -> None:
    """Let an account read a store."""
    with office.engine.begin() as connection:
        found = connection.execute(sa.select(account.c.id).where(account.c.username == username)).scalar()
        if found is None:
            raise UnknownRowError(f"There is no account {username}.")
        if connection.execute(sa.select(store.c.id).where(store.c.id == store_id)).first() is None:
            raise UnknownRowError(f"There is no store {store_id}.")
        row = {"account_id": found, "store_id": store_id}
        connection.execute(insert(account_store).values(row).on_conflict_do_nothing())


def find_store(office: HeadOffice, code: str) -> UUID:
    """The id of the store with this code; raises UnknownRowError."""
    with office.engine.connect() as connection:
        found: UUID | None = connection.execute(sa.select(store.c.id).where(store.c.code == code)).scalar()
    if found is None:
        raise UnknownRowError(f"There is no store with the code {code}; see `imagesync head-office health`.")
    return found


def revoke(office: HeadOffice, username: str, store_id: UUID) -> None:
    """Take a grant back; nothing happens when there is none."""
    holder = sa.select(account.c.id).where(account.c.username == username).scalar_subquery()
    with office.engine.begin() as connection:
        connection.execute(
            account_store.delete().where(account_store.c.account_id == holder, account_store.c.store_id == store_id)
        )


def link_brand(office: HeadOffice, store_id: UUID, brand_id: UUID) -> None:
    """Let a store see a brand of its company; its photos get a new `updated_at` when they come into view."""
    with changing(office, product.c.brand_id == brand_id) as change:
        row = {"store_id": store_id, "brand_id": brand_id}
        change.connection.execute(insert(store_brand).values(row).on_conflict_do_nothing())


def unlink_brand(office: HeadOffice, store_id: UUID, brand_id: UUID) -> None:
    """Take a brand out of a store; its photos are reported as deleted to that store."""
    with changing(office, product.c.brand_id == brand_id) as change:
        change.connection.execute(
            store_brand.delete().where(store_brand.c.store_id == store_id, store_brand.c.brand_id == brand_id)
        )


def set_brand_active(office: HeadOffice, brand_id: UUID, active: bool) -> None:
    """Show or hide a brand in every store that it is linked to."""
    with changing(office, product.c.brand_id == brand_id) as change:
        change.connection.execute(brand.update().where(brand.c.id == brand_id).values(is_active=active))


def set_product_active(office: HeadOffice, product_id: UUID, active: bool) -> None:
    """Show or hide a product; its photos are reported as deleted, or come back with a new `updated_at`."""
    with changing(office, of_products([product_id])) as change:
        change.connection.execute(product.update().where(product.c.id == product_id).values(is_active=active))


def set_store_active(office: HeadOffice, store_id: UUID, active: bool) -> None:
    """Open or close a store: a closed one is answered with 404, and nothing of it is reported as deleted."""
    _update(office, store, store.c.id == store_id, {"is_active": active}, f"store {store_id}")


def _upsert(office: HeadOffice, table: sa.Table, natural_key: list[str], row: dict[str, Any]) -> UUID:
    """Insert a row, or update the one with the same natural key; gives the id of the row that is there then."""
    statement = insert(table).values(row)
    news = {name: statement.excluded[name] for name in row if name != "id"}
    with office.engine.begin() as connection:
        found: UUID = connection.execute(
            statement.on_conflict_do_update(index_elements=natural_key, set_=news).returning(table.c.id)
        ).scalar_one()
    return found


def _update(
    office: HeadOffice, table: sa.Table, which: sa.ColumnElement[bool], values: dict[str, Any], named: str
) -> None:
    with office.engine.begin() as connection:
        if connection.execute(table.update().where(which).values(values)).rowcount == 0:
            raise UnknownRowError(f"There is no {named}.")
