"""The settings that every connector shares, read from the environment and from `.env`."""

import os
from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import time
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AliasChoices, BaseModel, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.languages import N_, told

# The connector whose images a row of product_image has when it names none.
DEFAULT_SOURCE = "image_db"
LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

S = TypeVar("S", bound=BaseSettings)
# Each kind of settings as it was read last, with what it was read from.
_READ: dict[type[BaseSettings], tuple[object, BaseSettings]] = {}
# Every secret that this process has read, earlier values too: no log shows one.
_SECRETS: set[str] = set()


def _five_fields(value: str) -> str:
    if len(value.split()) != 5:
        raise ValueError("a schedule has five fields: minute hour day month weekday, e.g. 0 3 * * *")
    return value


def known_zone(value: str) -> str:
    """The name of a time zone; raises ValueError when there is none of this name."""
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError):
        raise ValueError(told("no time zone of this name; it should look like Asia/Jakarta")) from None
    return value


PLACE = N_("a path, or a URL such as s3://bucket/prefix")
Place = Annotated[str, PLACE]
"""Where files are."""
Cron = Annotated[str, AfterValidator(_five_fields)]
"""When a schedule starts, in cron's five fields."""


def _limit(name: str, default: float, description: str, le: float | None = None) -> Any:
    """One of the deletion limits, which is understood by its name of before as well."""
    names = AliasChoices(f"IMAGESYNC_DELETION_LIMIT_{name}", f"IMAGESYNC_BRAKE_{name}")
    return Field(default, validation_alias=names, ge=0, le=le, description=description)


class EnvironmentSettings(BaseSettings):
    """Settings of which each is a variable: the environment's, also when that one is empty, else that of `.env`."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What was given, then the environment, then `.env` without what the environment names."""
        if isinstance(dotenv_settings, DotEnvSettingsSource):
            named = {name.lower() for name in os.environ}
            known = dotenv_settings.env_vars
            dotenv_settings.env_vars = {name: value for name, value in known.items() if name.lower() not in named}
        return init_settings, env_settings, dotenv_settings


class SettingsError(ImagesyncError):
    """A setting is missing or wrong; the message names the variable and what to do, one line per variable."""


class LogSettings(EnvironmentSettings):
    """How every process of ours writes its log; read by itself, because a log says which other setting is wrong."""

    model_config = SettingsConfigDict(env_prefix="IMAGESYNC_", extra="ignore", env_ignore_empty=True)

    log_format: Literal["text", "json"] = Field(
        "text", description="json: every process writes its log as one JSON object per line, on standard error"
    )


class LanguageSettings(EnvironmentSettings):
    """The language that is spoken; read by itself, because what is wrong with other settings is said in it."""

    model_config = SettingsConfigDict(env_prefix="IMAGESYNC_", extra="ignore", env_ignore_empty=True)

    language: Literal["", "en", "de", "ru", "id", "marked"] = Field(
        "",
        description="of pages, alerts and commands: en, de, ru or id; empty: as the browser or the terminal says, "
        "alerts in English",
    )


class Settings(LanguageSettings):
    """The settings shared by all connectors: each field is the variable IMAGESYNC_<FIELD>, as in `.env.example`."""

    model_config = SettingsConfigDict(
        env_prefix="IMAGESYNC_", extra="ignore", env_ignore_empty=True, populate_by_name=True
    )

    environment: Literal["development", "production"] = Field(
        "development", description="production refuses plain http to other machines"
    )
    home: Path = Field(
        Path(".imagesync"), description="folder of the embedded database, raw pages, plans, DAGSTER_HOME"
    )
    database_url: SecretStr | None = Field(None, description="PostgreSQL for our tables; empty: an embedded server")
    dagster_url: SecretStr | None = Field(None, description="PostgreSQL for Dagster; empty: the same server")
    dagster_yaml: Path | None = Field(
        None, description="file that becomes dagster.yaml, e.g. deploy/dagster/celery.yaml; empty: runs on this host"
    )
    storage_url: str | None = Field(
        None, description="raw pages, plans, pictures, e.g. s3://bucket/prefix; empty: a folder"
    )
    s3_endpoint_url: str | None = Field(
        None,
        description="object store of photos and s3:// URLs, e.g. https://minio.example.com; empty: an embedded one",
    )
    s3_access_key: str | None = Field(None, description="access key of the object store")
    s3_secret_key: SecretStr | None = Field(None, description="secret key of the object store")
    s3_region: str = Field("us-east-1", description="region of the object store; MinIO takes any")
    s3_private_network: bool = Field(
        False, description="production reaches the object store by plain http too: it stands in a network of ours"
    )
    s3_bucket: str = Field("product-images", description="bucket that holds the photos; it must be there")
    accounts: Path | None = Field(None, description="TOML file of stores, child accounts and Plytix accounts")
    timezone: str = Field("Europe/Berlin", description="time zone of the schedules")
    webserver_url: str = Field("http://127.0.0.1:3000", description="where people open the Dagster UI; used in links")
    alert_urls: Annotated[tuple[SecretStr, ...], NoDecode] = Field(
        (), description="apprise targets of alerts, separated by blanks or commas"
    )
    alert_repeat_minutes: int = Field(60, ge=0, description="the same failure is sent again after this many minutes")
    alert_digest_at: time | None = Field(
        None, description="when one message a day sums up the last 24 hours, such as 07:30; empty: none is sent"
    )
    deletion_limit_share: float = _limit(
        "SHARE", 0.10, "removals above this share of what is there are held back", le=1
    )
    deletion_limit_count: int = _limit("COUNT", 500, "removals above this number are held back")
    deletion_limit_bare: int = _limit(
        "BARE", 25, "removals leaving more products than this without image are held back"
    )
    deletion_limit_floor: int = _limit("FLOOR", 5, "up to this many removals the share is not looked at")
    replacement_limit_share: float = Field(
        0.5, ge=0, le=1, description="replacements of more than this share of what is there are held back"
    )
    replacement_limit_floor: int = Field(
        20, ge=0, description="up to this many replacements the share is not looked at"
    )
    allowed_image_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="hosts in private networks that pictures may be fetched from, separated by blanks or commas"
    )
    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="addresses or networks of the proxies in front of what is served, e.g. 10.0.0.5 172.16.0.0/12: "
        "what they say of a visitor's address is believed",
    )
    keep_days: int = Field(
        30, ge=1, description="days that old pages, plans, hand-overs of runs, smaller copies and events are kept"
    )
    keep_quarantine_days: int = Field(
        90, ge=1, description="days that a quarantined item is kept which no run met, and an alert"
    )
    keep_pictures_days: int = Field(
        90,
        ge=1,
        description="days that the content of a picture is kept after its last use, as long as undo_days at least",
    )
    undo_days: int = Field(
        30, ge=1, description="days that what was done to images is kept, for the history and to take it back"
    )
    decode_children: int = Field(
        2, ge=1, le=64, description="large pictures that all processes together decode at once, each in up to 1 GB"
    )
    sandbox: bool = Field(
        False, description="true: the systems are made up (`imagesync dev` says so), and nothing starts by itself"
    )
    lock_wait_seconds: float = Field(
        60, ge=0, description="how long a second run waits for the first before it refuses"
    )

    @field_validator("alert_urls", "allowed_image_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(value.replace(",", " ").split()) if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            try:
                is_anybody = not ip_network(one).prefixlen
            except ValueError:
                raise ValueError("IP addresses and networks are expected, e.g. 10.0.0.5 172.16.0.0/12") from None
            if is_anybody:
                raise ValueError("a network of all addresses would let everybody say who they are; name the proxies")
        return value


def env_file() -> Path:
    """The file of settings beside the environment: `.env`, or what IMAGESYNC_ENV_FILE names; it need not be there."""
    return Path(os.environ.get("IMAGESYNC_ENV_FILE", ".env")).absolute()


def load_settings(kind: type[S], **overrides: object) -> S:
    """Read one settings class from the environment and `.env` (or the file that IMAGESYNC_ENV_FILE names).

    A run asks for the same ones dozens of times: they are read again when environment or file are others.
    Raises SettingsError with one line per wrong variable: its name as written in the environment, what was wrong.
    The wrong value itself is not repeated: it may be a secret.
    """
    path = env_file()
    asked_of = dict(os.environ), path, _version(path)
    known = _READ.get(kind)
    if not overrides and known is not None and known[0] == asked_of:
        return cast(S, known[1])
    read = _read(kind, path, overrides)
    if not overrides:
        _READ[kind] = asked_of, read
    return read


def _version(path: Path) -> tuple[int, ...]:
    """What differs when a file was written anew; nothing where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _read(kind: type[S], path: Path, overrides: Mapping[str, object]) -> S:
    try:
        found = kind(_env_file=path, **overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        prefix = str(kind.model_config.get("env_prefix") or "")
        lines = []
        for item in error.errors(include_input=False, include_url=False):
            field = str(item["loc"][0]) if item["loc"] else ""
            info = kind.model_fields.get(field)
            alias = info.validation_alias if info is not None and isinstance(info.validation_alias, str) else None
            name = (alias or prefix + field).upper()
            message = item["msg"].removeprefix("Value error, ")
            # What is wrong with several variables together names them itself.
            lines.append(f"{name}: {message}" if field else message)
        raise SettingsError("\n".join(lines)) from None
    for secret in secrets_in(found):
        remember_secret(secret.get_secret_value())
    return found


def secrets_in(value: object) -> list[SecretStr]:
    """The secrets in a value: itself, or in the fields and items of models, dataclasses and collections, all levels."""
    if isinstance(value, SecretStr):
        return [value]
    if isinstance(value, BaseModel) or is_dataclass(value):
        value = vars(value)
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [secret for part in parts for secret in secrets_in(part)]


def remember_secret(secret: str) -> None:
    """Let no log of this process show a secret, nor the password in it where it is an address."""
    _SECRETS.add(secret)
    try:
        password = urlsplit(secret).password
    except ValueError:
        password = None
    _SECRETS.update(filter(None, (password, unquote(password or ""))))


def known_secrets() -> frozenset[str]:
    """Every secret that this process has read so far."""
    return frozenset(_SECRETS)


def check_transport(name: str, url: str, environment: str) -> str | None:
    """Judge an upstream's URL: None when fine, a warning for plain http to another machine.

    Raises SettingsError for plain http in production and for what is no http(s) URL; `name` is the variable.
    """
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_one = False
    if not is_one:
        raise SettingsError(f"{name}: not an http or https URL; it should look like https://host/path/")
    if parts.scheme == "https" or parts.hostname in LOOPBACK_HOSTS:
        return None
    if environment == "production":
        raise SettingsError(f"{name}: plain http to {parts.hostname} is refused in production; use https")
    return told(f"{name}: plain http to {parts.hostname}: credentials can be read on the way; use https")
