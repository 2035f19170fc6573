"""The settings of the МойСклад connector, read from the environment and from `.env`."""

import re
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from imagesync_pipelines.settings import Cron

_SECRET = re.compile(r"[A-Za-z0-9_-]{16,100}")


class MoyskladSettings(BaseSettings):
    """What the МойСклад connector needs to know; every field is the variable MOYSKLAD_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="MOYSKLAD_", extra="ignore", env_ignore_empty=True)

    workers: int = Field(4, ge=1, le=5, description="entities written, or images downloaded, at the same time")
    download_timeout: float = Field(60, gt=0, description="seconds for the download of one image")
    timeout: float = Field(
        310, gt=0, description="seconds to wait for an answer; the server may take 300 for a heavy request"
    )
    tries: int = Field(4, ge=1, description="attempts of one call before it counts as failed")
    pace_share: float = Field(1, gt=0, le=1, description="share of an account's rate limit that we use")
    max_pause_seconds: float = Field(
        60, ge=0, description="a longer pause for the account's limit ends its run; the next one goes on"
    )
    verify_tls: bool = Field(True, description="check the certificates of МойСклад and its storage")
    webhook_prefix: str = Field(
        "", description="URL prefix of our own webhooks, e.g. https://host/; our writes are not reported to them"
    )

    list_form: Literal["array", "batch"] = Field(
        "array",
        description="where lists of images are sent first: to the path of one, or to …/batch; the other is tried when "
        "that is refused as unknown",
    )
    overlap_minutes: float = Field(10, ge=0, description="an incremental reading begins this much before its cursor")
    walk_repeats: int = Field(2, ge=0, description="further readings when one does not prove to be complete")
    content_hours: float = Field(24, gt=0, description="hours for which image content is kept after its last use")

    incremental_schedule: Cron = Field("15 * * * *", description="when incremental runs start (cron)")
    full_schedule: Cron = Field("30 2 * * *", description="when the daily full run starts (cron)")
    cleanup_schedule: Cron = Field("0 3 * * *", description="when image content of the past is removed (cron)")
    sensor_seconds: int = Field(30, ge=5, description="seconds between two looks for requests in the queue")
    fresh_hours: float = Field(2, gt=0, description="hours after which a child account's images count as stale")


class MoyskladWebhookSettings(BaseSettings):
    """How requests come in, in MOYSKLAD_WEBHOOK_<FIELD>; without a secret nothing is served."""

    model_config = SettingsConfigDict(env_prefix="MOYSKLAD_WEBHOOK_", extra="ignore", env_ignore_empty=True)

    secret: SecretStr | None = Field(
        None, description="ends the webhook's URL and is the queue's bearer token: 16 or more letters, digits, - and _"
    )
    port: int = Field(8820, ge=1, le=65535, description="port of the endpoints for webhooks and requests")

    @field_validator("secret")
    @classmethod
    def _fits_a_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _SECRET.fullmatch(value.get_secret_value()):
            raise ValueError("it is part of a URL; take 16 to 100 letters, digits, - and _")
        return value
