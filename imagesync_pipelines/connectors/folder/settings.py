"""The settings of the folder connector, read from the environment and from `.env`: all named FOLDER_…."""

import re

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from imagesync_pipelines.settings import Cron, EnvironmentSettings, Place

# The whole name first: it may be a SKU itself (model.named). Then SKU_2 and SKU-front, without the ending.
PATTERN = r"(?P<sku>.+?)(?:_(?P<number>\d{1,3})|-(?P<view>front|back|side|top|detail))?"


class FolderSettings(EnvironmentSettings):
    """What the folder connector needs to know; every field is the variable FOLDER_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="FOLDER_", extra="ignore", env_ignore_empty=True)

    path: Place = Field("", description="folder or s3://bucket/prefix of pictures that are named by SKU; empty: off")
    url: str = Field(
        "", description="where other systems reach the catalogue (imagesync serve), e.g. https://images.example.com"
    )
    pattern: str = Field(
        PATTERN, description="regular expression of a name without its ending: the groups sku, and number and view"
    )
    max_bytes: int = Field(100_000_000, ge=1, description="bytes above which a file is set aside without reading it")
    schedule: Cron = Field("15 * * * *", description="when the folder is read (cron, in IMAGESYNC_TIMEZONE)")
    fresh_hours: float = Field(26, gt=0, description="hours after which the product images count as stale")

    @field_validator("pattern")
    @classmethod
    def _names_a_sku(cls, value: str) -> str:
        try:
            groups = re.compile(value).groupindex
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        if "sku" not in groups:
            raise ValueError("a group named sku is needed: (?P<sku>…)")
        return value

    @field_validator("url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value and not re.fullmatch(r"https?://[^/]+(/.*)?", value):
            raise ValueError("an address that begins with http:// or https:// is needed")
        return value.rstrip("/")

    @property
    def missing(self) -> tuple[str, ...]:
        """The variables without which this connector cannot run; empty when it can."""
        return tuple(name for name, value in (("FOLDER_PATH", self.path), ("FOLDER_URL", self.url)) if not value)
