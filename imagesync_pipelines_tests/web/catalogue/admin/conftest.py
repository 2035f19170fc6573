"""People who may log in, and browsers of theirs."""

from collections.abc import Iterator

import pytest

from imagesync_pipelines.web.catalogue.access import UserRole
from imagesync_pipelines_tests.web.catalogue.admin.browsing import (
    Browser,
    FakeDagster,
    at_dagster,
    fake_dagster,
    person,
)
from imagesync_pipelines_tests.web.catalogue.world import Site, World, serving


@pytest.fixture(scope="module")
def dagster() -> Iterator[FakeDagster]:
    """A stand-in for Dagster's webserver."""
    with fake_dagster() as fake:
        yield fake


@pytest.fixture
def site(world: World, dagster: FakeDagster) -> Iterator[Site]:
    """The application over the world, with the stand-in for Dagster, which has forgotten everything."""
    dagster.launched.clear()
    dagster.status, dagster.refuses, dagster.launch_status = "QUEUED", None, 200
    with serving(at_dagster(world, dagster.address).opened) as site:
        yield site


@pytest.fixture
def admin(world: World, site: Site) -> Browser:
    """A browser in which an admin is logged in."""
    person(world, "anna")
    browser = Browser(site)
    browser.log_in("anna")
    return browser


@pytest.fixture
def viewer(world: World, site: Site) -> Browser:
    """A browser in which a viewer is logged in."""
    person(world, "bert", UserRole.VIEWER)
    browser = Browser(site)
    browser.log_in("bert")
    return browser
