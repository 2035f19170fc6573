"""The accounts that stores log in with: adding, listing, disabling them, and which stores each may read."""

from typing import NamedTuple
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.catalogue import UnknownRowError
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tokens import end_tokens


class Account(NamedTuple):
    """An account; stores: the codes that it may read, beside all of them when it is marked so."""

    username: str
    is_active: bool
    all_stores: bool
    stores: list[str]


def add_account(office: HeadOffice, username: str, password_hash: str, *, all_stores: bool = False) -> UUID:
    """Add an active account, or give one a new password and let it in again; its tokens are over then.

    all_stores: it reads every store. `password_hash` comes from tokens.hash_password.
    """
    row = {"username": username, "password_hash": password_hash, "all_stores": all_stores, "is_active": True}
    statement = insert(t.account).values(id=uuid4(), **row)
    news = {**row, "generation": t.account.c.generation + 1}
    statement = statement.on_conflict_do_update(index_elements=["username"], set_=news)
    with office.engine.begin() as connection:
        found: UUID = connection.execute(statement.returning(t.account.c.id)).scalar_one()
    return found


def list_accounts(office: HeadOffice) -> list[Account]:
    """All accounts, by name."""
    codes = sa.func.array_agg(sa.dialects.postgresql.aggregate_order_by(t.store.c.code, t.store.c.code))
    names = (t.account.c.username, t.account.c.is_active, t.account.c.all_stores)
    joined = t.account.outerjoin(t.account_store).outerjoin(t.store, t.store.c.id == t.account_store.c.store_id)
    query = sa.select(*names, codes.filter(t.store.c.code.is_not(None)).label("stores")).select_from(joined)
    with office.engine.connect() as connection:
        rows = connection.execute(query.group_by(*names).order_by(t.account.c.username)).all()
    return [Account(row.username, row.is_active, row.all_stores, row.stores or []) for row in rows]


def set_active(office: HeadOffice, username: str, *, active: bool) -> None:
    """Let an account in or keep it out; tokens from before are over either way. Raises UnknownRowError."""
    with office.engine.begin() as connection:
        if not end_tokens(connection, t.account.c.username == username, is_active=active):
            raise _unknown(username)


def grant(office: HeadOffice, username: str, store_id: UUID) -> None:
    """Let an account read a store."""
    with office.engine.begin() as connection:
        account_id = _find(connection, username)
        if connection.execute(sa.select(t.store.c.id).where(t.store.c.id == store_id)).first() is None:
            raise UnknownRowError(f"There is no store {store_id}.")
        row = {"account_id": account_id, "store_id": store_id}
        connection.execute(insert(t.account_store).values(row).on_conflict_do_nothing())


def revoke(office: HeadOffice, username: str, store_id: UUID) -> None:
    """Take the grant for a store back, at once. Raises UnknownRowError when the account reads every store anyway."""
    with office.engine.begin() as connection:
        account_id = _find(connection, username)
        if connection.scalar(sa.select(t.account.c.all_stores).where(t.account.c.id == account_id)):
            raise UnknownRowError(
                f"{username} reads every store, not by grants; nothing was changed. "
                "Add it anew without --all-stores, then grant what it may read."
            )
        grant = (t.account_store.c.account_id == account_id) & (t.account_store.c.store_id == store_id)
        connection.execute(t.account_store.delete().where(grant))


def _find(connection: sa.Connection, username: str) -> UUID:
    found: UUID | None = connection.scalar(sa.select(t.account.c.id).where(t.account.c.username == username))
    if found is None:
        raise _unknown(username)
    return found


def _unknown(username: str) -> UnknownRowError:
    return UnknownRowError(f"There is no account {username}; see `imagesync head-office account list`.")
