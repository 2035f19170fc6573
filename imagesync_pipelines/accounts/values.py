"""What a value of the accounts file may be: a text, a secret, a database, a URL."""

import re
from typing import Annotated
from urllib.parse import urlsplit

import sqlalchemy as sa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationInfo
from sqlalchemy.exc import ArgumentError

from imagesync_pipelines.settings import SettingsError, check_transport

# Names become Dagster partitions and parts of database names.
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
NAME_WORDS = "lower-case letters, digits, - and _, at most 40 of them"
_REFERENCE = "env:"


class AccountsError(SettingsError):
    """The accounts file is missing or wrong; the message names section and key, one line per problem."""


def _from_environment(value: object, info: ValidationInfo) -> object:
    """The value of the variable that `env:NAME` names; any other value as it is."""
    if not isinstance(value, str) or not value.startswith(_REFERENCE):
        return value
    name = value.removeprefix(_REFERENCE).strip()
    found = (info.context or {}).get(name)
    if not found:
        raise ValueError(f"the variable {name} is not set; set it in the environment or in .env")
    return found


def _only_from_environment(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str) or not value.startswith(_REFERENCE):
        raise ValueError('a secret is not written into this file; write "env:NAME" and set the variable NAME')
    return _from_environment(value, info)


def _database(value: object, info: ValidationInfo) -> object:
    found = _from_environment(value, info)
    if not isinstance(found, str):
        return found
    try:
        url = sa.make_url(found.strip())
    except ArgumentError:
        url = None
    if url is None or url.drivername.split("+")[0] not in {"postgres", "postgresql"}:
        raise ValueError("not a PostgreSQL URL; it should look like postgresql://user@host:5432/database")
    if found is value and url.password is not None:
        raise ValueError('it holds a password, and a secret is not written into this file; write "env:NAME"')
    return found


Text = Annotated[str, Field(min_length=1), BeforeValidator(_from_environment)]
"""A text, written down or in a variable."""
Secret = Annotated[SecretStr, BeforeValidator(_only_from_environment)]
"""A secret, in a variable only."""
Dsn = Annotated[SecretStr, BeforeValidator(_database)]
"""The URL of a PostgreSQL database; one with a password is in a variable."""
Count = Annotated[int, Field(strict=True, ge=1)]
"""A whole number from 1."""


class Section(BaseModel):
    """A section of the file; a key that it does not have is refused."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


def check_url(where: str, url: str, environment: str) -> str | None:
    """None for a good URL, a warning for plain http; a URL is shown, so it must not hold a password."""
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise AccountsError(f"{where}: it must hold neither user name nor query; write username and password instead")
    try:
        return check_transport(where, url, environment)
    except SettingsError as error:
        raise AccountsError(str(error)) from None
