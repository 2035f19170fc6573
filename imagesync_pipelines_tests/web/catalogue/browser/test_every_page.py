"""Every page that people open, on a desk by day and on a phone at night, with something to show on it.

A new page needs a line in PAGES, or in NO_PAGES when nobody opens it: without one a test here fails.
"""

from collections.abc import Iterator, Mapping, Sequence
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
    "add_user": ("/admin/users", {"name": (LONG,), "role": ("viewer",)}),
    "new_password": ("/admin/users/{ben}/password", {}),
    "add_webhook": ("/admin/webhooks", {"name": (LONG,), "url": (f"https://s.example.com/{LONG}",)}),
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
    items = [
        QuarantineItem(LONG, str(product), stage, f"`{LONG}` is wrong.", LONG * 3) for stage in ("record", "apply")
    ]
    QuarantineTable(engine, "image_db").put(items)
    hold(engine, "edge", "store1", "", [HeldRow(LONG, LONG, "f", LIMIT, f"20 of 21 would go, {LONG} among them.")])
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
    candidates = [{"sku": LONG, "name": "Engel", "why": "the last digit differs"}]
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
def address(place: Place, tmp_path: Path) -> Iterator[str]:
    """The catalogue, with a Dagster that knows a run, and an account that lacks a product."""
    accounts = tmp_path / "accounts.toml"
    accounts.write_text('[plytix.accounts.main]\napi_key = "env:KEY"\napi_password = "env:KEY"\n')
    with fake_dagster() as dagster:
        dagster.status = "SUCCESS"
        with (
            place.world.opened(
                CATALOGUE_DAGSTER_URL=dagster.address, IMAGESYNC_ACCOUNTS=str(accounts), KEY="a secret"
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


def _bar(page: Page, screen: str) -> list[str]:
    """What is wrong with the bar, where there is one: it is one line."""
    heights = page.locator("header.bar").evaluate_all("all => all.map(bar => bar.clientHeight)")
    return [f"{screen}: a bar of {height} pixels" for height in heights if height >= 64]


@pytest.mark.slow
def test_every_page_is_right_on_a_desk_by_day_and_on_a_phone_at_night(
    browser: Browser, address: str, parts: Mapping[str, Any]
) -> None:
    context = browser.new_context(base_url=address, bypass_csp=True)
    context.set_default_timeout(WAIT_MILLISECONDS)
    watched, page = Watched(address), context.new_page()
    watched.watch(page)
    watch_for_findings(page)
    wrong = {"/login": wrong_with(page, "/login")}
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/")
    for path in (MISSING, *(one.format(**parts) for paths in PAGES.values() for one in paths)):
        wrong[path] = wrong_with(page, path)
    page.goto("/")
    for path, fields in ANSWERS.values():
        sent = {name: [one.format(**parts) for one in values] for name, values in fields.items()}
        wrong[f"answer of {path}"] = wrong_with(page, path.format(**parts), sent)
    context.close()
    told = [f"{path}: {one}" for path, found in wrong.items() for one in found]
    assert told == [], "\n".join(told)
    assert [one for one in watched.complaints if not one.endswith((MISSING, *REFUSED))] == []


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
