"""API keys: which systems may call the API, and for what.

A key is shown once, when it is made; only its hash is kept.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import IntegrityError

from imagesync_pipelines.storage.database import read_rows
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.schema_catalogue import api_key

# What a leaked key is recognised by.
_MARK = "imgs"
_PREFIX_BYTES, _SECRET_BYTES = 6, 32
_KEY = re.compile(rf"{_MARK}_[0-9a-f]{{{2 * _PREFIX_BYTES}}}_[A-Za-z0-9_-]{{43}}")
_NAME = re.compile(r"[\w.@+-]{1,100}")
_USE_NOTED_EVERY = timedelta(minutes=1)


class KeyScope(StrEnum):
    """What a key may do."""

    READ = "read"
    EXPORT = "export"
    PIN = "pin"


class KeyRefusedError(StorageError):
    """A key that cannot be made or revoked; the message says why."""


class ApiKey(BaseModel):
    """A key without its secret. prefix: its beginning, which may be shown."""

    model_config = ConfigDict(frozen=True)

    id: int
    name: str
    prefix: str
    scopes: frozenset[KeyScope]
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


def add_key(engine: sa.Engine, name: str, scopes: Collection[KeyScope]) -> tuple[str, ApiKey]:
    """Make a key for a system: the key itself, which nobody can read again, and what is kept of it.

    Raises KeyRefusedError when the name is not good, when there is a valid key of that name, or when there are no
    scopes.
    """
    if not _NAME.fullmatch(name):
        raise KeyRefusedError(f"Key {name!r}: a name has 1 to 100 letters, digits and . _ @ + -; no key was made.")
    if not scopes:
        raise KeyRefusedError(f"Key {name}: name at least one scope of {', '.join(KeyScope)}; no key was made.")
    prefix = f"{_MARK}_{secrets.token_hex(_PREFIX_BYTES)}"
    key = f"{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    ordered = [scope.value for scope in KeyScope if scope in set(scopes)]
    statement = api_key.insert().values(name=name, prefix=prefix, key_hash=_hash(key), scopes=ordered)
    try:
        with engine.begin() as connection:
            return key, ApiKey(**connection.execute(statement.returning(*_COLUMNS)).one()._mapping)
    except IntegrityError:
        raise KeyRefusedError(f"There is a key {name} already; revoke it first, or choose another name.") from None


def find_key(engine: sa.Engine, key: str, now: datetime) -> ApiKey | None:
    """The valid key that this text is, None for anything else; notes that it was used, once a minute."""
    if not _KEY.fullmatch(key):
        return None
    prefix = key[: len(_MARK) + 1 + 2 * _PREFIX_BYTES]
    with engine.connect() as connection:
        query = sa.select(*_COLUMNS, api_key.c.key_hash).where(api_key.c.prefix == prefix)
        row = connection.execute(query).one_or_none()
    if row is None or row.revoked_at is not None or not hmac.compare_digest(row.key_hash, _hash(key)):
        return None
    if row.last_used_at is None or now - row.last_used_at >= _USE_NOTED_EVERY:
        with engine.begin() as connection:
            connection.execute(api_key.update().where(api_key.c.id == row.id).values(last_used_at=now))
    return ApiKey(**row._mapping)


def list_keys(engine: sa.Engine) -> list[ApiKey]:
    """Every key, revoked ones included, the newest first."""
    return read_rows(engine, sa.select(*_COLUMNS).order_by(api_key.c.id.desc()), ApiKey)


def revoke_key(engine: sa.Engine, name: str) -> ApiKey:
    """Let nobody call with the key of this name any more. Raises KeyRefusedError when there is no valid one."""
    wanted = (api_key.c.name == name) & api_key.c.revoked_at.is_(None)
    statement = api_key.update().where(wanted).values(revoked_at=sa.func.now())
    with engine.begin() as connection:
        row = connection.execute(statement.returning(*_COLUMNS)).one_or_none()
    if row is None:
        raise KeyRefusedError(f"There is no valid key {name}; see `imagesync key list`.")
    return ApiKey(**row._mapping)


_COLUMNS = tuple(api_key.c[name] for name in ApiKey.model_fields)


def _hash(key: str) -> bytes:
    # A plain hash is enough: the secret is 256 random bits, which nobody can guess through a list.
    return hashlib.sha256(key.encode()).digest()
