"""Who may read which store.

Better than the original, where any account read any store: an account reads the stores that it is granted, or all when
it is marked so.
"""

from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from imagesync_pipelines.web.head_office.answers import HeadOfficeProblem, RequestRefusedError, TokenProblem
from imagesync_pipelines.web.head_office.tables import account, account_store, store
from imagesync_pipelines.web.head_office.tokens import Office, account_id, account_refused

# What every sync endpoint may answer, for the OpenAPI document.
REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": HeadOfficeProblem, "description": "A value is missing or wrong"},
    401: {"model": TokenProblem, "description": "No token, or one that is not good"},
    403: {"model": HeadOfficeProblem, "description": "The account may not read this store"},
    404: {"model": HeadOfficeProblem, "description": "The store is unknown or inactive, or the photo is not there"},
    "default": {"model": HeadOfficeProblem, "description": "Any other refusal"},
    503: {"model": HeadOfficeProblem, "description": "The database or the object store does not answer; try again"},
}

# Only for the OpenAPI document: the header is read below, with the original's words for each mistake.
_scheme = HTTPBearer(auto_error=False, description="The access token of POST /api/v1/token/")


# Not a plain function for the same reason as office_of.
async def _caller(office: Office, request: Request, _: Annotated[object, Depends(_scheme)]) -> UUID:
    return account_id(office, request.headers.get("Authorization", ""))


Caller = Annotated[UUID, Depends(_caller)]


def admit(connection: sa.Connection, caller: UUID, store_id: UUID) -> None:
    """Let an account at a store, or raise:

    TokenRefusedError for the account, 404 for the store, 403 without a grant.
    """
    granted = (account_store.c.account_id == account.c.id) & (account_store.c.store_id == store.c.id)
    found = connection.execute(
        sa.select(
            account.c.is_active,
            store.c.is_active.label("store_active"),
            (account.c.all_stores | account_store.c.store_id.is_not(None)).label("granted"),
        )
        .select_from(account)
        .outerjoin(store, store.c.id == store_id)
        .outerjoin(account_store, granted)
        .where(account.c.id == caller)
    ).one_or_none()
    if found is None or not found.is_active:
        raise account_refused(None if found is None else False)
    if not found.store_active:
        raise RequestRefusedError(404, "Store not found")
    if not found.granted:
        raise RequestRefusedError(403, "This account may not read this store", "ask the head office to grant it")


def readable(connection: sa.Connection, caller: UUID) -> sa.ColumnElement[bool]:
    """The condition on the store table for what an account may read; raises TokenRefusedError for the account."""
    found = connection.execute(
        sa.select(account.c.is_active, account.c.all_stores).where(account.c.id == caller)
    ).one_or_none()
    if found is None or not found.is_active:
        raise account_refused(None if found is None else False)
    if found.all_stores:
        return sa.true()
    return store.c.id.in_(sa.select(account_store.c.store_id).where(account_store.c.account_id == caller))
