"""The people who may log in to the catalogue, their roles and passwords."""

import re
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from pwdlib import PasswordHash
from pydantic import BaseModel, ConfigDict
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.schema_catalogue import web_user

SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 1000
_NAME = re.compile(r"[\w.@+-]{1,100}")


class UserRole(StrEnum):
    """What a person may do: a viewer sees, an admin also changes."""

    VIEWER = "viewer"
    ADMIN = "admin"


class UserRefusedError(StorageError):
    """A user that cannot be added or changed; the message says why."""


class User(BaseModel):
    """A person. session_epoch goes into a session; a session with another one is over."""

    model_config = ConfigDict(frozen=True)

    id: int
    name: str
    role: UserRole
    is_active: bool
    session_epoch: int
    created_at: datetime
    last_login_at: datetime | None


def set_user(engine: sa.Engine, name: str, role: UserRole, password: str) -> User:
    """Add a person, or give one a new role and password; their open sessions are over then.

    Raises UserRefusedError for a name or password that is not good enough; nothing is changed.
    """
    if not _NAME.fullmatch(name):
        raise UserRefusedError(
            f"User {name!r}: a name has 1 to 100 letters, digits and . _ @ + -; nothing was changed."
        )
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise UserRefusedError(
            f"User {name}: a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters; nothing was changed."
        )
    values = {"role": role.value, "password_hash": _hasher().hash(password), "is_active": True}
    changed = {**values, "session_epoch": web_user.c.session_epoch + 1}
    statement = insert(web_user).values(name=name, **values)
    with engine.begin() as connection:
        row = connection.execute(
            statement.on_conflict_do_update(index_elements=["name"], set_=changed).returning(*_COLUMNS)
        ).one()
    return User(**row._mapping)


def log_in(engine: sa.Engine, name: str, password: str) -> User | None:
    """The person with this name and password, None when there is none; takes as long for a name that nobody has."""
    if len(password) > LONGEST_PASSWORD or "\0" in name + password:
        return None
    with engine.connect() as connection:
        query = sa.select(*_COLUMNS, web_user.c.password_hash).where(web_user.c.name == name)
        row = connection.execute(query).one_or_none()
    if row is None:
        _hasher().hash(password)
        return None
    good, better_hash = _hasher().verify_and_update(password, row.password_hash)
    if not good or not row.is_active:
        return None
    values: dict[str, object] = {"last_login_at": sa.func.now()}
    if better_hash is not None:
        values["password_hash"] = better_hash
    # Only while the password is the one that was tried: a new one set meanwhile stays.
    known = (web_user.c.id == row.id) & (web_user.c.password_hash == row.password_hash)
    with engine.begin() as connection:
        updated = connection.execute(web_user.update().where(known).values(**values).returning(*_COLUMNS)).one_or_none()
    return User(**updated._mapping) if updated is not None else None


def user_of_session(engine: sa.Engine, user_id: int, session_epoch: int) -> User | None:
    """The person that a session belongs to; None when they may not come in any more or the session is over."""
    with engine.connect() as connection:
        row = connection.execute(sa.select(*_COLUMNS).where(web_user.c.id == user_id)).one_or_none()
    if row is None or not row.is_active or row.session_epoch != session_epoch:
        return None
    return User(**row._mapping)


def end_sessions(engine: sa.Engine, user_id: int) -> None:
    """End every open session of a person."""
    statement = web_user.update().where(web_user.c.id == user_id)
    with engine.begin() as connection:
        connection.execute(statement.values(session_epoch=web_user.c.session_epoch + 1))


def disable_user(engine: sa.Engine, name: str) -> None:
    """Let a person in no more; open sessions are over. Raises UserRefusedError when there is nobody of that name."""
    statement = web_user.update().where(web_user.c.name == name)
    with engine.begin() as connection:
        changed = connection.execute(
            statement.values(is_active=False, session_epoch=web_user.c.session_epoch + 1)
        ).rowcount
    if not changed:
        raise UserRefusedError(f"There is no user {name}; see `imagesync user list`.")


def list_users(engine: sa.Engine) -> tuple[User, ...]:
    """Everybody, by name."""
    with engine.connect() as connection:
        return tuple(User(**row._mapping) for row in connection.execute(sa.select(*_COLUMNS).order_by(web_user.c.name)))


_COLUMNS = tuple(web_user.c[name] for name in User.model_fields)


def _hasher() -> PasswordHash:
    return PasswordHash.recommended()
