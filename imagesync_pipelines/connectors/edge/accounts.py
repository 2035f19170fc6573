"""`[edge]` of the accounts file: the stores, and the head offices that they read from.

[edge.head_office]
url = "https://ho.example"
username = "edge"
password = "env:HO_PASSWORD"

[edge.stores.jakarta-1]
store_id = "5f0c1e0a-8d35-4b61-9c55-0d9a1f6f8f10"
dsn = "env:JAKARTA_1_DSN"
capacity_gb = 20
"""

from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from pydantic import Field, SecretStr

from imagesync_pipelines.accounts.file import (
    NAME,
    NAME_WORDS,
    Accounts,
    AccountsError,
    Dsn,
    KnownAccounts,
    Secret,
    Section,
    Text,
    check_url,
)


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


class EdgeSection(Section):
    """`[edge]` as written."""

    head_office: _HeadOffice | None = None
    stores: dict[str, _Store] = Field(default_factory=dict)


def edge_stores(accounts: Accounts) -> KnownAccounts[EdgeStore]:
    """The stores in the accounts file. Raises AccountsError with section and key of what is wrong."""
    section = accounts.section("edge", EdgeSection)
    stores, warnings, owners = {}, [], dict[str, str]()
    for name, store in section.stores.items():
        stores[name] = found = _edge_store(name, store, section.head_office)
        warnings.append(check_url(f"[edge.stores.{name}] url", found.head_office.url, accounts.environment))
        # Two stores in one database would each take the other's photos for superfluous.
        owner = name if found.dsn is None else owners.setdefault(found.dsn.get_secret_value().strip(), name)
        if owner != name:
            raise AccountsError(f"[edge.stores.{name}] dsn: the database of store {owner}; each needs its own")
    return KnownAccounts("edge store", stores, tuple(one for one in warnings if one is not None))


def _edge_store(name: str, section: _Store, default: _HeadOffice | None) -> EdgeStore:
    """A store with its own head office where it names one, else with the common one."""
    here = f"[edge.stores.{name}]"
    if not NAME.fullmatch(name):
        raise AccountsError(f"{here}: a store's name has {NAME_WORDS}")
    own = {key: value for key, value in section if key in _HeadOffice.model_fields and value is not None}
    if 0 < len(own) < len(_HeadOffice.model_fields):
        raise AccountsError(f"{here}: url, username and password go together; write all three, or none of them")
    head_office = own or (dict(default) if default is not None else {})
    if not head_office:
        raise AccountsError(f"{here}: no head office; write url, username and password here or in [edge.head_office]")
    return EdgeStore(name, str(section.store_id), HeadOfficeAccount(**head_office), section.dsn, section.capacity_gb)
