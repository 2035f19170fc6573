"""What people set: the connector's settings (environment and `.env`), its accounts, and what they choose for one run.

The accounts are `[plytix]` of the accounts file:

[plytix.accounts.main]
api_key = "env:PLYTIX_MAIN_KEY"
api_password = "env:PLYTIX_MAIN_PASSWORD"
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from imagesync_pipelines.accounts.file import (
    Accounts,
    Count,
    KnownAccounts,
    Secret,
    Section,
    Text,
    account_key,
    sound_accounts,
)
from imagesync_pipelines.languages import told
from imagesync_pipelines.settings import Cron, EnvironmentSettings, Place


class PlytixSettings(EnvironmentSettings):
    """What the Plytix connector needs to know; every field is the variable PLYTIX_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="PLYTIX_", extra="ignore", env_ignore_empty=True)

    gallery_attribute: str = Field(
        "amazon_images", pattern=r"^[a-z0-9_]+$", description="label of the media gallery attribute that is filled"
    )
    strategy: Literal["link", "patch"] = Field(
        "link", description="link: one call per new image, appends; patch: one call per product, also repairs the order"
    )
    remove_missing: bool = Field(
        False, description="take images that left a listing out of its gallery; needs PLYTIX_STRATEGY=patch"
    )
    inherited_galleries: bool = Field(
        False, description="true where galleries flow from parents to variants in Plytix (its automatic inheritance)"
    )
    products_api: Literal["v1", "v2"] = Field("v1", description="version of Plytix's product endpoints")
    workers: int = Field(4, ge=1, le=16, description="products written at the same time")
    pace_share: float = Field(0.8, gt=0, le=1, description="share of the account's rate limits that we use")
    max_pause_seconds: float = Field(
        60, ge=0, description="a longer pause for the account's limits ends the run; the next one goes on"
    )
    timeout: float = Field(60, gt=0, description="seconds to wait for an answer; an upload lasts as long as its fetch")
    call_deadline: float = Field(180, gt=0, description="seconds for one attempt of a call")
    tries: int = Field(4, ge=1, description="attempts of one reading call before it counts as failed")
    verify_tls: bool = Field(True, description="check the certificates of Plytix and Amazon")

    mapping_folder: Place = Field("", description="folder or s3://bucket/prefix that is watched for mapping files")
    sensor_seconds: int = Field(60, ge=10, description="seconds between two looks for new mapping files")
    schedule: Cron = Field("30 3 * * *", description="when the daily run starts (cron)")
    fresh_hours: float = Field(26, gt=0, description="hours after which the products' images count as stale")

    min_longest_side: int = Field(1000, ge=1, description="pixels below which an image check names an image too small")
    quality_sample: int = Field(50, ge=0, description="images that a run looks at for the image checks; 0: none")

    images_url: str = Field(
        "https://m.media-amazon.com", description="where Amazon's images are fetched for image checks and thumbnails"
    )
    spapi_url: str = Field(
        "https://sellingpartnerapi-na.amazon.com", description="Amazon's catalogue API, for runs without mapping file"
    )
    spapi_token_url: str = Field("https://api.amazon.com/auth/o2/token", description="where its tokens are given")
    spapi_client_id: str = Field("", description="client id of the application at Amazon")
    spapi_client_secret: SecretStr | None = Field(None, description="its client secret")
    spapi_refresh_token: SecretStr | None = Field(None, description="refresh token of the selling partner")

    @model_validator(mode="after")
    def _only_patch_removes(self) -> Self:
        if self.remove_missing and self.strategy != "patch":
            raise ValueError(
                "PLYTIX_REMOVE_MISSING needs PLYTIX_STRATEGY=patch: deleting a link drops the thumbnail too"
            )
        return self


class _Account(Section):
    api_key: Secret
    api_password: Secret
    url: Text = "https://pim.plytix.com"
    auth_url: Text = "https://auth.plytix.com"
    limits: tuple[tuple[Count, Count], ...] = ()
    account_id: Text = ""


class PlytixAccount(_Account):
    """One Plytix account: its section, and its name. url: of the PIM, auth_url: of the host that gives tokens.

    limits: pairs of calls and seconds that we keep to; empty: those that Plytix names in its token. account_id:
    Plytix's own id of the account, no other one passes; '' when it was not given.
    """

    alias: str


class PlytixSection(Section):
    """`[plytix]` as written."""

    accounts: dict[Annotated[str, account_key("an alias")], _Account] = Field(default_factory=dict)


def plytix_accounts(accounts: Accounts) -> KnownAccounts[PlytixAccount]:
    """The Plytix accounts in the accounts file. Raises AccountsError for what is wrong but for accounts."""
    written, warnings = accounts.section("plytix", PlytixSection, "accounts"), list[str]()
    wrong = dict(written.wrong)

    def make(alias: str, one: _Account) -> PlytixAccount:
        here = f"[plytix.accounts.{alias}]"
        warnings.extend(accounts.check_urls({f"{here} url": one.url, f"{here} auth_url": one.auth_url}))
        return PlytixAccount.model_construct(alias=alias, **dict(one))

    found = sound_accounts(written.section.accounts, make, wrong)
    return KnownAccounts(told("Plytix account"), found, tuple(warnings), wrong, written.misnamed)


class ListingsOptions(BaseModel):
    """Where the listings come from."""

    mapping: str = Field(
        "", description="mapping file, a path or an s3:// URL; empty: every file of PLYTIX_MAPPING_FOLDER"
    )
    live: bool = Field(
        False, description="the images as Amazon's catalogue has them now; the file only says which products"
    )
    marketplace: str = Field("", description="only listings of this marketplace, such as US; empty: all")
    skus: list[str] = Field(
        [], description="only these products, such as AMZN-US-B01ABCDEFG; with live they need no mapping file"
    )


class GalleryPlanOptions(BaseModel):
    """How to plan."""

    dry_run: bool = Field(False, description="only to be looked at: the plan is carried out by its number alone")
    skip_existing: bool = Field(False, description="leave products alone whose gallery holds any image")
    force_reupload: bool = Field(False, description="upload every image again, whatever we know of it")
    allow_mass_delete: bool = Field(False, description="let removals happen that the deletion limits would hold back")


class PlytixOptions(ListingsOptions, GalleryPlanOptions):
    """All that a person may ask of one synchronisation of an account."""


def job_for(options: PlytixOptions) -> str:
    """The job that does what is asked: all products of the mapping files, or some."""
    if options.dry_run:
        return "dry_run"
    return "skus" if options.skus else "sync"


class GalleryCleanupOptions(BaseModel):
    """Against which mapping file to clean up."""

    missing_from: str = Field(description="mapping file; what we created for products that are not in it is planned")
    allow_mass_delete: bool = Field(
        False, description="let removals into the plan that the deletion limits would hold back"
    )
