"""The head office's documentation in a real browser: it is there without a request to another host."""

import pytest
from playwright.sync_api import Browser, Page, expect

from imagesync_pipelines_tests.web.catalogue.browser.conftest import WAIT_MILLISECONDS, Watched
from imagesync_pipelines_tests.web.head_office.serving import Client

pytestmark = pytest.mark.slow


def shown(browser: Browser, address: str, path: str, text: str) -> Page:
    """The page with this text on it; it complained about nothing and asked nobody else."""
    context = browser.new_context(base_url=address)
    context.set_default_timeout(WAIT_MILLISECONDS)
    watched = Watched(address)
    context.on("page", watched.watch)
    page = context.new_page()
    page.goto(path, wait_until="networkidle")
    expect(page.get_by_text(text).first).to_be_visible()
    assert watched.complaints == []
    return page


def test_people_read_the_documentation_offline(browser: Browser, service: Client) -> None:
    page = shown(browser, service.url, "/docs", "Log In")
    page.get_by_text("Log In").first.click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    expect(page.locator(".live-responses-table .response .response-col_status").first).to_contain_text("4")
    page.context.close()
    shown(browser, service.url, "/redoc", "Download OpenAPI specification").context.close()
