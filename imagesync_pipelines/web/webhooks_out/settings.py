"""How receivers of webhooks are told of changes."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from imagesync_pipelines.settings import EnvironmentSettings


class WebhooksOutSettings(EnvironmentSettings):
    """How receivers of webhooks are told of changes, each field WEBHOOKS_OUT_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="WEBHOOKS_OUT_", extra="ignore", env_ignore_empty=True)

    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="hosts in private networks that webhooks may be sent to, separated by blanks or commas"
    )
    timeout_seconds: float = Field(20, gt=0, le=120, description="how long a receiver may take to answer")
    sensor_seconds: int = Field(30, ge=5, description="how often it is looked whether there is something to tell")
    parallel: int = Field(8, ge=1, le=64, description="receivers that are told at the same time")
    backoff_first_seconds: float = Field(5, gt=0, description="wait after the first failure; it doubles each time")
    backoff_max_seconds: float = Field(3600, gt=0, description="longest wait between two attempts")
    disable_after_hours: float = Field(
        72, gt=0, description="a receiver that accepted nothing for so long is disabled, and an alert says so"
    )
    rotation_hours: float = Field(24, ge=0, description="how long the secret before signs too, after it was rotated")

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value
