"""The accounts file: one TOML file of everything that exists several times, such as stores and child accounts.

A secret in the file is only ever `env:NAME`, a variable of the environment or of `.env`. A section belongs to the
connector of its name, which declares what may be in it (NAME/accounts.py or settings.py, with an example).
"""

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, TypeVar
from urllib.parse import urlsplit

import sqlalchemy as sa
from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo
from pydantic.functional_validators import AfterValidator, BeforeValidator
from sqlalchemy.exc import ArgumentError

from imagesync_pipelines.languages import told
from imagesync_pipelines.settings import Settings, SettingsError, check_transport, remember_secret

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
_REFERENCE = "env:"
# What webhooks are sent is in variables with such names, and in no others; nothing else is.
OF_WEBHOOKS = "IMAGESYNC_WEBHOOK_"


class AccountsError(SettingsError):
    """The accounts file is missing or wrong; the message names section and key, one line per problem."""


def _from_environment(value: object, info: ValidationInfo) -> object:
    """The value of the variable that `env:NAME` names; any other value as it is."""
    if not isinstance(value, str) or not value.startswith(_REFERENCE):
        return value
    name = value.removeprefix(_REFERENCE).strip()
    if name.startswith(OF_WEBHOOKS):
        raise ValueError(
            f"the variable {name} is that of a webhook, which sends it away; name one without {OF_WEBHOOKS}"
        )
    found = (info.context or {}).get(name)
    if not found:
        raise ValueError(f"the variable {name} is not set; set it in the environment or in .env")
    return found


def _only_from_environment(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str) or not value.startswith(_REFERENCE):
        raise ValueError('a secret is not written into this file; write "env:NAME" and set the variable NAME')
    found = _from_environment(value, info)
    remember_secret(str(found))
    return found


def _database(value: object, info: ValidationInfo) -> object:
    found = _from_environment(value, info)
    if not isinstance(found, str):
        return found
    url = None
    with suppress(ArgumentError):
        url = sa.make_url(found.strip())
    if url is None or url.drivername.split("+")[0] not in {"postgres", "postgresql"}:
        raise ValueError("not a PostgreSQL URL; it should look like postgresql://user@host:5432/database")
    if found is value and url.password is not None:
        raise ValueError('it holds a password, and a secret is not written into this file; write "env:NAME"')
    remember_secret(found)
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

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, frozen=True)


def account_key(words: str, *, but: str = "") -> AfterValidator:
    """What a key that names an account must be, for it becomes a Dagster partition and a part of database names.

    words: what people call such a name; but: one that no account may have.
    """
    taken = told(f", and is not {but}") if but else ""

    def check(name: str) -> str:
        if name == but or not _NAME.fullmatch(name):
            raise ValueError(f"{words} has lower-case letters, digits, - and _, at most 40 of them{taken}")
        return name

    return AfterValidator(check)


S = TypeVar("S", bound=Section)
A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class Accounts:
    """The accounts file as written. Each connector reads its own section; one that is wrong stops no other connector.

    An account that is wrong, such as one whose secret is not set, stops no other account.

    variables: what `env:NAME` may name. environment: as in the settings; production refuses plain http.
    """

    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    variables: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    environment: str = "development"

    def named_variables(self) -> set[str]:
        """The variables that `env:NAME` names anywhere in the file."""
        return set(_references(self.document))

    def section(self, name: str, kind: type[S], each: str, common: str = "") -> "Written[S]":
        """The section of this name without what is wrong in it; where the file has none, an empty one.

        each: the key below which its accounts stand by name; common: that of what they share. Raises AccountsError for
        what is wrong elsewhere in it. What is told is one line per problem: section, key, what is wrong; values are
        not repeated.
        """
        written = self.document.get(name, {})
        try:
            return Written(kind.model_validate(written, context=self.variables))
        except ValidationError as error:
            problems = error.errors(include_input=False, include_url=False)
        wrong, misnamed, shared, others = dict[str, list[str]](), dict[str, str](), list[str](), list[str]()
        for item in problems:
            place, line = item["loc"], _line((name, *item["loc"]), item["msg"], item["type"])
            if place[:1] == (each,) and len(place) > 1:
                if place[-1] == "[key]":
                    misnamed[str(place[1])] = line
                wrong.setdefault(str(place[1]), []).append(line)
            else:
                (shared if common and place[:1] == (common,) else others).append(line)
        if others:
            raise AccountsError("\n".join(others))
        sound = {key: value for key, value in written.items() if not shared or key != common}
        if wrong:
            sound[each] = {key: value for key, value in written[each].items() if key not in wrong}
        return Written(
            kind.model_validate(sound, context=self.variables),
            {key: "\n".join(lines) for key, lines in wrong.items() if key not in misnamed},
            "\n".join(shared),
            tuple(misnamed.values()),
        )

    def check_urls(self, urls: Mapping[str, str]) -> tuple[str, ...]:
        """Judge addresses by their places in the file, as people are told them; gives a warning for each plain http.

        A URL is shown, so it must not hold a password. Raises AccountsError for one that does, for plain http in
        production and for what is no http(s) URL.
        """
        found = []
        for where, url in urls.items():
            parts = urlsplit(url)
            if "@" in parts.netloc or parts.query or parts.fragment:
                what = told("it must hold neither user name nor query; write username and password instead")
                raise AccountsError(f"{where}: {what}")
            try:
                found.append(check_transport(where, url, self.environment))
            except SettingsError as error:
                raise AccountsError(str(error)) from None
        return tuple(filter(None, found))


@dataclass(frozen=True)
class Written(Generic[S]):
    """A section without what is wrong in it.

    wrong: the accounts that are left out, each with why; common: what is wrong with what they share, '' for nothing;
    misnamed: what is wrong with the names of accounts, which nothing can be called.
    """

    section: S
    wrong: Mapping[str, str] = field(default_factory=dict)
    common: str = ""
    misnamed: tuple[str, ...] = ()


@dataclass(frozen=True)
class KnownAccounts(Generic[A]):
    """A connector's accounts by name. noun: what people call one; warnings: sentences for people (plain http).

    wrong: the accounts that cannot be used, each with why; problems: what else is wrong, which concerns some of them.
    """

    noun: str
    by_name: Mapping[str, A] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    wrong: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Those of all accounts, of wrong ones too."""
        return (*self.by_name, *self.wrong)

    @property
    def told(self) -> tuple[str, ...]:
        """All that is wrong, each once."""
        return tuple(dict.fromkeys((*self.problems, *self.wrong.values())))

    def named(self, name: str) -> A:
        """The account of this name. Raises AccountsError for a wrong one, and naming those that there are."""
        if name in self.wrong:
            raise AccountsError(self.wrong[name])
        if name not in self.by_name:
            known = ", ".join(sorted(self.by_name)) or "none"
            raise AccountsError(f"There is no {self.noun} {name!r} in the accounts file; it has: {known}.")
        return self.by_name[name]


def sound_accounts(written: Mapping[str, B], make: Callable[[str, B], A], wrong: dict[str, str]) -> dict[str, A]:
    """The accounts that can be made of what is written; why the others cannot is added to `wrong`."""
    found = {}
    for name, one in written.items():
        try:
            found[name] = make(name, one)
        except AccountsError as error:
            wrong[name] = str(error)
    return found


def load_accounts(settings: Settings) -> Accounts:
    """Read the accounts file; without IMAGESYNC_ACCOUNTS there are no accounts. Raises AccountsError."""
    path = settings.accounts
    if path is None:
        return Accounts()
    try:
        document = tomllib.loads(path.expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise AccountsError(f"IMAGESYNC_ACCOUNTS: {path} cannot be read ({error.strerror or error})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AccountsError(f"IMAGESYNC_ACCOUNTS: {path} is no TOML: {error}") from None
    return Accounts(document, environment_variables(), settings.environment)


def environment_variables() -> dict[str, str | None]:
    """What `env:NAME` may name: the environment, and below it the `.env` that the settings are read from."""
    return {**dotenv_values(os.environ.get("IMAGESYNC_ENV_FILE", ".env")), **os.environ}


def _references(value: object) -> Iterator[str]:
    if isinstance(value, str) and value.startswith(_REFERENCE):
        yield value.removeprefix(_REFERENCE).strip()
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    for part in parts:
        yield from _references(part)


def _line(place: tuple[int | str, ...], message: str, kind: str) -> str:
    """One problem in one line: `[section.accounts.x] key: what is wrong`."""
    words = {"missing": "missing", "extra_forbidden": told("there is no such key")}.get(kind, message)
    *sections, key = map(str, place)
    section = ".".join(sections)
    # pydantic says so of a key itself, here the name of an account.
    where = f"[{section}]" if key == "[key]" else f"[{section}] {key}" if section else f"[{key}]"
    return f"{where}: {words.removeprefix('Value error, ')}"
