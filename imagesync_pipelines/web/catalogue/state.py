"""Opening the catalogue of this installation: what every part of it works with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa
from pydantic import SecretStr
from upath import UPath

from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.kept_secrets import kept_secret
from imagesync_pipelines.web.catalogue.queries.runs import ReadRuns
from imagesync_pipelines.web.catalogue.settings import CatalogueSettings

SECRET_FILE = "catalogue.secret"  # noqa: S105 - a file name


@dataclass(frozen=True)
class Opened:
    """What every part of the catalogue works with.

    storage: the folder of records, plans and what the catalogue keeps. session_secret signs sessions. clock gives aware
    UTC. read_runs: past runs from Dagster's records, newest first; it raises whatever Dagster raises.
    """

    engine: sa.Engine
    storage: UPath
    shared: Settings
    showing: ShowingSettings
    settings: CatalogueSettings
    session_secret: SecretStr
    clock: Callable[[], datetime]
    read_runs: ReadRuns


def open_catalogue(place: Installation, read_runs: ReadRuns) -> Opened:
    """The catalogue over an installation. Raises SettingsError with a line for people."""
    settings = load_settings(CatalogueSettings)
    if settings.session_secret is None and place.settings.environment == "production":
        raise SettingsError(
            "CATALOGUE_SESSION_SECRET: needed in production; 32 random characters or more, the same on every host"
        )
    return Opened(
        engine=place.engine,
        storage=place.storage,
        shared=place.settings,
        showing=load_settings(ShowingSettings),
        settings=settings,
        session_secret=settings.session_secret or kept_secret(place.locations.home / SECRET_FILE),
        clock=_now,
        read_runs=read_runs,
    )


def _now() -> datetime:
    return datetime.now(UTC)
