"""The login at an identity provider, and the one that opens Dagster's UI too, in a browser with its rules of forms."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, expect
from starlette.responses import HTMLResponse

from imagesync_pipelines.sandbox.server import bind, running
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.web.catalogue.app import build_app
from imagesync_pipelines_tests.web.catalogue.admin.browsing import PASSWORD, person
from imagesync_pipelines_tests.web.catalogue.browser.conftest import (
    WAIT_MILLISECONDS,
    findings_here,
    watch_for_findings,
)
from imagesync_pipelines_tests.web.catalogue.oidc.conftest import house
from imagesync_pipelines_tests.web.catalogue.oidc.providing import RealProvider, real_provider
from imagesync_pipelines_tests.web.catalogue.world import World

pytestmark = pytest.mark.slow


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[RealProvider]:
    """The certified provider."""
    with real_provider(tmp_path) as started:
        yield started


def test_a_person_signs_in_at_the_provider_and_out_of_both(
    browser: Browser, provider: RealProvider, world: World
) -> None:
    provider.person("a1", preferred_username="anna", groups=["shop-admins"])
    with (
        house(world, provider.issuer, provider.catalogue),
        browser.new_context(base_url=provider.catalogue, bypass_csp=True) as looked_at,
        browser.new_context(base_url=provider.catalogue) as context,
    ):
        form = looked_at.new_page()
        watch_for_findings(form)
        form.goto("/login")
        assert findings_here(form) == []
        context.set_default_timeout(WAIT_MILLISECONDS)
        page = context.new_page()
        page.goto("/admin/users")
        page.get_by_role("link", name="Sign in with Our company").click()
        page.locator("input[name=login]").fill("a1")
        page.locator("input[name=password]").fill("any")
        page.get_by_role("button").click()
        page.get_by_role("button", name="Continue").click()
        expect(page).to_have_url(f"{provider.catalogue}/admin/users")
        expect(page.get_by_role("heading", name=re.compile("^anna .*by Our company"))).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        # Its own page asks once more, and leads back.
        page.get_by_role("button", name=re.compile("Yes")).click()
        expect(page).to_have_url(re.compile(rf"^{provider.catalogue}/\?"))
        expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def test_one_login_leads_on_to_dagsters_ui(browser: Browser, world: World) -> None:
    person(world)
    dagster, of_dagster, of_catalogue = FastAPI(), bind(), bind()

    @dagster.get("/runs")
    async def runs() -> HTMLResponse:
        return HTMLResponse("<h1>Runs</h1>")

    there, here = (
        f"http://{name}.test.localhost:{listener.getsockname()[1]}"
        for name, listener in (("dagster", of_dagster), ("images", of_catalogue))
    )
    settings = world.opened.settings.model_copy(update={"cookie_domain": "test.localhost"})
    opened = replace(world.opened, shared=Settings(webserver_url=there), settings=settings)
    with running((dagster, of_dagster)), running((build_app(opened), of_catalogue)), browser.new_context() as context:
        context.set_default_timeout(WAIT_MILLISECONDS)
        page = context.new_page()
        page.goto(f"{here}/login?next={there}/runs")
        page.get_by_label("Name").fill("anna")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", name="Runs")).to_be_visible()
        assert {one["domain"] for one in context.cookies()} == {".test.localhost"}
