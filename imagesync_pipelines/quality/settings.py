"""The settings of picture quality, from the environment and from `.env`; see docs/quality.md."""

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from imagesync_pipelines.settings import Cron, EnvironmentSettings

_CHANNEL = re.compile(r"([a-z0-9_]+(?:/[^\s=/]+)?)=([a-z0-9_]+(?:,[a-z0-9_]+)*)")


class QualitySettings(EnvironmentSettings):
    """How pictures are judged; every field is the variable QUALITY_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="QUALITY_", extra="ignore", env_ignore_empty=True)

    rules_folder: Path | None = Field(
        None,
        description="folder of own rule sets, one .toml file each; one of the same name takes a shipped one's place",
    )
    channels: str = Field(
        "plytix=amazon,own image_db=google,own folder=google,own moysklad=ozon,wildberries,own edge=own",
        description="rule sets by which the main pictures of a connector are judged, or of one account of it: "
        "moysklad/shop=ozon,own",
    )

    schedule: Cron | None = Field(
        None,
        description="when main pictures are measured (cron, in IMAGESYNC_TIMEZONE), e.g. 0 6 * * *; empty: by hand",
    )
    pictures_per_run: int = Field(
        20_000, ge=0, description="so many pictures are fetched and measured in a run, the next one goes on; 0: all"
    )
    workers: int = Field(4, ge=1, le=32, description="pictures that are fetched and measured at the same time")
    fetch_seconds: float = Field(30, gt=0, le=300, description="how long a media host may take for a picture")
    max_megabytes: float = Field(50, gt=0, description="a larger picture is not fetched")
    retry_hours: float = Field(
        24, ge=0, description="a picture that could not be measured is tried again after so long, if it stays the same"
    )
    words: bool = Field(
        False,
        description="read the text in main pictures: the extra words, half a second of processor for each that changed",
    )
    alert_fall: float = Field(
        5,
        ge=0,
        le=100,
        description="an alert when the score of an account fell by so many points of 100 within a week; 0: none",
    )
    keep_days: int = Field(400, ge=1, description="days of the trend that are kept")

    @field_validator("channels")
    @classmethod
    def _are_channels(cls, value: str) -> str:
        wrong = [part for part in value.split() if not _CHANNEL.fullmatch(part)]
        if wrong:
            raise ValueError(f"{wrong[0]} is no channel with its rule sets; it should look like plytix=amazon,own")
        return value


def sets_of_channels(settings: QualitySettings) -> Mapping[str, tuple[str, ...]]:
    """The rule sets by channel: a connector, or connector/account."""
    parts = (part.partition("=") for part in settings.channels.split())
    return {channel: tuple(dict.fromkeys(named.split(","))) for channel, _, named in parts}


def sets_for(channels: Mapping[str, tuple[str, ...]], connector: str, account: str) -> tuple[str, ...]:
    """The rule sets by which an account of a connector is judged: what is said of it, else of its connector."""
    return channels.get(f"{connector}/{account}", channels.get(connector, ()))
