"""The catalogue's settings, what every part of it works with, and opening it over this installation."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar

import sqlalchemy as sa
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict
from upath import UPath

from imagesync_pipelines.products.lists import list_for_height
from imagesync_pipelines.products.merchant import MOST_PIXELS_TO_SHRINK
from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.settings import EnvironmentSettings, Settings, SettingsError, load_settings
from imagesync_pipelines.storage.installation import Installation, kept_secret
from imagesync_pipelines.sync.job_runs import PastRun
from imagesync_pipelines.web.catalogue.oidc.settings import OidcSettings

if TYPE_CHECKING:
    from imagesync_pipelines.web.catalogue.oidc.login import OidcLogin

P = ParamSpec("P")
T = TypeVar("T")
# What is stale of a plan of hundred thousands of rows takes seconds to find out, and tens of megabytes to keep.
_STALE_KEPT = 8
_EXPIRED_KEPT = 1000
SECRET_FILE = "catalogue.secret"  # noqa: S105 - a file name

ReadRuns = Callable[[int, str | None], Sequence[PastRun]]
"""The last so many runs, newest first, of one connector or (None) of all."""
SilentDaemon = Callable[[], str | None]
"""What there is to say when Dagster's daemon does not work."""


def _unknown() -> None:
    """Nothing is known of a daemon."""


class CatalogueSettings(EnvironmentSettings):
    """How the catalogue is served, each field CATALOGUE_<FIELD>; `production` needs the session secret."""

    model_config = SettingsConfigDict(env_prefix="CATALOGUE_", extra="ignore", env_ignore_empty=True)

    host: str = Field("127.0.0.1", description="address that the catalogue listens on")
    port: int = Field(8830, ge=1, le=65535, description="port that the catalogue listens on")
    dagster_url: str | None = Field(
        None, description="where the catalogue itself reaches Dagster's webserver; empty: IMAGESYNC_WEBSERVER_URL"
    )
    processes: int = Field(
        1, ge=1, le=64, description="processes of the catalogue; each has up to 15 connections to the database"
    )
    session_secret: SecretStr | None = Field(
        None,
        min_length=32,
        description="signs sessions, 32 characters or more; empty: made once and kept in the home (development only)",
    )
    cookie_domain: str | None = Field(
        None,
        description="domain that the cookie of a session is for, e.g. example.com: so a proxy lets admins into "
        "Dagster's UI at dagster.example.com; empty: the catalogue's host alone",
    )
    page_size: int = Field(48, ge=1, le=200, description="products on a page of the list")
    rate_limit: int = Field(600, ge=1, description="calls a minute that an API key may make")
    derivative_max_bytes: int = Field(
        128 * 1024 * 1024, ge=1, description="bytes of the largest picture that is fetched to make a smaller one"
    )
    derivative_max_pixels: int = Field(
        MOST_PIXELS_TO_SHRINK, ge=1, description="pixels of the largest picture that is decoded to make a smaller one"
    )
    derivative_seconds: float = Field(30, gt=0, description="seconds that fetching and decoding one picture may take")


def kept_for(seconds: float, read: Callable[P, T]) -> Callable[P, T]:
    """The same, with an answer given again for so long; one thread reads, the others wait for it."""
    lock = Lock()
    kept: dict[tuple[object, ...], tuple[float, T]] = {}

    def answer(*args: P.args, **kwargs: P.kwargs) -> T:
        with lock:
            known = kept.get(args)
            if known is None or time.monotonic() - known[0] > seconds:
                answered = read(*args, **kwargs)
                known = kept[args] = (time.monotonic(), answered)
            return known[1]

    return answer


class FewAnswers(Generic[T]):
    """The answers that were asked for last, at most so many; one thread works one out, the others wait for it."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, Lock()
        self._kept: dict[tuple[object, ...], T] = {}

    def get(self, asked: tuple[object, ...], answer: Callable[[], T]) -> T:
        """What is kept of what was asked, else the answer, kept now."""
        with self._lock:
            found = self._kept.pop(asked) if asked in self._kept else answer()
            self._kept[asked] = found
            while len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
            return found


@dataclass(frozen=True)
class Opened:
    """What every part of the catalogue works with.

    storage: the folder of records, plans and what the catalogue keeps. session_secret signs sessions. clock gives aware
    UTC. read_runs: past runs from Dagster's records, newest first; it raises whatever Dagster raises. silent_daemon:
    what there is to say when Dagster's daemon does not work, None when it does; it raises the same. stale: what is
    stale of a plan, by its number and those of the newer ones; expired: why all of one is. oidc: the login at an
    identity provider.
    """

    engine: sa.Engine
    storage: UPath
    shared: Settings
    showing: ShowingSettings
    settings: CatalogueSettings
    session_secret: SecretStr
    clock: Callable[[], datetime]
    read_runs: ReadRuns
    silent_daemon: SilentDaemon = _unknown
    stale: FewAnswers[Mapping[str, str]] = field(default_factory=lambda: FewAnswers(_STALE_KEPT))
    expired: FewAnswers[str] = field(default_factory=lambda: FewAnswers(_EXPIRED_KEPT))
    quality: QualitySettings = field(default_factory=partial(load_settings, QualitySettings))
    oidc: "OidcLogin | None" = None


def open_catalogue(place: Installation, read_runs: ReadRuns, silent_daemon: SilentDaemon = _unknown) -> Opened:
    """The catalogue over an installation. Raises SettingsError with a line for people."""
    settings = load_settings(CatalogueSettings)
    if settings.session_secret is None and place.settings.environment == "production":
        raise SettingsError(
            "CATALOGUE_SESSION_SECRET: needed in production; 32 random characters or more, the same on every host"
        )
    showing, oidc = load_settings(ShowingSettings), load_settings(OidcSettings)
    list_for_height(place.engine, showing.image_db_detail_min_height)
    opened = Opened(
        engine=place.engine,
        storage=place.storage,
        shared=place.settings,
        showing=showing,
        settings=settings,
        session_secret=settings.session_secret or kept_secret(place.locations.home / SECRET_FILE),
        clock=partial(datetime.now, UTC),
        read_runs=read_runs,
        silent_daemon=silent_daemon,
        quality=load_settings(QualitySettings),
    )
    return opened if oidc.issuer is None else with_oidc(opened, oidc)


def with_oidc(opened: Opened, settings: OidcSettings) -> Opened:
    """The catalogue with a login at this provider, which is not asked for it."""
    # A catalogue without one does not import what speaks with providers.
    from imagesync_pipelines.web.catalogue.oidc.login import OidcLogin

    return replace(opened, oidc=OidcLogin(settings, opened.engine, opened.session_secret, opened.clock))
