"""What people set: the connector's settings (environment and `.env`), the stores and the head offices they read from.

The stores are `[edge]` of the accounts file:

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
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from imagesync_pipelines.accounts import file
from imagesync_pipelines.accounts.file import (
    Accounts,
    AccountsError,
    KnownAccounts,
    Secret,
    Section,
    Text,
    sound_accounts,
)
from imagesync_pipelines.languages import told
from imagesync_pipelines.settings import Cron, EnvironmentSettings, known_zone

MEGABYTE = 1024 * 1024


class EdgeSettings(EnvironmentSettings):
    """What the edge connector needs to know; every field is the variable EDGE_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="EDGE_", extra="ignore", env_ignore_empty=True)

    page_size: int = Field(100, ge=1, le=1000, description="photos asked for per page of the head office's listing")
    timeout: float = Field(30, gt=0, description="seconds to wait for the next piece of an answer")
    call_deadline: float = Field(
        600, gt=0, description="seconds for one call with its retries; a large photo over a slow line needs minutes"
    )
    tries: int = Field(4, ge=1, description="attempts of one call before it counts as failed; waits grow between them")
    verify_tls: bool = Field(True, description="check the head office's certificate")
    head_office_timezone: str = Field(
        "Asia/Jakarta", description="zone of times that the head office sends without one; too early only costs calls"
    )
    overlap_minutes: float = Field(10, ge=0, description="an incremental listing begins this much before its cursor")
    walk_repeats: int = Field(2, ge=0, description="further scans when one does not prove to be complete")

    bytes_from: Literal["ho", "s3"] = Field("ho", description="where photos are read: the HO API, or S3 directly")
    concurrency: int = Field(5, ge=1, le=64, description="downloads at the same time, over the whole run")
    pace_ms: float = Field(0, ge=0, description="milliseconds between the starts of two downloads, over the whole run")
    memory_budget_mb: float = Field(64, gt=0, description="photo bytes in flight; a larger photo goes alone")
    max_photo_mb: float = Field(50, gt=0, description="a larger photo is refused")
    rows_per_commit: int = Field(100, ge=1, description="photos written in one transaction, at most")
    undo_mb: float = Field(
        1024, ge=0, description="what a store keeps of photos that were replaced or removed, for an undo; 0: nothing"
    )
    report_batch: int = Field(100, ge=1, description="photos in one status report to the head office")

    incremental_schedule: Cron = Field("0 * * * *", description="when incremental runs start (cron)")
    full_schedule: Cron = Field("0 2 * * *", description="when the daily full run starts (cron)")
    scrub_schedule: Cron = Field("0 4 * * 0", description="when stored photos are hashed again (cron); off by default")
    sensor_seconds: int = Field(60, ge=10, description="seconds between two looks for new photos at the head office")
    fresh_hours: float = Field(2, gt=0, description="hours after which a store's photos count as stale")

    max_failure_share: float = Field(0.10, ge=0, le=1, description="an alert when more of a run's photos failed")
    warn_failure_share: float = Field(0.05, ge=0, le=1, description="a warning when more of a run's photos failed")
    failure_floor: int = Field(20, ge=1, description="photos a run must have tried before its share of failures counts")
    max_run_minutes: float = Field(60, gt=0, description="an alert when a run took longer")
    max_storage_share: float = Field(0.80, gt=0, le=1, description="an alert when more of a store's capacity is used")

    missing_photo: Literal["404", "placeholder", "redirect"] = Field(
        "404", description="what the photo server answers without a local picture; redirect: to the head office's URL"
    )

    photo_processes: int = Field(
        1, ge=1, le=64, description="processes of a photo server; each has its own eight connections to the database"
    )
    bucket_url: str = Field(
        "", description="where browsers find the head office's bucket; only for EDGE_MISSING_PHOTO=redirect"
    )

    @field_validator("head_office_timezone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        return known_zone(value)

    @model_validator(mode="after")
    def _redirect_has_a_target(self) -> Self:
        if self.missing_photo == "redirect" and not self.bucket_url:
            raise ValueError("EDGE_MISSING_PHOTO=redirect needs EDGE_BUCKET_URL")
        return self

    @property
    def memory_budget(self) -> int:
        """The memory budget in bytes."""
        return int(self.memory_budget_mb * MEGABYTE)

    @property
    def undo_bytes(self) -> int:
        """What a store keeps for an undo, in bytes."""
        return int(self.undo_mb * MEGABYTE)

    @property
    def max_photo(self) -> int:
        """The size in bytes above which a photo is refused."""
        return int(self.max_photo_mb * MEGABYTE)


class HeadOfficeAccount(Section):
    """How to reach a head office: its root URL and the account there."""

    url: Text
    username: Text
    password: Secret


@dataclass(frozen=True)
class EdgeStore:
    """One edge store. dsn: its database, None: the embedded database `database_name`; capacity_gb: None is unknown.

    account_id: what the row of ours in its database says, '' when it was not given; no other database passes.
    photos_url: where browsers find its photo server, '' when it was not given.
    """

    name: str
    store_id: str
    head_office: HeadOfficeAccount
    dsn: SecretStr | None = field(default=None, repr=False)
    capacity_gb: float | None = None
    account_id: str = ""
    photos_url: str = ""

    @property
    def database_name(self) -> str:
        """The name of its database on the embedded server."""
        return f"edge_{self.name}"


class _Store(Section):
    store_id: UUID
    dsn: file.Dsn | None = None
    url: Text | None = None
    username: Text | None = None
    password: Secret | None = None
    capacity_gb: Annotated[float, Field(gt=0)] | None = None
    account_id: UUID | None = None
    photos_url: Text | None = None


class EdgeSection(Section):
    """`[edge]` as written."""

    head_office: HeadOfficeAccount | None = None
    stores: dict[Annotated[str, file.account_key("a store's name")], _Store] = Field(default_factory=dict)


def edge_stores(accounts: Accounts) -> KnownAccounts[EdgeStore]:
    """The stores in the accounts file. Raises AccountsError with section and key of what is wrong but for stores."""
    written, warnings = accounts.section("edge", EdgeSection, "stores", "head_office"), list[str]()
    wrong, common = dict(written.wrong), written.section.head_office
    # Two stores in one database would each take the other's photos for superfluous: neither is touched.
    owners: dict[str, list[str]] = {}
    for name, one in written.section.stores.items():
        if one.dsn is not None:
            owners.setdefault(one.dsn.get_secret_value().strip(), []).append(name)

    def make(name: str, one: _Store) -> EdgeStore:
        others = [other for same in owners.values() if name in same for other in same if other != name]
        if others:
            raise AccountsError(f"[edge.stores.{name}] dsn: the database of store {others[0]}; each needs its own")
        store = _edge_store(name, one, common, written.common)
        urls = {f"[edge.stores.{name}] url": store.head_office.url}
        urls |= {f"[edge.stores.{name}] photos_url": store.photos_url} if store.photos_url else {}
        warnings.extend(accounts.check_urls(urls))
        return store

    stores = sound_accounts(written.section.stores, make, wrong)
    problems = (*filter(None, (written.common,)), *written.misnamed)
    return KnownAccounts(told("edge store"), stores, tuple(warnings), wrong, problems)


def _edge_store(name: str, section: _Store, default: HeadOfficeAccount | None, wrong_default: str) -> EdgeStore:
    """A store with its own head office where it names one, else with the common one; that may be wrong, with why."""
    here = f"[edge.stores.{name}]"
    own = {key: value for key, value in section if key in HeadOfficeAccount.model_fields and value is not None}
    if 0 < len(own) < len(HeadOfficeAccount.model_fields):
        raise AccountsError(f"{here}: url, username and password go together; write all three, or none of them")
    head_office = HeadOfficeAccount.model_construct(**own) if own else default
    if head_office is None and wrong_default:
        raise AccountsError(wrong_default)
    if head_office is None:
        raise AccountsError(f"{here}: no head office; write url, username and password here or in [edge.head_office]")
    return EdgeStore(
        name,
        str(section.store_id),
        head_office,
        section.dsn,
        section.capacity_gb,
        str(section.account_id or ""),
        section.photos_url or "",
    )
