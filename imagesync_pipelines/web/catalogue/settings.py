"""The settings of the catalogue; every field is the variable CATALOGUE_<FIELD>."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRET_CHARACTERS = 32


class CatalogueSettings(BaseSettings):
    """How the catalogue is served; `production` in IMAGESYNC_ENVIRONMENT makes the session secret required."""

    model_config = SettingsConfigDict(env_prefix="CATALOGUE_", extra="ignore", env_ignore_empty=True)

    host: str = Field("127.0.0.1", description="address that the catalogue listens on")
    port: int = Field(8830, ge=1, le=65535, description="port that the catalogue listens on")
    session_secret: SecretStr | None = Field(
        None,
        min_length=SECRET_CHARACTERS,
        description="signs sessions, 32 characters or more; empty: made once and kept in the home (development only)",
    )
    page_size: int = Field(48, ge=1, le=200, description="products on a page of the list")
    rate_limit: int = Field(600, ge=1, description="calls a minute that an API key may make")
    derivative_max_bytes: int = Field(
        128 * 1024 * 1024, ge=1, description="bytes of the largest picture that is fetched to make a smaller one"
    )
    derivative_max_pixels: int = Field(
        100_000_000, ge=1, description="pixels of the largest picture that is decoded to make a smaller one"
    )
    derivative_seconds: float = Field(30, gt=0, description="seconds that fetching and decoding one picture may take")
