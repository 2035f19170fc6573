"""Every page that people open, on a desk by day and on a phone at night, with something to show on it.

A new page needs a line in PAGES, or in NO_PAGES when nobody opens it: without one a test here fails.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser, Page

from imagesync_pipelines.connectors.edge.store import open_store
from imagesync_pipelines.connectors.edge.store_schema import create_or_check
from imagesync_pipelines.defs.history import history
from imagesync_pipelines.languages.current import MARKED
from imagesync_pipelines.storage import subscriptions
from imagesync_pipelines.storage.effects import Author, Effect, EffectRow, note_effects
from imagesync_pipelines.storage.identities import note_refused, record_identity
from imagesync_pipelines.storage.quarantine import QuarantineItem, QuarantineTable
from imagesync_pipelines.storage.schema import unmatched_article
from imagesync_pipelines.storage.subscriptions import Attempt, NewSubscription
from imagesync_pipelines.sync.excluding import Channel, exclude
from imagesync_pipelines.sync.held import LIMIT, HeldRow, hold
from imagesync_pipelines.web.catalogue.access import UserRole, set_user
from imagesync_pipelines.web.catalogue.app import ADMIN_ROUTERS, ROUTERS
from imagesync_pipelines.web.catalogue.state import open_catalogue
from imagesync_pipelines_tests.web.catalogue.admin.browsing import RUN_ID, fake_dagster
from imagesync_pipelines_tests.web.catalogue.admin.test_unmatched import plytix_read
from imagesync_pipelines_tests.web.catalogue.browser.conftest import (
    PHONE,
    WAIT_MILLISECONDS,
    WIDE,
    Place,
    Watched,
    findings_here,
    watch_for_findings,
)
from imagesync_pipelines_tests.web.catalogue.judging import BOTH, GREY, judge, pair, show
from imagesync_pipelines_tests.web.catalogue.world import serving
from imagesync_pipelines_tests.web.test_edge_photos import photo, put
from imagesync_pipelines_tests.web.test_edge_photos import serving as serving_photos

NAME, PASSWORD = "walker", "correct horse battery staple"
# By the names of their routes.
PAGES = {
    "products": ("/", "/?q=zzzzz"),
    "product": ("/products/{product}", "/products/{bare}"),
    "product_history": ("/products/{product}/history", "/products/{product}/history?as_of=2100-01-01T00:00"),
    "picture": ("/products/{product}/pictures/{image}", "/products/{product}/pictures/{image}?larger=1"),
    "history": ("/history",),
    "plans": ("/plans",),
    "plan": ("/plans/1", "/plans/1?q=zzzzz"),
    "alike": ("/quality/alike", "/quality/alike?which=dismissed"),
    "quality": ("/quality", "/quality?channel=amazon&rule=none"),
    "login": ("/login",),
    "product_data": ("/admin/products/{product}",),
    "order": ("/admin/products/{product}/order", "/admin/products/{product}/order?order={image}"),
    "start": ("/admin/start",),
    "run": (f"/admin/runs/{RUN_ID}",),
    "quarantine": ("/admin/quarantine", "/admin/quarantine?connector=image_db"),
    "unmatched": ("/admin/unmatched",),
    "held": ("/admin/held",),
    "exclusions": ("/admin/exclusions",),
    "fleet": ("/admin/fleet",),
    "users": ("/admin/users",),
    "webhooks": ("/admin/webhooks",),
    "webhook_log": ("/admin/webhooks/shop",),
}
# Parts of pages, pictures, files, what leads to a page, and what programs ask for.
NO_PAGES = {
    *("counts", "run_state", "derivative", "download", "content", "picture_of_plan", "export", "product_of_sku"),
    "quality_report",
    *("healthz", "readyz", "ready_daemon", "metrics", "check"),
}
# A name without a blank is what makes pages wide.
LONG = "EN-" + "0123456789" * 9
# What a form is answered with where that is a page: by the names of the routes, the address and what is sent.
ANSWERS: Mapping[str, tuple[str, Mapping[str, Sequence[str]]]] = {
    "bulk": ("/admin/bulk", {"ids": ("{product}", "{bare}")}),
    "bulk_pins": ("/admin/bulk/pins", {"ids": ("{product}", "{bare}"), "rule": ("largest",)}),
    "bulk_orders": ("/admin/bulk/orders", {"ids": ("{product}", "{bare}"), "by": ("number",)}),
    "bulk_sync": ("/admin/bulk/sync", {"ids": ("{product}", "{bare}"), "channel": ("plytix/main",)}),
    "look_at_exclusions": (
        "/admin/exclusions/look/exclude",
        {"ids": ("{bare}",), "skus": (LONG,), "channel": ("plytix/main",)},
    ),
    "start_run": ("/admin/start", {"skus": (LONG,)}),
    "add_user": ("/admin/users", {"name": (f"{LONG}{{nth}}",), "role": ("viewer",)}),
    "new_password": ("/admin/users/{ben}/password", {}),
    "add_webhook": ("/admin/webhooks", {"name": (f"{LONG}{{nth}}",), "url": (f"https://s.example.com/{LONG}",)}),
}
# Forms that lead on to a page of PAGES.
LEADS_ON = {
    *("apply_plan", "say_of_plan", "bulk_order", "bulk_pin", "bulk_sync_plan", "keep_order", "pin", "unpin"),
    *("decide_exclusions", "decide_held", "drop", "replay", "keep_rule", "forget_rule", "match_again", "plan_repair"),
    *("change_role", "disable_user", "enable_user", "change_webhook", "undo_run", "undo_choice", "log_in", "log_out"),
    *("keep_view", "forget_view", "choose_language", "measure", "dismiss_alike", "restore_alike"),
}
# The form of a page, made where another one has been.
_SEND = """([path, fields]) => {
    const form = document.createElement("form"), csrf = document.querySelector("input[name=csrf]").value
    form.method = "post", form.action = path
    for (const [name, values] of Object.entries({...fields, csrf: [csrf]}))
        for (const value of values)
            form.append(Object.assign(document.createElement("input"), {name, value, type: "hidden"}))
    document.body.append(form)
    form.submit()
}"""
# A page that says what is wrong.
MISSING = "/nothing"
# Answers to what cannot be done.
REFUSED = ("/admin/start", "/admin/webhooks")
# Everything that is a name.
_DATA = """
SELECT (to_jsonb(p) - 'kind')::text FROM imagesync.product p
UNION ALL SELECT (to_jsonb(i) - 'chosen_because' - 'matched_by')::text FROM imagesync.product_image i
UNION ALL SELECT name FROM imagesync.web_user
"""
_PRODUCT = "SELECT product_id FROM imagesync.product_image GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
_BARE = (
    "SELECT id FROM imagesync.product p WHERE NOT EXISTS (SELECT FROM imagesync.shown_image WHERE product_id = p.id)"
)


def test_every_route_of_a_page_is_walked() -> None:
    routes: list[Any] = [route for router in (*ROUTERS, *ADMIN_ROUTERS) for route in router.routes]
    assert {route.name for route in routes if "GET" in route.methods} == {*PAGES, *NO_PAGES}
    assert {route.name for route in routes if "POST" in route.methods} == {*ANSWERS, *LEADS_ON}


@pytest.fixture(scope="module")
def parts(place: Place) -> Mapping[str, Any]:
    """The parts of addresses, when there is something to see on each page."""
    engine = sa.create_engine(place.world.environment["IMAGESYNC_DATABASE_URL"], poolclass=sa.NullPool)
    product = place.value(_PRODUCT)
    set_user(engine, NAME, UserRole.ADMIN, PASSWORD)
    set_user(engine, "ben", UserRole.VIEWER, PASSWORD)
    items = [QuarantineItem(LONG, str(product), stage, f"`{LONG}`", LONG * 3) for stage in ("record", "apply")]
    QuarantineTable(engine, "image_db").put(items)
    hold(engine, "edge", "store1", "", [HeldRow(LONG, LONG, "f", LIMIT, LONG)])
    shown = place.value(f"SELECT sku FROM imagesync.product WHERE id = {product}")
    exclude(
        engine, Channel("plytix", LONG, lambda *asked: [(sku, sku) for sku in asked[-1]]), [LONG, shown], LONG, LONG
    )
    subscriptions.add(
        engine, NewSubscription("shop", "standard", f"https://s.example.com/{LONG}", "env:IMAGESYNC_WEBHOOK_S")
    )
    tried = Attempt(
        None, LONG, LONG, 1, datetime.now(UTC), accepted=False, status=500, seconds=0.2, said=f"HTTP 500: {LONG}"
    )
    subscriptions.note(engine, subscriptions.named(engine, "shop"), tried)
    candidates = [{"sku": LONG, "name": "Engel", "why": "one character differs"}]
    article = {
        "number": LONG,
        "external_id": "1",
        "reason": "no product",
        "candidates": candidates,
        "source": "image_db",
    }
    row = EffectRow(
        f"{product}/{LONG}", "remove", LONG, before={"sha256": "0" * 64, "name": LONG}, lost="Nothing was kept."
    )
    with engine.begin() as connection:
        connection.execute(unmatched_article.insert(), [article])
        record_identity(connection, "moysklad", LONG, "accountId", LONG, None)
        note_refused(connection, "moysklad", LONG, "accountId", "another")
        note_effects(connection, [Effect("image_db", "", str(product), (row,), Author(RUN_ID))])
    show(engine, LONG, {**BOTH, "words": None}, product_id=product, account=LONG, kind=LONG, name=LONG)
    show(engine, f"{LONG}2", GREY, product_id=product, account=LONG, kind=LONG, name=LONG)
    pair(engine, "products", "better_copy")
    judge(engine, datetime.now(UTC))
    image = place.value(f"SELECT min(id) FROM imagesync.product_image WHERE product_id = {product}")
    ben = place.value("SELECT id FROM imagesync.web_user WHERE name = 'ben'")
    return {"product": product, "image": image, "bare": place.value(_BARE), "ben": ben}


@pytest.fixture
def language() -> str:
    """What is spoken to who asks for nothing; a test gives another one."""
    return ""


@pytest.fixture
def address(place: Place, tmp_path: Path, language: str) -> Iterator[str]:
    """The catalogue, with a Dagster that knows a run, and an account that lacks a product."""
    accounts = tmp_path / "accounts.toml"
    accounts.write_text('[plytix.accounts.main]\napi_key = "env:KEY"\napi_password = "env:KEY"\n')
    with fake_dagster() as dagster:
        dagster.status = "SUCCESS"
        with (
            place.world.opened(
                CATALOGUE_DAGSTER_URL=dagster.address,
                IMAGESYNC_ACCOUNTS=str(accounts),
                IMAGESYNC_LANGUAGE=language,
                KEY="a secret",
            ) as (installation, instance),
            serving(open_catalogue(installation, partial(history, instance))) as site,
        ):
            plytix_read(installation, RUN_ID, [LONG], [LONG])
            yield site.address


def wrong_with(page: Page, path: str, fields: Mapping[str, Sequence[str]] | None = None) -> list[str]:
    """What is wrong with a page, or the answer to a form, on a desk by day and on a phone at night."""
    page.set_viewport_size(WIDE)
    page.emulate_media(color_scheme="light")
    if fields is None:
        page.goto(path)
    else:
        with page.expect_navigation():
            page.evaluate(_SEND, [path, fields])
    wrong = [f"desk: {one}" for one in findings_here(page)] + _bar(page, "desk")
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    wrong += [f"phone: {one}" for one in findings_here(page)] + _bar(page, "phone")
    wide = page.evaluate("document.documentElement.scrollWidth")
    return wrong + ([f"phone: {wide} pixels wide"] if wide > PHONE["width"] else [])


# What people read on a page, and hear of it; what is typed as it stands is in code.
_READ = """() => {
    const texts = [], own = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), read = [document.title]
    while (own.nextNode())
        if (!own.currentNode.parentElement.closest("script, style, code, pre, [translate=no], .languages"))
            texts.push(own.currentNode.textContent.replace(/\\s+/g, " "))
    for (const one of document.body.querySelectorAll("*:not([translate=no])"))
        for (const name of ["title", "placeholder", "aria-label", "alt"])
            read.push(one.getAttribute(name) ?? "")
    return [texts.join("\\n"), ...read]
}"""
# A text may have markup in it, and other texts.
_MARKED = re.compile(r"⟦[^⟦⟧]*⟧")
_WORD = re.compile(r"[^\W\d_]{2,}")
# Moments, hashes, UUIDs, whose letters differ from run to run, and names of stores.
_NO_TEXT = re.compile(
    r"\d{1,2} [A-Z][a-z]{2} \d{4}|\d{4}-\d{2}-\d{2}T[\d:+]+|\b[0-9a-f]{64}\b"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\bstore\d\b"
)
# Names, units, and words of other programs.
NO_LANGUAGE = {
    *("kb", "mb", "min", "utc", "px", "jpeg", "png", "csv", "ndjson", "parquet", "sku", "erp", "url", "http", "https"),
    *("google", "merchant", "amazon", "ozon", "wildberries", "plytix", "мойсклад", "dagster", "accountid"),
    *("standard", "cloudflare", "fastly", "bunny", "revalidate"),
    # Of what this installation has: accounts, people, and the name that is long.
    *("main", "north", "anna", "en", "de", "b0en", "engel", "example", "com"),
}


def words_of(place: Place) -> set[str]:
    """The words of names and numbers that are data: nobody translates them."""
    return {word for (text,) in place.world.rows(_DATA) for word in _WORD.findall(str(text).lower())}


def unmarked_on(page: Page, path: str, fields: Mapping[str, Sequence[str]] | None, data: set[str]) -> list[str]:
    """The texts of a page that nobody marked, and that are no data."""
    if fields is None:
        page.goto(path)
    else:
        with page.expect_navigation():
            page.evaluate(_SEND, [path, fields])
    found = []
    for text in page.evaluate(_READ):
        rest = _NO_TEXT.sub(" ", text)
        while rest != (fewer := _MARKED.sub("\n", rest)):
            rest = fewer
        for line in rest.splitlines():
            if {word.lower() for word in _WORD.findall(line)} - data - NO_LANGUAGE:
                found.append(" ".join(line.split()))
    return found


def _bar(page: Page, screen: str) -> list[str]:
    """What is wrong with the bar, where there is one: it is one line, or two of longer words than English has."""
    heights = page.locator("header.bar").evaluate_all("all => all.map(bar => bar.clientHeight)")
    most = 64 if screen == "phone" or page.locator("html[lang=en]").count() else 96
    return [f"{screen}: a bar of {height} pixels" for height in heights if height >= most]


def walk(
    page: Page, parts: Mapping[str, Any], look: Callable[[str, Mapping[str, Sequence[str]] | None], list[str]]
) -> list[str]:
    """Sign in, open every page, send every form that is answered with one; what `look` tells of each."""
    told = {"/login": look("/login", None)}
    page.locator("main input[name=name]").fill(NAME)
    page.locator("main input[name=password]").fill(PASSWORD)
    page.locator("main input[name=password]").press("Enter")
    page.wait_for_url("**/")
    for path in (MISSING, *(one.format(**parts) for paths in PAGES.values() for one in paths)):
        told[path] = look(path, None)
    page.goto("/")
    for path, fields in ANSWERS.values():
        sent = {name: [one.format(**parts) for one in values] for name, values in fields.items()}
        told[f"answer of {path}"] = look(path.format(**parts), sent)
    return [f"{path}: {one}" for path, found in told.items() for one in found]


@pytest.mark.slow
@pytest.mark.parametrize("locale", ["en", "de", "ru"])
def test_every_page_is_right_on_a_desk_by_day_and_on_a_phone_at_night(
    browser: Browser, address: str, parts: Mapping[str, Any], locale: str
) -> None:
    context = browser.new_context(base_url=address, bypass_csp=True, locale=locale)
    context.set_default_timeout(WAIT_MILLISECONDS)
    watched, page = Watched(address), context.new_page()
    watched.watch(page)
    watch_for_findings(page)
    told = walk(page, {**parts, "nth": locale}, partial(wrong_with, page))
    assert page.locator("html").get_attribute("lang") == locale
    context.close()
    assert told == [], "\n".join(told)
    assert [one for one in watched.complaints if not one.endswith((MISSING, *REFUSED))] == []


@pytest.mark.slow
@pytest.mark.parametrize("language", [MARKED])
def test_every_text_of_every_page_is_marked_for_translation(
    browser: Browser, address: str, parts: Mapping[str, Any], place: Place
) -> None:
    data = words_of(place)
    with browser.new_context(base_url=address, bypass_csp=True) as context:
        page = context.new_page()
        told = walk(page, {**parts, "nth": "0"}, lambda path, fields: unmarked_on(page, path, fields, data))
    found: dict[str, str] = {}
    for one in told:
        path, _, text = one.partition(": ")
        found.setdefault(text, path)
    assert found == {}, "\n".join(f"{path}: {text}" for text, path in found.items())


@pytest.mark.slow
def test_the_photos_of_a_store_are_a_page_too(browser: Browser, database_url: str) -> None:
    store = open_store(database_url)
    create_or_check(store)
    put(store, photo(1, filename=LONG), photo(2))
    with serving_photos(store) as address:
        page = browser.new_context(base_url=address, bypass_csp=True).new_page()
        watched = Watched(address)
        watched.watch(page)
        watch_for_findings(page)
        assert wrong_with(page, "/") == []
        page.context.close()
    store.engine.dispose()
    assert watched.complaints == []
