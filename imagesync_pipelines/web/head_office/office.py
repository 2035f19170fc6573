"""The head office's settings, what every part of the service works with, and opening it over this installation."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import sqlalchemy as sa
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from imagesync_pipelines.settings import EnvironmentSettings, Settings, SettingsError, known_zone, load_settings
from imagesync_pipelines.storage.database import answering, create_database, engine_of
from imagesync_pipelines.storage.embedded import ensure_server
from imagesync_pipelines.storage.installation import kept_secret
from imagesync_pipelines.storage.objects import S3Client, S3Place, embedded_s3, s3_client, s3_place
from imagesync_pipelines.storage.sessions import refuse_pooler_of_transactions
from imagesync_pipelines.web.head_office.tables import create_tables

# A process answers up to 40 requests at once, each with one connection at most.
POOL = {"pool_size": 10, "max_overflow": 30}


class HeadOfficeSettings(EnvironmentSettings):
    """How the service runs, each field HO_<FIELD>; `production` in IMAGESYNC_ENVIRONMENT needs the secret."""

    model_config = SettingsConfigDict(env_prefix="HO_", extra="ignore", env_ignore_empty=True)

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL of the head office; empty: the database head_office on the embedded server"
    )
    jwt_secret: SecretStr | None = Field(
        None,
        min_length=32,
        description="signs the tokens, 32 characters or more; empty: made once and kept in the home (development only)",
    )
    access_minutes: int = Field(60, ge=1, description="minutes for which an access token is good")
    refresh_minutes: int = Field(1440, ge=1, description="minutes for which a refresh token is good")
    default_limit: int = Field(100, ge=1, description="photos on a page when the caller does not say")
    max_limit: int = Field(1000, ge=1, description="most photos on one page; a larger limit is cut to this")
    max_reports: int = Field(10_000, ge=1, description="most photos in one status report")
    timezone: str = Field("Asia/Jakarta", description="zone of a `since` that is sent without one; the original's")
    public_url: str | None = Field(
        None,
        description="where browsers find the bucket, e.g. https://cdn.example.com/photos; used in image_url; "
        "empty: the bucket at the object store's own address, and for V2 an address of this service",
    )

    redirect_seconds: int = Field(
        60, ge=5, le=3600, description="seconds for which an address is good that a store of the bucket is sent to"
    )
    processes: int = Field(
        1, ge=1, le=64, description="processes of the service; each has up to 48 connections to the database"
    )
    bucket_endpoint: str | None = Field(
        None, description="the object store's address as those stores reach it; empty: IMAGESYNC_S3_ENDPOINT_URL"
    )

    @field_validator("timezone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        return known_zone(value)


@dataclass(frozen=True)
class HeadOffice:
    """The head office's database, bucket, settings and clock.

    `jwt_secret` signs the tokens. `clock` gives aware UTC and stamps every row: it is the only clock of the service.
    `trusted_proxies` are believed about a caller's address. `place`: where `bucket` is, for downloads without threads;
    without it they all go through `s3`.
    """

    engine: sa.Engine
    s3: S3Client
    bucket: str
    settings: HeadOfficeSettings
    jwt_secret: SecretStr
    clock: Callable[[], datetime]
    trusted_proxies: tuple[str, ...] = ()
    place: S3Place | None = None


@contextmanager
def open_head_office() -> Iterator[HeadOffice]:
    """Open the head office that the settings describe, with its tables made.

    Without HO_DATABASE_URL and IMAGESYNC_S3_ENDPOINT_URL the embedded servers of the home are used. Raises
    SettingsError and StorageError, each with a line for people.
    """
    shared, settings = load_settings(Settings), load_settings(HeadOfficeSettings)
    home = shared.home.expanduser().resolve()
    if settings.jwt_secret is None and shared.environment == "production":
        raise SettingsError("HO_JWT_SECRET: needed in production; 32 random characters or more, the same on every host")
    secret = settings.jwt_secret or kept_secret(home / "head_office.secret")
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
    else:
        url = create_database(ensure_server(home).url("postgres", "psycopg"), "head_office")
    engine = engine_of(url, **POOL)
    try:
        with answering("The head office's database (HO_DATABASE_URL)"):
            refuse_pooler_of_transactions(engine, "HO_DATABASE_URL")
            create_tables(engine)
        outside = s3_place(shared)
        with nullcontext(outside) if outside else embedded_s3(home / "objects", bucket=shared.s3_bucket) as place:
            now = partial(datetime.now, UTC)
            with closing(s3_client(place)) as client:
                yield HeadOffice(engine, client, place.bucket, settings, secret, now, shared.trusted_proxies, place)
    finally:
        engine.dispose()
