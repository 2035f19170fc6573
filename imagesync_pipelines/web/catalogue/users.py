"""The people who may log in to the catalogue, their roles and passwords."""

import re
from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from pwdlib import PasswordHash
from pydantic import BaseModel, ConfigDict
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.database import read_rows
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
    values = {"role": role.value, "password_hash": PasswordHash.recommended().hash(password), "is_active": True}
    statement = insert(web_user).values(name=name, **values)
    changed = {**values, "session_epoch": web_user.c.session_epoch + 1}
    statement = statement.on_conflict_do_update(index_elements=["name"], set_=changed)
    with engine.begin() as connection:
        return User(**connection.execute(statement.returning(*_COLUMNS)).one()._mapping)


def log_in(engine: sa.Engine, name: str, password: str) -> User | None:
    """The person with this name and password, None when there is none; takes as long for a name that nobody has."""
    if len(password) > LONGEST_PASSWORD or "\0" in name + password:
        return None
    query = sa.select(web_user.c.id, web_user.c.password_hash, web_user.c.is_active).where(web_user.c.name == name)
    with engine.connect() as connection:
        row = connection.execute(query).one_or_none()
    hasher = PasswordHash.recommended()
    if row is None:
        hasher.hash(password)
        return None
    good, better_hash = hasher.verify_and_update(password, row.password_hash)
    if not good or not row.is_active:
        return None
    # Only while the password is the one that was tried: a new one set meanwhile stays.
    known = (web_user.c.id == row.id) & (web_user.c.password_hash == row.password_hash)
    values = {"last_login_at": sa.func.now(), "password_hash": better_hash or row.password_hash}
    with engine.begin() as connection:
        updated = connection.execute(web_user.update().where(known).values(**values).returning(*_COLUMNS)).one_or_none()
    return None if updated is None else User(**updated._mapping)


def user_of_session(engine: sa.Engine, user_id: int, session_epoch: int) -> User | None:
    """The person that a session belongs to; None when they may not come in any more or the session is over."""
    good = (web_user.c.id == user_id) & (web_user.c.session_epoch == session_epoch) & web_user.c.is_active
    return next(iter(read_rows(engine, sa.select(*_COLUMNS).where(good), User)), None)


def end_sessions(engine: sa.Engine, user_id: int) -> None:
    """End every open session of a person."""
    epoch = web_user.c.session_epoch + 1
    with engine.begin() as connection:
        connection.execute(web_user.update().where(web_user.c.id == user_id).values(session_epoch=epoch))


def disable_user(engine: sa.Engine, name: str) -> None:
    """Let a person in no more; open sessions are over. Raises UserRefusedError when there is nobody of that name."""
    values = {"is_active": False, "session_epoch": web_user.c.session_epoch + 1}
    with engine.begin() as connection:
        if not connection.execute(web_user.update().where(web_user.c.name == name).values(**values)).rowcount:
            raise UserRefusedError(f"There is no user {name}; see `imagesync user list`.")


def list_users(engine: sa.Engine) -> list[User]:
    """Everybody, by name."""
    return read_rows(engine, sa.select(*_COLUMNS).order_by(web_user.c.name), User)


_COLUMNS = tuple(web_user.c[name] for name in User.model_fields)
