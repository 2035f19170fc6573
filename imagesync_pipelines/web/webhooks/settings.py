"""The settings of the endpoints that take requests; every field is the variable MOYSKLAD_WEBHOOK_<FIELD>.

What belongs here: values of these endpoints alone. What does not: the connector's own settings (moysklad/settings.py),
the accounts (accounts.py).
"""

import re

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

_SECRET = re.compile(r"[A-Za-z0-9_-]{16,100}")


class WebhookSettings(BaseSettings):
    """How requests come in; without a secret nothing is served."""

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
