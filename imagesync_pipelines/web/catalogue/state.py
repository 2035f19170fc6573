"""What every part of the catalogue works with, and opening it over this installation."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from threading import Lock
from typing import ParamSpec, TypeVar

import sqlalchemy as sa
from pydantic import SecretStr
from upath import UPath

from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.installation import Installation, kept_secret
from imagesync_pipelines.sync.job_runs import PastRun
from imagesync_pipelines.web.catalogue.settings import CatalogueSettings

P = ParamSpec("P")
T = TypeVar("T")
SECRET_FILE = "catalogue.secret"  # noqa: S105 - a file name

ReadRuns = Callable[[int, str | None], Sequence[PastRun]]
"""The last so many runs, newest first, of one connector or (None) of all."""


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
        clock=partial(datetime.now, UTC),
        read_runs=read_runs,
    )
