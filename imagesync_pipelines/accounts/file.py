"""The accounts file: one TOML file of everything that exists several times, such as the edge stores.

A secret in the file is only ever `env:NAME`, a variable of the environment or of `.env`.

    [edge.head_office]
    url = "https://ho.example"
    username = "edge"
    password = "env:HO_PASSWORD"

    [edge.stores.jakarta-1]
    store_id = "5f0c1e0a-8d35-4b61-9c55-0d9a1f6f8f10"
    dsn = "env:JAKARTA_1_DSN"
    capacity_gb = 20

    [plytix.accounts.main]
    api_key = "env:PLYTIX_MAIN_KEY"
    api_password = "env:PLYTIX_MAIN_PASSWORD"

    [moysklad.main]
    token = "env:MOYSKLAD_MAIN_TOKEN"     # or login = "admin@company" and password = "env:…"
    token_kind = "user"                   # or "solution", "draft_solution": a call weighs differently
    account_id = "8c0f…"                  # МойСклад's own id, for requests that name accounts by it; may be left out
    permanent_links = true                # paid tariffs: images are read without a call each; default false

    [moysklad.children.north]
    token = "env:MOYSKLAD_NORTH_TOKEN"
    mode = "first"                        # "off" (default), "first", "all"; or the old sync_images, sync_images_all
    ownership = "managed"                 # default: images that the owner added stay; "mirror": they do not
    match_field = "externalCode"          # default; or "code", "article", "barcode"
    max_image_mb = 10                     # default; a larger image is not sent
    reencode_too_large = false            # true: it is made smaller and sent
    bulk_first_fill = false               # true: many entities in one request on a first fill
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from imagesync_pipelines.accounts.moysklad import MoyskladAccount, MoyskladChild, MoyskladSection
from imagesync_pipelines.accounts.values import (
    NAME,
    NAME_WORDS,
    Count,
    Dsn,
    Secret,
    Section,
    Text,
    check_url,
)
from imagesync_pipelines.accounts.values import AccountsError as AccountsError
from imagesync_pipelines.settings import Settings


@dataclass(frozen=True)
class HeadOfficeAccount:
    """How to reach a head office: its root URL and the account there."""

    url: str
    username: str
    password: SecretStr = field(repr=False)


@dataclass(frozen=True)
class EdgeStore:
    """One edge store. dsn: its database, None: the embedded database `database_name`; capacity_gb: None is unknown."""

    name: str
    store_id: str
    head_office: HeadOfficeAccount
    dsn: SecretStr | None = field(default=None, repr=False)
    capacity_gb: float | None = None

    @property
    def database_name(self) -> str:
        """The name of its database on the embedded server."""
        return f"edge_{self.name}"


@dataclass(frozen=True)
class PlytixAccount:
    """One Plytix account. url: of the PIM, auth_url: of the host that gives tokens.

    limits: pairs of calls and seconds that we keep to; empty: those that Plytix names in its token.
    """

    alias: str
    api_key: SecretStr = field(repr=False)
    api_password: SecretStr = field(repr=False)
    url: str = "https://pim.plytix.com"
    auth_url: str = "https://auth.plytix.com"
    limits: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Accounts:
    """The accounts file as read; `warnings` are sentences for people (plain http, for one)."""

    edge_stores: Mapping[str, EdgeStore] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    plytix_accounts: Mapping[str, PlytixAccount] = field(default_factory=dict)
    moysklad_main: MoyskladAccount | None = None
    moysklad_children: Mapping[str, MoyskladChild] = field(default_factory=dict)

    def edge_store(self, name: str) -> EdgeStore:
        """The store of this name. Raises AccountsError naming those that there are."""
        store = self.edge_stores.get(name)
        if store is None:
            known = ", ".join(sorted(self.edge_stores)) or "none"
            raise AccountsError(f"There is no edge store {name!r} in the accounts file; it has: {known}.")
        return store

    def plytix_account(self, alias: str) -> PlytixAccount:
        """The Plytix account of this alias. Raises AccountsError naming those that there are."""
        account = self.plytix_accounts.get(alias)
        if account is None:
            known = ", ".join(sorted(self.plytix_accounts)) or "none"
            raise AccountsError(f"There is no Plytix account {alias!r} in the accounts file; it has: {known}.")
        return account

    def moysklad_child(self, alias: str) -> MoyskladChild:
        """The child account of this alias. Raises AccountsError naming those that there are."""
        child = self.moysklad_children.get(alias)
        if child is None:
            known = ", ".join(sorted(self.moysklad_children)) or "none"
            raise AccountsError(f"There is no child account {alias!r} in the accounts file; it has: {known}.")
        return child


class _HeadOffice(Section):
    url: Text
    username: Text
    password: Secret


class _Store(Section):
    store_id: UUID
    dsn: Dsn | None = None
    url: Text | None = None
    username: Text | None = None
    password: Secret | None = None
    capacity_gb: Annotated[float, Field(gt=0)] | None = None


class _Edge(Section):
    head_office: _HeadOffice | None = None
    stores: dict[str, _Store] = Field(default_factory=dict)


class _PlytixAccount(Section):
    api_key: Secret
    api_password: Secret
    url: Text = PlytixAccount.url
    auth_url: Text = PlytixAccount.auth_url
    limits: tuple[tuple[Count, Count], ...] = ()


class _Plytix(Section):
    accounts: dict[str, _PlytixAccount] = Field(default_factory=dict)


class _File(BaseModel):
    # Sections of other connectors are theirs to judge.
    model_config = ConfigDict(extra="ignore")

    edge: _Edge = Field(default_factory=_Edge)
    plytix: _Plytix = Field(default_factory=_Plytix)
    moysklad: MoyskladSection = Field(default_factory=MoyskladSection)


def load_accounts(settings: Settings) -> Accounts:
    """Read the accounts file; without IMAGESYNC_ACCOUNTS there are no accounts.

    Raises AccountsError with one line per problem: section, key, what is wrong; values are not repeated.
    """
    if settings.accounts is None:
        return Accounts()
    document = _document(settings.accounts)
    try:
        file = _File.model_validate(document, context=_variables())
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False)
        raise AccountsError("\n".join(_line(item["loc"], item["msg"], item["type"]) for item in problems)) from None
    warnings: list[str] = []
    stores = {}
    for name, section in file.edge.stores.items():
        stores[name] = store = _edge_store(name, section, file.edge.head_office)
        warning = check_url(f"[edge.stores.{name}] url", store.head_office.url, settings.environment)
        warnings += [] if warning is None or warning in warnings else [warning]
    _refuse_shared_databases(stores)
    plytix = {alias: _plytix_account(alias, section) for alias, section in file.plytix.accounts.items()}
    for account in plytix.values():
        for key, url in (("url", account.url), ("auth_url", account.auth_url)):
            warning = check_url(f"[plytix.accounts.{account.alias}] {key}", url, settings.environment)
            warnings += [] if warning is None else [warning]
    warnings += file.moysklad.warnings(settings.environment)
    main, children = file.moysklad.main_account(), file.moysklad.child_accounts()
    return Accounts(stores, tuple(warnings), plytix, main, children)


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise AccountsError(f"IMAGESYNC_ACCOUNTS: {path} cannot be read ({error.strerror or error})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise AccountsError(f"IMAGESYNC_ACCOUNTS: {path} is no TOML: {error}") from None


def _variables() -> dict[str, str | None]:
    """What `env:NAME` may name: the environment, and below it the `.env` that the settings are read from."""
    return {**dotenv_values(os.environ.get("IMAGESYNC_ENV_FILE", ".env")), **os.environ}


def _line(place: tuple[int | str, ...], message: str, kind: str) -> str:
    """One problem in one line: `[edge.stores.x] dsn: what is wrong`."""
    words = {"missing": "missing", "extra_forbidden": "there is no such key"}.get(kind, message)
    section, key = ".".join(str(part) for part in place[:-1]), place[-1]
    where = f"[{section}] {key}" if section else f"[{key}]"
    return f"{where}: {words.removeprefix('Value error, ')}"


def _plytix_account(alias: str, section: _PlytixAccount) -> PlytixAccount:
    if not NAME.fullmatch(alias):
        raise AccountsError(f"[plytix.accounts.{alias}]: an alias has {NAME_WORDS}")
    return PlytixAccount(alias, section.api_key, section.api_password, section.url, section.auth_url, section.limits)


def _edge_store(name: str, section: _Store, default: _HeadOffice | None) -> EdgeStore:
    """A store with its own head office where it names one, else with the common one."""
    here = f"[edge.stores.{name}]"
    if not NAME.fullmatch(name):
        raise AccountsError(f"{here}: a store's name has {NAME_WORDS}")
    own = (section.url, section.username, section.password)
    if None in own and any(value is not None for value in own):
        raise AccountsError(f"{here}: url, username and password go together; write all three, or none of them")
    if section.url is not None and section.username is not None and section.password is not None:
        head_office = HeadOfficeAccount(section.url, section.username, section.password)
    elif default is not None:
        head_office = HeadOfficeAccount(default.url, default.username, default.password)
    else:
        raise AccountsError(f"{here}: no head office; write url, username and password here or in [edge.head_office]")
    return EdgeStore(name, str(section.store_id), head_office, section.dsn, section.capacity_gb)


def _refuse_shared_databases(stores: Mapping[str, EdgeStore]) -> None:
    """Two stores in one database would each take the other's photos for superfluous."""
    owners: dict[str, str] = {}
    for name, store in stores.items():
        if store.dsn is None:
            continue
        dsn = store.dsn.get_secret_value().strip()
        if dsn in owners:
            raise AccountsError(f"[edge.stores.{name}] dsn: the database of store {owners[dsn]}; each needs its own")
        owners[dsn] = name
