"""Who may use the catalogue: people, with a role and a password, and systems, with keys of the API.

A key is shown once, when it is made; only its hash is kept.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from pwdlib import PasswordHash
from pydantic import BaseModel, ConfigDict
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.database import read_rows
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.schema_catalogue import api_key, web_user

SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 1000
_NAME = re.compile(r"[\w.@+-]{1,100}")
# What a leaked key is recognised by.
_MARK = "imgs"
_PREFIX_BYTES, _SECRET_BYTES = 6, 32
_LEGIBLE = "abcdefghjkmnpqrstuvwxyz23456789"
_KEY = re.compile(rf"{_MARK}_[0-9a-f]{{{2 * _PREFIX_BYTES}}}_[A-Za-z0-9_-]{{43}}")
_ELSEWHERE = N_("User {name} signs in at the identity provider, which also says what they may do; nothing was changed.")
_BY_PASSWORD = N_("User {name} comes in by a password")
_USE_NOTED_EVERY = timedelta(minutes=1)


class UserRole(StrEnum):
    """What a person may do: a viewer sees, an admin also changes."""

    VIEWER = "viewer"
    ADMIN = "admin"


class KeyScope(StrEnum):
    """What a key may do."""

    READ = "read"
    EXPORT = "export"
    PIN = "pin"
    PLAN = "plan"


class AccessRefusedError(StorageError):
    """A user or a key that cannot be made, changed or revoked; the message says why."""


class User(BaseModel):
    """A person. session_epoch goes into a session; a session with another one is over.

    issuer: the identity provider that lets this person in, with a role and no password; None for people of ours.
    """

    model_config = ConfigDict(frozen=True)

    id: int
    name: str
    role: UserRole
    is_active: bool
    session_epoch: int
    created_at: datetime
    last_login_at: datetime | None
    issuer: str | None = None


_OURS = web_user.c.issuer.is_(None)
_USER = tuple(web_user.c[name] for name in User.model_fields)


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


_API_KEY = tuple(api_key.c[name] for name in ApiKey.model_fields)


def set_user(engine: sa.Engine, name: str, role: UserRole, password: str, *, only_new: bool = False) -> User:
    """Add a person, or give one a new role and password; their open sessions are over then.

    Raises AccessRefusedError for a name or password that is not good enough, for somebody whom an identity provider
    lets in, and with only_new for a name that somebody has, who was disabled or not; nothing is changed.
    """
    if not _NAME.fullmatch(name):
        raise AccessRefusedError(
            f"User {name!r}: a name has 1 to 100 letters, digits and . _ @ + -; nothing was changed."
        )
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise AccessRefusedError(
            f"User {name}: a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters; nothing was changed."
        )
    values = {"role": role.value, "password_hash": PasswordHash.recommended().hash(password), "is_active": True}
    statement = insert(web_user).values(name=name, **values)
    changed = {**values, "session_epoch": web_user.c.session_epoch + 1}
    if only_new:
        statement = statement.on_conflict_do_nothing(index_elements=["name"])
    else:
        statement = statement.on_conflict_do_update(index_elements=["name"], set_=changed, where=_OURS)
    with engine.begin() as connection:
        row = connection.execute(statement.returning(*_USER)).one_or_none()
    if row is None and not only_new:
        raise AccessRefusedError(_ELSEWHERE.format(name=name))
    if row is None:
        raise AccessRefusedError(f"There is a user {name} already; give a new password instead. Nothing was changed.")
    return User(**row._mapping)


def add_user(engine: sa.Engine, name: str, role: UserRole) -> tuple[User, str]:
    """Add a person with a password that is made now: both. Nobody can read the password again.

    Raises AccessRefusedError for a name that is not good enough, or that somebody has.
    """
    password = _made_password()
    return set_user(engine, name, role, password, only_new=True), password


def give_password(engine: sa.Engine, user_id: int) -> tuple[User, str]:
    """A new password for a person, who may come in by it, disabled before or not; their open sessions are over.

    Raises AccessRefusedError when there is no such person of ours.
    """
    password, epoch = _made_password(), web_user.c.session_epoch + 1
    values = {"password_hash": PasswordHash.recommended().hash(password), "is_active": True, "session_epoch": epoch}
    return _change(engine, user_id, values, whose=_OURS), password


def set_role(engine: sa.Engine, user_id: int, role: UserRole) -> User:
    """Let a person of ours do more or less from their next request on. Raises AccessRefusedError for nobody."""
    return _change(engine, user_id, {"role": role.value}, whose=_OURS)


def enable_by_id(engine: sa.Engine, user_id: int) -> User:
    """Let a person of the identity provider sign in there again. Raises AccessRefusedError for nobody."""
    return _change(engine, user_id, {"is_active": True}, whose=~_OURS)


def disable_by_id(engine: sa.Engine, user_id: int) -> User:
    """Let a person in no more; open sessions are over. Raises AccessRefusedError for nobody."""
    return _change(engine, user_id, {"is_active": False, "session_epoch": web_user.c.session_epoch + 1})


def _change(
    engine: sa.Engine, user_id: int, values: Mapping[str, Any], *, whose: sa.ColumnElement[bool] | None = None
) -> User:
    statement = (
        web_user.update().where(web_user.c.id == user_id, sa.true() if whose is None else whose).values(**values)
    )
    with engine.begin() as connection:
        row = connection.execute(statement.returning(*_USER)).one_or_none()
        name = None if row else connection.scalar(sa.select(web_user.c.name).where(web_user.c.id == user_id))
    if name is not None:
        raise AccessRefusedError((_ELSEWHERE if whose is _OURS else _BY_PASSWORD).format(name=name))
    if row is None:
        raise AccessRefusedError("There is no such user any more; nothing was changed.")
    return User(**row._mapping)


def _made_password() -> str:
    """Five groups of letters and digits that nobody confuses, some 99 random bits."""
    return "-".join("".join(secrets.choice(_LEGIBLE) for _ in range(4)) for _ in range(5))


def log_in(engine: sa.Engine, name: str, password: str) -> User | None:
    """The person with this name and password, None when there is none; takes as long for a name that nobody has."""
    if len(password) > LONGEST_PASSWORD or "\0" in name + password:
        return None
    query = sa.select(web_user.c.id, web_user.c.password_hash, web_user.c.is_active).where(web_user.c.name == name)
    with engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    hasher = PasswordHash.recommended()
    if row is None or row.password_hash is None:
        hasher.hash(password)
        return None
    good, better_hash = hasher.verify_and_update(password, row.password_hash)
    if not good or not row.is_active:
        return None
    # Only while the password is the one that was tried: a new one set meanwhile stays.
    known = (web_user.c.id == row.id) & (web_user.c.password_hash == row.password_hash)
    values = {"last_login_at": sa.func.now(), "password_hash": better_hash or row.password_hash}
    with engine.begin() as connection:
        updated = connection.execute(web_user.update().where(known).values(**values).returning(*_USER)).one_or_none()
    return None if updated is None else User(**updated._mapping)


def user_of_session(engine: sa.Engine, user_id: int, session_epoch: int) -> User | None:
    """The person that a session belongs to; None when they may not come in any more or the session is over."""
    good = (web_user.c.id == user_id) & (web_user.c.session_epoch == session_epoch) & web_user.c.is_active
    return next(iter(read_rows(engine, sa.select(*_USER).where(good), User)), None)


def end_sessions(engine: sa.Engine, user_id: int) -> None:
    """End every open session of a person."""
    epoch = web_user.c.session_epoch + 1
    with engine.begin() as connection:
        connection.execute(web_user.update().where(web_user.c.id == user_id).values(session_epoch=epoch))


def disable_user(engine: sa.Engine, name: str) -> None:
    """Let a person in no more; open sessions are over. Raises AccessRefusedError when there is nobody of that name."""
    values = {"is_active": False, "session_epoch": web_user.c.session_epoch + 1}
    with engine.begin() as connection:
        if not connection.execute(web_user.update().where(web_user.c.name == name).values(**values)).rowcount:
            raise AccessRefusedError(f"There is no user {name}; see `imagesync user list`.")


def list_users(engine: sa.Engine) -> list[User]:
    """Everybody, by name."""
    return read_rows(engine, sa.select(*_USER).order_by(web_user.c.name), User)


def add_key(engine: sa.Engine, name: str, scopes: Collection[KeyScope]) -> tuple[str, ApiKey]:
    """Make a key for a system: the key itself, which nobody can read again, and what is kept of it.

    Raises AccessRefusedError when the name is not good, when there is a valid key of that name, or when there are no
    scopes.
    """
    if not _NAME.fullmatch(name):
        raise AccessRefusedError(f"Key {name!r}: a name has 1 to 100 letters, digits and . _ @ + -; no key was made.")
    if not scopes:
        scopes_known = ", ".join(KeyScope)
        raise AccessRefusedError(f"Key {name}: name at least one scope of {scopes_known}; no key was made.")
    prefix = f"{_MARK}_{secrets.token_hex(_PREFIX_BYTES)}"
    key = f"{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"
    ordered = [scope.value for scope in KeyScope if scope in set(scopes)]
    statement = api_key.insert().values(name=name, prefix=prefix, key_hash=_hash(key), scopes=ordered)
    try:
        with engine.begin() as connection:
            return key, ApiKey(**connection.execute(statement.returning(*_API_KEY)).one()._mapping)
    except IntegrityError:
        raise AccessRefusedError(f"There is a key {name} already; revoke it first, or choose another name.") from None


def find_key(engine: sa.Engine, key: str, now: datetime) -> ApiKey | None:
    """The valid key that this text is, None for anything else; notes that it was used, once a minute."""
    if not _KEY.fullmatch(key):
        return None
    prefix = key[: len(_MARK) + 1 + 2 * _PREFIX_BYTES]
    with engine.connect() as connection:
        query = sa.select(*_API_KEY, api_key.c.key_hash).where(api_key.c.prefix == prefix)
        row = connection.execute(query).one_or_none()
    if row is None or row.revoked_at is not None or not hmac.compare_digest(row.key_hash, _hash(key)):
        return None
    if row.last_used_at is None or now - row.last_used_at >= _USE_NOTED_EVERY:
        with engine.begin() as connection:
            connection.execute(api_key.update().where(api_key.c.id == row.id).values(last_used_at=now))
    return ApiKey(**row._mapping)


def list_keys(engine: sa.Engine) -> list[ApiKey]:
    """Every key, revoked ones included, the newest first."""
    return read_rows(engine, sa.select(*_API_KEY).order_by(api_key.c.id.desc()), ApiKey)


def revoke_key(engine: sa.Engine, name: str) -> ApiKey:
    """Let nobody call with the key of this name any more. Raises AccessRefusedError when there is no valid one."""
    wanted = (api_key.c.name == name) & api_key.c.revoked_at.is_(None)
    statement = api_key.update().where(wanted).values(revoked_at=sa.func.now())
    with engine.begin() as connection:
        row = connection.execute(statement.returning(*_API_KEY)).one_or_none()
    if row is None:
        raise AccessRefusedError(f"There is no valid key {name}; see `imagesync key list`.")
    return ApiKey(**row._mapping)


def _hash(key: str) -> bytes:
    # A plain hash is enough: the secret is 256 random bits, which nobody can guess through a list.
    return hashlib.sha256(key.encode()).digest()
