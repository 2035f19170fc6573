"""Providers, catalogues that let people in by them, and a clock that a test sets."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from imagesync_pipelines.sandbox.server import bind, running
from imagesync_pipelines.web.catalogue.app import build_app
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines_tests.web.catalogue.oidc.providing import (
    LyingProvider,
    RealProvider,
    at_provider,
    lying_provider,
    real_provider,
)
from imagesync_pipelines_tests.web.catalogue.world import NOW, Site, World


@dataclass
class Clock:
    """The catalogue's clock."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def later(self, minutes: float) -> None:
        self.now += timedelta(minutes=minutes)


@dataclass(frozen=True)
class House:
    """A catalogue with a login at a provider."""

    site: Site
    opened: Opened
    clock: Clock


@contextmanager
def house(world: World, issuer: str, catalogue: str, **more: Any) -> Iterator[House]:
    """The catalogue at an address of loopback."""
    clock = Clock()
    opened = at_provider(replace(world.opened, clock=clock), issuer, catalogue, **more)
    with running((build_app(opened), bind(urlsplit(catalogue).port or 0))):
        yield House(Site(catalogue), opened, clock)


@pytest.fixture(scope="session")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealProvider]:
    """The certified provider."""
    with real_provider(tmp_path_factory.mktemp("provider")) as started:
        yield started


@pytest.fixture
def real(world: World, provider: RealProvider) -> Iterator[House]:
    """A catalogue whose people come from the certified provider."""
    with house(world, provider.issuer, provider.catalogue) as opened:
        yield opened


@pytest.fixture(scope="module")
def liar() -> Iterator[LyingProvider]:
    """A provider that says what a test wants; each test gets it as it is at first, by `fresh`."""
    with lying_provider() as started:
        yield started


@pytest.fixture
def fresh(liar: LyingProvider) -> LyingProvider:
    """The lying provider, honest again."""
    honest = LyingProvider(liar.address, keys=liar.keys[:1])
    vars(liar).update(vars(honest))
    return liar
