"""The settings of the endpoints that take requests; every field is the variable MOYSKLAD_WEBHOOK_<FIELD>.

What belongs here: values of these endpoints alone. What does not: the room's own settings (moysklad/settings.py), the
accounts (accounts.py).
"""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class WebhookSettings(BaseSettings):
    """How requests come in; without a secret nothing is served."""

    model_config = SettingsConfigDict(env_prefix="MOYSKLAD_WEBHOOK_", extra="ignore", env_ignore_empty=True)

    secret: SecretStr | None = Field(
        None,
        min_length=16,
        pattern=r"^[A-Za-z0-9_-]+$",
        description="ends the webhook's URL and is the queue's bearer token: 16 or more letters, digits, - and _",
    )
    port: int = Field(8820, ge=1, le=65535, description="port of the endpoints for webhooks and requests")
