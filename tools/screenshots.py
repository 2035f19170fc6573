"""The pictures in docs/images, made anew: of what `imagesync demo --all` left, while `imagesync dev` serves it.

    imagesync demo --all
    imagesync user add anna --role admin
    imagesync dev
    SCREENSHOTS_PASSWORD=... python tools/screenshots.py

Look at each of them afterwards. With names of pictures, only these.
"""

import io
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

CATALOGUE, DAGSTER = "http://127.0.0.1:8830", "http://127.0.0.1:3000"
IMAGES = Path(__file__).parent.parent / "docs" / "images"
NAME = "anna"
# Those of the translated docs, beside English: catalogue-list.de.png.
LANGUAGES = ("de", "ru")
DESK, PHONE, WIDE = (1280, 900), (390, 844), (1500, 950)
# The third plan of the demo is that of its changes, the next one takes them back.
CHANGES, UNDO = 3, 4


def sign_in(page: Page) -> None:
    page.goto(f"{CATALOGUE}/login")
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(os.environ["SCREENSHOTS_PASSWORD"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")


def product(page: Page) -> None:
    """The first product with at least four pictures of its own."""
    page.goto(f"{CATALOGUE}/")
    page.locator(".card", has_text=re.compile("[4-9] pictures")).filter(has_not_text="from ").first.locator("a").click()


def pinned(page: Page) -> None:
    """The same product, for who may change something; its second picture is chosen as the primary one."""
    sign_in(page)
    product(page)
    if page.get_by_role("button", name="Unpin the primary picture").count() == 0:
        page.locator(".thumbs a").nth(1).click()
        page.get_by_role("button", name="Make it the primary picture").click()


def plan_in_dagster(page: Page) -> None:
    """The materialisation of the plan of the changes, among those of the other runs."""
    page.goto(f"{DAGSTER}/assets/image_db/plan?view=events")
    events = page.get_by_text(re.compile(r"^[A-Z][a-z]{2} \d+, \d+:\d+ [AP]M$"))
    events.first.wait_for()
    for place in range(events.count()):
        events.nth(place).click()
        page.wait_for_timeout(1500)
        command = page.get_by_text(f"imagesync apply {CHANGES}", exact=True)
        if command.count():
            command.first.evaluate("one => one.scrollIntoView({block: 'center'})")
            return
    raise LookupError(f"plan {CHANGES} is not in the Dagster UI")


def at(address: str, *, signed_in: bool = False) -> Callable[[Page], None]:
    """Whoever opens an address."""

    def open_it(page: Page) -> None:
        if signed_in:
            sign_in(page)
        page.goto(address)

    return open_it


SHOTS: dict[str, tuple[tuple[int, int], Callable[[Page], None]]] = {
    "catalogue-list": (DESK, at(f"{CATALOGUE}/")),
    "catalogue-product": (DESK, product),
    "catalogue-phone": (PHONE, product),
    "catalogue-admin": (DESK, pinned),
    "catalogue-history": (DESK, at(f"{CATALOGUE}/history")),
    "catalogue-plan": (DESK, at(f"{CATALOGUE}/plans/{CHANGES}", signed_in=True)),
    "catalogue-undo": (DESK, at(f"{CATALOGUE}/plans/{UNDO}", signed_in=True)),
    "catalogue-quality": ((1280, 1290), at(f"{CATALOGUE}/quality")),
    "catalogue-fleet": (DESK, at(f"{CATALOGUE}/admin/fleet", signed_in=True)),
    "ui-assets": ((1280, 560), at(f"{DAGSTER}/locations/imagesync_pipelines/asset-groups/image_db")),
    "ui-plan": ((1280, 1000), plan_in_dagster),
    "edge-photo-binaries": (WIDE, at(f"{DAGSTER}/assets/edge/photo_binaries?view=overview")),
    "automation": (WIDE, at(f"{DAGSTER}/automation")),
}


def keep(page: Page, name: str) -> None:
    """What is seen of a page, as a picture of the docs."""
    seen = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    # Colours of a palette take a third of the bytes.
    seen.quantize(256, dither=Image.Dither.NONE).save(IMAGES / f"{name}.png", optimize=True)


def main(names: list[str]) -> None:
    """Make these pictures, or all."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"] if os.geteuid() == 0 else []
        )
        for name in names or SHOTS:
            (width, height), open_it = SHOTS[name]
            page = browser.new_page(viewport={"width": width, "height": height})
            open_it(page)
            # Pictures are made when they are first looked at; Dagster's pages ask for their parts one after the other.
            page.wait_for_timeout(12_000 if DAGSTER in page.url else 4000)
            keep(page, name)
            for language in LANGUAGES if CATALOGUE in page.url else ():
                page.context.add_cookies([{"name": "language", "value": language, "url": CATALOGUE}])
                page.reload()
                page.wait_for_timeout(1000)
                keep(page, f"{name}.{language}")
            page.context.close()


if __name__ == "__main__":
    main(sys.argv[1:])
