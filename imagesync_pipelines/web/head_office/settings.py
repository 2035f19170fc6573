"""The settings of the head-office service; every field is the variable HO_<FIELD>."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRET_BYTES = 32


class HeadOfficeSettings(BaseSettings):
    """How the service runs; `production` in IMAGESYNC_ENVIRONMENT makes the secret required."""

    model_config = SettingsConfigDict(env_prefix="HO_", extra="ignore", env_ignore_empty=True)

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL of the head office; empty: the database head_office on the embedded server"
    )
    jwt_secret: SecretStr | None = Field(
        None,
        min_length=SECRET_BYTES,
        description="signs the tokens, 32 characters or more; empty: made once and kept in the home (development only)",
    )
    access_minutes: int = Field(60, ge=1, description="minutes for which an access token is good")
    refresh_minutes: int = Field(1440, ge=1, description="minutes for which a refresh token is good")
    default_limit: int = Field(100, ge=1, description="photos on a page when the caller does not say")
    max_limit: int = Field(1000, ge=1, description="most photos on one page; a larger limit is cut to this")
    max_reports: int = Field(10_000, ge=1, description="most photos in one status report")
    public_url: str | None = Field(
        None,
        description="where browsers find the bucket, e.g. https://cdn.example.com/photos; used in image_url; "
        "empty: the bucket at the object store's own address",
    )
