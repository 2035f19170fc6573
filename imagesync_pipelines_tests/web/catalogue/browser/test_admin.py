"""What an admin does in a real browser: choose a primary picture that a sync keeps, start a sync and see its run."""

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page, expect

from imagesync_pipelines.defs import runs
from imagesync_pipelines.web.catalogue.access import UserRole, set_user
from imagesync_pipelines_tests.cli.terminals import COMMAND, environment_of
from imagesync_pipelines_tests.cli.test_servers import answers, wait_for
from imagesync_pipelines_tests.web.catalogue.browser.conftest import (
    PHONE,
    WIDE,
    Place,
    findings_here,
    opened,
    watch_for_findings,
)

pytestmark = pytest.mark.slow

NAME, PASSWORD = "anna", "correct horse battery staple"
# Starting Dagster's processes and then a run takes half a minute on a busy machine of two cores.
RUN_MILLISECONDS = 120_000
_THREE_PICTURES = """
SELECT i.product_id FROM imagesync.product_image i JOIN imagesync.product p ON p.id = i.product_id
 WHERE NOT EXISTS (SELECT FROM imagesync.product_image other WHERE other.product_id = p.parent_id)
 GROUP BY i.product_id HAVING count(*) > 2 ORDER BY i.product_id LIMIT 1
"""


@pytest.fixture(scope="module", autouse=True)
def _anna(place: Place) -> None:
    """Somebody who may change things."""
    engine = sa.create_engine(place.world.environment["IMAGESYNC_DATABASE_URL"], poolclass=sa.NullPool)
    set_user(engine, NAME, UserRole.ADMIN, PASSWORD)


def sign_in(page: Page) -> None:
    page.goto("/login")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator(".account strong")).to_have_text(NAME)


def test_a_chosen_primary_picture_survives_a_synchronisation(page: Page, place: Place) -> None:
    sign_in(page)
    page.goto(f"/products/{place.value(_THREE_PICTURES)}")
    by_the_rules = page.locator(".thumbs a").first.get_attribute("data-image")
    page.locator(".thumbs a").nth(2).click()
    chosen = page.locator(".thumbs a").nth(2).get_attribute("data-image")
    page.get_by_role("button", name="Make it the primary picture").click()
    expect(page.locator(".thumbs a").first).to_have_attribute("data-image", str(chosen))
    assert place.sync(force=True).status == runs.Status.COMPLETED
    page.reload()
    expect(page.locator(".thumbs a").first).to_have_attribute("data-image", str(chosen))
    expect(page.locator(".thumbs li").first).to_contain_text("Primary")
    expect(page.locator("main")).to_contain_text(f"{NAME} chose the primary picture")
    page.get_by_role("button", name="Unpin the primary picture").click()
    expect(page.locator(".thumbs a").first).to_have_attribute("data-image", str(by_the_rules))


def test_a_view_is_kept_under_a_name_and_forgotten(page: Page) -> None:
    sign_in(page)
    page.goto("/?without_front=1&order=name")
    page.get_by_text("Keep this view").click()
    page.get_by_label("Its name").fill("No fronts")
    page.get_by_role("button", name="Keep", exact=True).click()
    page.goto("/")
    page.get_by_role("link", name="No fronts").click()
    expect(page).to_have_url(re.compile(r"\?without_front=1&order=name$"))
    expect(page.get_by_label("Sorted by")).to_have_value("name")
    page.get_by_role("button", name="Forget this view").click()
    expect(page.get_by_role("link", name="No fronts")).to_have_count(0)


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["wide", "phone"])
def test_primary_pictures_of_chosen_products_are_looked_at_and_chosen(
    browser: Browser, place: Place, screen: dict[str, int]
) -> None:
    with opened(browser, place, viewport=screen, bypass_csp=True) as page:
        watch_for_findings(page)
        sign_in(page)
        page.goto("/")
        for number in (0, 1):
            page.get_by_role("checkbox", name=re.compile("^Choose ")).nth(number).check()
        page.get_by_role("button", name="With the chosen").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("2 products")
        assert findings_here(page) == []
        page.get_by_label("the picture with the most pixels").check()
        page.get_by_role("button", name="Show what is chosen").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Primary pictures")
        assert findings_here(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= screen["width"]
        page.get_by_role("button", name=re.compile("^Choose these")).click()
        expect(page.get_by_role("main")).to_contain_text("Primary pictures chosen: 2.")
        page.get_by_role("searchbox").fill("zzzz")
        expect(page.locator("#bulk input[name=query]")).to_have_value("q=zzzz")
        page.goto("/")
        for number in (0, 1):
            page.get_by_role("checkbox", name=re.compile("^Choose ")).nth(number).check()
        page.get_by_role("button", name="With the chosen").click()
        page.get_by_label("the rules choose again").check()
        page.get_by_role("button", name="Show what is chosen").click()
        page.get_by_role("button", name=re.compile("^Choose these")).click()
        expect(page.get_by_role("main")).to_contain_text("Primary pictures chosen: 2.")


def test_who_is_not_signed_in_sees_no_buttons_that_change_anything(page: Page, place: Place) -> None:
    page.goto(f"/products/{place.value(_THREE_PICTURES)}")
    assert page.locator("main form[method=post]").count() == 0
    page.goto("/admin/start")
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


@contextmanager
def dev(place: Place, folder: Path) -> Iterator[str]:
    """`imagesync dev` on the installation, as people run it; the address of its catalogue."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shown = folder / "shown.txt"
    command = [*COMMAND, "dev", "--real", "--port", str(port)]
    with shown.open("w") as target, subprocess.Popen(
        command, cwd=folder, text=True, stdout=target, stderr=subprocess.STDOUT, env=environment_of(place.world, {})
    ) as process:  # fmt: skip
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/server_info"), process, seconds=120)
            wait_for(lambda: bool(_address(shown)), process, seconds=120)
            yield _address(shown)[0]
        finally:
            process.send_signal(signal.SIGINT)


def _address(shown: Path) -> list[str]:
    """What is said as soon as the catalogue answers."""
    return re.findall(r"Catalogue: (http://\S+)", shown.read_text())


def test_a_synchronisation_is_started_from_a_product_and_its_run_is_watched_to_its_end(
    browser: Browser, place: Place, tmp_path: Path
) -> None:
    with dev(place, tmp_path) as address, opened(browser, Place(place.world, address)) as page:
        sign_in(page)
        page.goto(f"/products/{place.value(_THREE_PICTURES)}")
        page.get_by_role("button", name="Synchronise it now").click()
        expect(page).to_have_url(re.compile("/admin/runs/"), timeout=RUN_MILLISECONDS)
        expect(page.locator("#run-state .badge")).to_have_text("completed", timeout=RUN_MILLISECONDS)
        expect(page.locator("#run-state")).to_contain_text(NAME)
        run_id = page.url.rpartition("/")[2]
        expect(page.get_by_role("link", name="Open it in the Dagster UI")).to_have_attribute(
            "href", re.compile(rf"/runs/{run_id}$")
        )
        page.goto("/history")
        expect(page.locator("main tbody tr").first).to_contain_text("Chosen products")
