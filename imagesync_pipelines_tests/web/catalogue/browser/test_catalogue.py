"""What people do with the catalogue, in a real browser: browse, look, use the keyboard, a phone, no JavaScript."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from imagesync_pipelines_tests.web.catalogue.browser.conftest import PAGE_SIZE, PHONE, Place, opened

pytestmark = pytest.mark.slow

_MOST_PICTURES = """
SELECT product_id FROM imagesync.product_image GROUP BY product_id ORDER BY count(*) DESC, product_id LIMIT 1
"""


@pytest.fixture
def gallery(page: Page, place: Place) -> Page:
    """The page of the product with the most pictures."""
    page.goto(f"/products/{place.value(_MOST_PICTURES)}")
    assert page.locator(".thumbs a").count() > 2
    return page


def test_browsing_searches_filters_shows_more_and_comes_back_to_the_same_list(page: Page, place: Place) -> None:
    page.goto("/")
    expect(page.locator(".card")).to_have_count(PAGE_SIZE)
    page.get_by_role("link", name="Show more products").click()
    expect(page.locator(".card")).to_have_count(2 * PAGE_SIZE)
    sku = place.value("SELECT sku FROM imagesync.product WHERE kind = 'variant' ORDER BY id LIMIT 1")
    page.get_by_label("SKU or name").press_sequentially(sku)
    expect(page.locator(".card .sku").first).to_have_text(sku)
    expect(page).to_have_url(re.compile(rf"\?q={sku}$"))
    page.locator(".card a").first.click()
    expect(page.locator("h1 + .facts .sku")).to_have_text(sku)
    page.go_back()
    expect(page.get_by_label("SKU or name")).to_have_value(sku)
    expect(page.locator(".card .sku").first).to_have_text(sku)
    page.get_by_label("SKU or name").fill("no such product")
    expect(page.get_by_role("heading", name="No product fits")).to_be_visible()
    page.get_by_label("SKU or name").fill("")
    page.get_by_text("No front view").click()
    expect(page).to_have_url(re.compile(r"\?without_front=1$"))
    expect(page.locator("#told")).to_have_text(re.compile(r"^\s*\d+ of \d+ products fit"))
    page.get_by_label("Sorted by").select_option("name")
    expect(page).to_have_url(re.compile(r"\?order=name&without_front=1$"))


def test_pictures_are_loaded_and_only_when_they_come_into_view(page: Page) -> None:
    page.goto("/")
    pictures = page.locator(".card img.picture:not(.none)")
    expect(pictures.first).to_have_js_property("complete", True)
    assert pictures.first.evaluate("image => image.naturalWidth") > 100
    assert set(pictures.evaluate_all("all => all.map(image => image.loading)")) == {"lazy"}


def test_the_mouse_changes_the_large_picture_and_enlarges_it(gallery: Page) -> None:
    large = gallery.locator("#large")
    first = large.get_attribute("src")
    assert gallery.locator(".thumbs a").first.get_attribute("aria-current") == "true", "the primary comes first"
    expect(gallery.locator(".thumbs li").first).to_contain_text("Primary")
    gallery.locator(".thumbs a").nth(2).click()
    expect(gallery.locator("#caption")).to_have_text(re.compile("^Picture 3 of "))
    assert large.get_attribute("src") != first
    expect(gallery.locator("[data-about]:visible")).to_have_count(1)
    gallery.locator("#stage").click()
    expect(gallery.locator("main")).to_contain_text("Picture 3 of ")
    gallery.get_by_role("link", name="Larger").click()
    wide = gallery.locator("#whole").evaluate("image => image.clientWidth / image.parentElement.clientWidth")
    assert wide > 1.9
    gallery.get_by_role("link", name="Previous").click()
    expect(gallery.locator("main")).to_contain_text("Picture 2 of ")
    with gallery.expect_download() as kept:
        gallery.get_by_role("link", name="Download").click()
    assert Path(kept.value.path()).read_bytes()[:2] == b"\xff\xd8" or kept.value.suggested_filename
    assert gallery.get_by_role("link", name="Original").get_attribute("href")


def test_the_keyboard_alone_reaches_every_picture(gallery: Page) -> None:
    count = gallery.locator(".thumbs a").count()
    gallery.keyboard.press("Tab")
    expect(gallery.locator(".skip")).to_be_focused()
    gallery.keyboard.press("Enter")
    for shown in (*range(2, count + 1), 1):
        gallery.keyboard.press("ArrowRight")
        expect(gallery.locator("#caption")).to_have_text(f"Picture {shown} of {count}")
    gallery.keyboard.press("ArrowLeft")
    expect(gallery.locator("#caption")).to_have_text(f"Picture {count} of {count}")
    gallery.locator("#stage").focus()
    gallery.keyboard.press("Enter")
    for shown in (count, count - 1, count - 2):
        expect(gallery.locator("main")).to_contain_text(f"Picture {shown} of {count}")
        gallery.keyboard.press("ArrowLeft" if shown > count - 2 else "Escape")
    expect(gallery.locator("#caption")).to_have_text(f"Picture {count - 2} of {count}")


def test_the_large_picture_is_whole_on_every_screen(browser: Browser, place: Place) -> None:
    """Nothing of it is cut off, whatever its shape; neighbours, download and original are links."""
    for options in ({}, {"viewport": PHONE, "is_mobile": True}, {"java_script_enabled": False}):
        with opened(browser, place, **options) as page:
            page.goto(f"/products/{place.value(_MOST_PICTURES)}")
            page.locator("#stage").click()
            box, frame = page.locator("#whole").bounding_box(), page.locator(".canvas").bounding_box()
            assert box
            assert frame
            assert box["width"] <= frame["width"]
            assert box["height"] <= frame["height"]
            assert frame["y"] + frame["height"] <= page.viewport_size["height"], "it is seen without scrolling"  # type: ignore[index]
            assert (
                page.locator(".canvas").evaluate("one => getComputedStyle(one.firstElementChild).objectFit")
                == "contain"
            )
            assert page.get_by_role("link", name="Next").get_attribute("href")


def test_without_javascript_everything_is_a_link(browser: Browser, place: Place) -> None:
    with opened(browser, place, java_script_enabled=False) as page:
        page.goto("/")
        page.get_by_role("link", name="Show more products").click()
        expect(page.locator(".card")).to_have_count(PAGE_SIZE)
        page.goto(f"/products/{place.value(_MOST_PICTURES)}")
        page.locator(".thumbs a").nth(1).click()
        expect(page.locator("#caption")).to_have_text(re.compile("^Picture 2 of "))
        page.goto("/")
        page.get_by_label("SKU or name").fill("no such product")
        page.get_by_role("button", name="Search").click()
        expect(page.get_by_role("heading", name="No product fits")).to_be_visible()


def test_the_run_that_brought_the_pictures_is_in_the_history_and_its_plan_has_a_page(page: Page) -> None:
    page.goto("/history")
    expect(page.locator("main")).to_contain_text("Synchronisation")
    expect(page.locator("main")).not_to_contain_text("image_db__sync")
    expect(page.locator("main")).to_contain_text("completed")
    page.goto("/plans")
    page.locator("main").get_by_role("link").filter(has_text=re.compile(r"\d")).first.click()
    expect(page).to_have_url(re.compile(r"/plans/\d+$"))


def test_on_a_phone_a_menu_leads_to_the_other_pages(browser: Browser, place: Place) -> None:
    with opened(browser, place, viewport=PHONE, has_touch=True, is_mobile=True) as page:
        page.goto("/")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        page.get_by_role("button", name="Menu").click()
        page.locator("#menu").get_by_role("link", name="History").click()
        expect(page).to_have_url(re.compile("/history$"))


def test_what_an_upstream_sent_is_shown_as_text(page: Page, place: Place) -> None:
    product_id, evil = place.value(_MOST_PICTURES), '"><script>document.title=1</script><b a="'
    columns = ", ".join(f"{name} = '{evil}'" for name in ("alt_text", "image_type", "matched_by", "chosen_because"))
    place.world.change(f"UPDATE imagesync.product_image SET {columns} WHERE product_id = {product_id}")
    place.world.change(f"UPDATE imagesync.product SET name = 'Zebra {evil}' WHERE id = {product_id}")
    for path in (f"/products/{product_id}", "/?q=Zebra"):
        page.goto(path, wait_until="networkidle")
        assert page.locator("script:not([src])").count() == 0
        expect(page.locator("main")).to_contain_text(evil)
        expect(page).not_to_have_title("1")


def test_the_documentation_of_the_api_is_shown_offline(page: Page) -> None:
    for path in ("/api/v1/docs", "/api/v1/redoc"):
        page.goto(path, wait_until="networkidle")
        expect(page.get_by_text("/products").first).to_be_visible()
