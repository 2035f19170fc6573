"""Who may do what: roles and forged requests, for every route there is; what an upstream sends is never markup."""

import re
from collections.abc import Callable
from typing import Any, get_args

import pytest
import sqlalchemy as sa
from fastapi.routing import APIRoute

from imagesync_pipelines.products.article_rules import add_rule
from imagesync_pipelines.products.ordering import by_hand, plan_orders
from imagesync_pipelines.products.pins_by_rule import BETTER, plan_choices
from imagesync_pipelines.products.primaries import pin_image
from imagesync_pipelines.storage import subscriptions
from imagesync_pipelines.storage.schema import held, mirror, product, quarantine, unmatched_article
from imagesync_pipelines.storage.schema_accounts import plytix_link
from imagesync_pipelines.storage.schema_quality import picture_alike
from imagesync_pipelines.storage.subscriptions import NewSubscription
from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.catalogue.admin.many import LARGEST_FORM, MOST_FIELDS
from imagesync_pipelines.web.catalogue.admin.subscriptions import Action
from imagesync_pipelines.web.catalogue.app import ADMIN_ROUTERS
from imagesync_pipelines_tests.web.catalogue.admin.browsing import RUN_ID, Browser, FakeDagster, forms_of
from imagesync_pipelines_tests.web.catalogue.world import Site, World

CHANGING = (
    "/admin/products/{product}/pin", "/admin/products/{product}/unpin", "/admin/products/{product}/undo-choice",
    "/admin/start", "/admin/plans/1/apply",
    "/admin/quarantine/replay", "/admin/quarantine/drop", "/admin/held/allow", "/admin/held/keep", "/admin/webhooks",
    "/admin/fleet/plan", "/admin/articles/rule", "/admin/articles/forget", "/admin/unmatched/again",
    *("/admin/bulk", "/admin/bulk/pins", "/admin/bulk/pin", "/admin/bulk/sync"),
    "/admin/bulk/sync/plan",
    *(f"/admin/exclusions/{word}" for word in ("look/exclude", "look/include", "exclude", "include")),
    *("/admin/bulk/orders", "/admin/bulk/order", "/admin/products/{product}/order"),
    "/admin/users", "/admin/users/{carl}/role", "/admin/users/{carl}/disable", "/admin/users/{carl}/password",
    "/admin/users/{carl}/enable",
    *(f"/admin/webhooks/shop/{action}" for action in get_args(Action)), f"/admin/runs/{RUN_ID}/undo",
    "/admin/plans/1/say/approve", "/admin/plans/1/say/dismiss",
    *(f"/admin/quality/{word}" for word in ("measure", "dismiss", "restore")),
)  # fmt: skip
LOOKING = ("/admin/products/{product}", "/admin/exclusions", "/admin/held", "/admin/quarantine", "/admin/unmatched",
           "/admin/fleet", "/admin/webhooks", "/admin/webhooks/shop",
           f"/admin/runs/{RUN_ID}", f"/admin/runs/{RUN_ID}/state")  # fmt: skip
FOR_ADMINS = ("/admin/start", "/admin/users", "/admin/products/{product}/order")
# What everybody who is signed in keeps of their own.
OWN = ("/admin/views", "/admin/views/forget")
# What would have an effect, were it let through.
FIELDS = {"image_id": "{image}", "what": "image_db", "connector": "image_db", "ids": "{item}",
          "pairs": "{product}:{product}:{image}:{chosen}", "rule": "front",
          "channel": "image_db/", "skus": "100", "number": "101", "sku": "100", "role": "admin",
          "key": "9",
          "by": "number", "types": "", "orders": "{product}:{stamp}", "order": "{image}", "stamp": "{stamp}",
          "everything": "1", "newest": "99", "name": "new", "url": "https://192.0.2.1/", "first": "1",
          "sha256": "a" * 64, "other": "a" * 64}  # fmt: skip


@pytest.fixture
def there(world: World) -> dict[str, int]:
    """A product whose second image is not primary, and an item in quarantine: their ids."""
    engel = world.product("100")
    world.image(engel, "1")
    image = world.image(engel, "2", is_primary=False)
    values = {"connector": "image_db", "stage": "record", "key": "9", "reason": "no URL"}
    subscriptions.add(
        world.engine, NewSubscription("shop", "standard", "https://192.0.2.1/", "env:IMAGESYNC_WEBHOOK_S")
    )
    add_rule(world.engine, "1O1", "", "100", "anna")
    waits = {"connector": "image_db", "account": "", "origin": "", "key": "1/9", "group_key": "1", "fingerprint": "f"}
    with world.engine.begin() as connection:
        connection.execute(held.insert().values(**waits, change="remove", kind="limit", reason="too many"))
        connection.execute(picture_alike.insert().values(sha256="a" * 64, other_sha256="a" * 64, distance=0))
        item = connection.execute(quarantine.insert().values(**values).returning(quarantine.c.id)).scalar_one()
    carl = access.set_user(world.engine, "carl", access.UserRole.VIEWER, "a long password").id
    with world.engine.connect() as connection:
        [plan] = plan_orders(connection, [engel], by_hand([image]))
    [choice] = plan_choices(world.engine, [engel], BETTER, {engel: image})
    return {"stamp": plan.stamp, "chosen": choice.stamp, "product": engel, "image": image, "item": item, "carl": carl}


def state(world: World, dagster: FakeDagster) -> tuple[Any, ...]:
    """What requests that are refused must leave as it is."""
    with world.engine.connect() as connection:
        primaries = connection.execute(sa.text("SELECT external_id FROM imagesync.product_image WHERE is_primary"))
        pins = connection.execute(sa.text("SELECT external_id, pinned_by FROM imagesync.pin"))
        items = connection.execute(sa.text("SELECT count(*) FROM imagesync.quarantine"))
        decided = connection.execute(sa.select(held.c.decision))
        told = connection.execute(sa.text("SELECT name, secret, state, cursor FROM imagesync.webhook_subscription"))
        said = connection.execute(sa.text("SELECT number, product_id FROM imagesync.article_rule"))
        excluded = connection.execute(sa.text("SELECT sku, ended_at FROM imagesync.exclusion"))
        orders = connection.execute(sa.text("SELECT product_id, ordered_by FROM imagesync.picture_order"))
        people = connection.execute(sa.text("SELECT name, role, is_active, password_hash FROM imagesync.web_user"))
        rows = (*orders.all(), *excluded.all(), *said.all(), *people.all(), *primaries.all(), *pins.all())
        rows = (*rows, *decided.all(), *told.all(), *connection.scalars(sa.select(picture_alike.c.dismissed_by)))
        return (*rows, items.scalar_one(), len(dagster.launched))


def filled(there: dict[str, int]) -> dict[str, str]:
    return {name: value.format(**there) for name, value in FIELDS.items()}


def test_the_tables_of_this_test_name_every_route() -> None:
    routes = {
        (method, route.path)
        for router in ADMIN_ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    named = {("POST", path) for path in (*CHANGING, *OWN, "/login", "/logout")}
    named |= {("GET", path) for path in (*LOOKING, *FOR_ADMINS, "/login", "/login/check")}
    shortened = {(method, re.sub(r"\{product_id\}", "{product}", path)) for method, path in routes}
    shortened = {(m, path.replace("{run_id}", RUN_ID).replace("{plan_id}", "1")) for m, path in shortened}
    both = {(m, path.replace("{decision}", word)) for m, path in shortened for word in ("allow", "keep")}
    both = {(m, path.replace("{name}", "shop").replace("{user_id}", "{carl}")) for m, path in both}
    both = {(m, path.replace("{action}", word)) for m, path in both for word in get_args(Action)}
    both = {(m, path.replace("{word}", word)) for m, path in both for word in ("approve", "dismiss")}
    both = {(m, path.replace("{doing}", word)) for m, path in both for word in ("exclude", "include")}
    shortened = {one for one in both if "{" not in one[1].replace("{product}", "").replace("{carl}", "")}
    assert shortened == named


def test_nothing_is_changed_without_the_token_of_the_session(
    site: Site, world: World, dagster: FakeDagster, admin: Browser, there: dict[str, int]
) -> None:
    before = state(world, dagster)
    for token in ("", "wrong", forms_of(Browser(site).get("/login").text)["/login"]["csrf"]):
        fields = {**filled(there), "csrf": token} if token else filled(there)
        for path in (*CHANGING, "/login", "/logout"):
            for headers in ({}, {"HX-Request": "true"}):
                assert admin.post(path.format(**there), fields, **headers).status_code == 403, (path, token, headers)
    assert state(world, dagster) == before
    assert "Sign out" in admin.get("/").text


def test_a_viewer_looks_at_everything_and_changes_nothing(
    world: World, dagster: FakeDagster, viewer: Browser, there: dict[str, int]
) -> None:
    before, csrf = state(world, dagster), viewer.csrf()
    for path in LOOKING:
        page = viewer.get(path.format(**there))
        assert page.status_code == 200, path
        assert set(forms_of(page.text)) <= {"/language", "/logout"}, path
    assert set(forms_of(viewer.get(f"/products/{there['product']}").text)) == {"/language", "/logout"}
    for path in CHANGING:
        assert viewer.post(path.format(**there), {**filled(there), "csrf": csrf}).status_code == 403, path
    for path in FOR_ADMINS:
        assert viewer.get(path.format(**there)).status_code == 403
    assert state(world, dagster) == before


def test_who_is_not_logged_in_sees_no_admin_page_and_no_action(
    site: Site, world: World, dagster: FakeDagster, there: dict[str, int]
) -> None:
    browser, before = Browser(site), state(world, dagster)
    csrf = forms_of(browser.get("/login").text)["/login"]["csrf"]
    for path in (*LOOKING, *FOR_ADMINS):
        answer = site.get(path.format(**there))
        assert (answer.status_code, answer.headers["Location"][:12]) == (303, "/login?next="), path
    for path in CHANGING:
        assert browser.post(path.format(**there), {**filled(there), "csrf": csrf}).status_code == 401, path
    assert set(forms_of(browser.get(f"/products/{there['product']}").text)) == {"/language"}
    assert state(world, dagster) == before


def test_forms_of_any_size_are_refused_and_nothing_breaks(admin: Browser, there: dict[str, int]) -> None:
    csrf = admin.csrf()
    large = admin.post("/admin/start", {"csrf": csrf, "skus": "x" * LARGEST_FORM})
    fields = admin.post("/admin/start", [("csrf", csrf), *[("x", "")] * MOST_FIELDS])  # type: ignore[arg-type]
    for answer in (large, fields):
        assert (answer.status_code, "do one part after the other" in answer.text) == (413, True)
    assert admin.post("/admin/start", {"csrf": csrf, "skus": "x" * (LARGEST_FORM - 1000)}).status_code == 400
    many = [("csrf", csrf), ("connector", "image_db"), *(("ids", str(n)) for n in range(1, 200))]
    assert admin.post("/admin/quarantine/drop", many).status_code == 400  # type: ignore[arg-type]
    for path in ("/admin/quarantine/drop", "/admin/quarantine/replay"):
        assert admin.post(path, {"csrf": csrf, "connector": "image_db\0", "ids": "1"}).status_code == 400
    assert admin.post("/admin/start", {"csrf": csrf, "what": "edge/\0", "skus": "\0"}).status_code == 409
    assert admin.post("/admin/start", {"csrf": csrf, "what": "products", "skus": "1\0"}).status_code == 409
    big = {"csrf": csrf, "image_id": "9" * 30}
    assert admin.post(f"/admin/products/{there['product']}/pin", big).status_code == 400
    for path in ("/admin/quarantine?cursor=x", "/admin/unmatched?cursor=WzEsMl0", "/admin/quarantine?connector=%00"):
        assert admin.get(path).status_code in {200, 400}, path


MARKUP = """"><script>alert(1)</script><img src=x onerror=alert(2)>'`{{7*7}}"""


def plant(world: World) -> int:
    """Put markup into every text that comes from an upstream, as far as its column holds it; the product's id."""
    engel = world.product("100", "n" + MARKUP, variant_code=MARKUP[:10])
    world.image(engel, "1")
    world.image(engel, "2" + MARKUP, is_primary=False, image_url="https://m.example/" + MARKUP,
                thumbnail_url="javascript:" + MARKUP, image_type=MARKUP[:50], alt_text=MARKUP, matched_by=MARKUP[:50],
                chosen_because=MARKUP, image_format=MARKUP[:20], original_url="javascript:" + MARKUP,
                metadata={MARKUP: {"original_file": MARKUP}, "original_file": {"uploaded_from": MARKUP}})  # fmt: skip
    pin_image(world.engine, engel, "image_db", "2" + MARKUP, "anna")
    aside = {
        "connector": "image_db",
        "stage": MARKUP,
        "key": MARKUP,
        "reason": MARKUP,
        "payload": MARKUP,
        "run_id": MARKUP,
    }
    meant = [{"sku": "100", "name": MARKUP, "why": MARKUP}, {"sku": MARKUP, "name": MARKUP, "why": MARKUP}]
    article = {"number": MARKUP, "variant": MARKUP, "external_id": MARKUP, "image_type": MARKUP, "reason": MARKUP}
    link = {"key": "1", "account": MARKUP, "asset_id": MARKUP, "product_sku": "100"}
    photo = {"connector": "edge", "account": MARKUP, "key": "1", "group_key": "g", "fingerprint": "f"}
    waits = dict.fromkeys(("account", "origin", "key", "group_key", "fingerprint", "change", "reason"), MARKUP)
    with world.engine.begin() as connection:
        connection.execute(product.update().values(legacy_sku=MARKUP[:50]))
        connection.execute(quarantine.insert().values(**aside))
        connection.execute(quarantine.insert().values(**{**aside, "connector": "edge/" + MARKUP}))
        values = {**article, "image_url": "javascript:" + MARKUP, "candidates": meant}
        connection.execute(unmatched_article.insert().values(**values))
        connection.execute(plytix_link.insert().values(**link, linked_at=sa.func.now()))
        connection.execute(held.insert().values(connector="edge", kind="limit", **waits))
        connection.execute(mirror.insert().values(**photo, payload={"product_sku": "100"}))
    return engel


def test_what_an_upstream_sends_is_shown_as_text_on_every_page(
    site: Site, world: World, admin: Browser, dagster: FakeDagster
) -> None:
    engel = plant(world)
    dagster.refuses = {"__typename": "PythonError", "message": MARKUP}
    csrf = admin.csrf()
    pages: dict[str, Callable[[], Any]] = {
        path: lambda path=path: admin.get(path)  # type: ignore[misc]
        for path in ("/", f"/products/{engel}", f"/admin/products/{engel}", "/admin/quarantine", "/admin/unmatched",
                     "/admin/held", "/history", "/admin/fleet",
                     "/admin/quarantine?connector=edge/" + MARKUP.replace("&", "%26"), "/login?next=/" + MARKUP,
                     "/admin/start?sku=" + MARKUP, "/admin/unmatched?number=" + MARKUP)
    }  # fmt: skip
    pages["refused"] = lambda: admin.post("/admin/start", {"csrf": csrf, "what": "products", "skus": "100"})
    pages["account"] = lambda: admin.post("/admin/start", {"csrf": csrf, "what": "edge/" + MARKUP})
    for name, ask in pages.items():
        answer = ask()
        assert answer.status_code < 500, name
        for markup in ("<script>alert", "<img src=x", '="javascript:', "&quot;&gt;<"):
            assert markup not in answer.text, (name, markup)
        assert ">49" not in answer.text
        assert "script-src" not in answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "&lt;script&gt;alert(1)" in pages[f"/admin/products/{engel}"]().text
    assert "&lt;script&gt;alert(1)" in pages["/admin/quarantine"]().text
    assert "&lt;script&gt;alert(1)" in pages["/admin/unmatched"]().text
    assert "&lt;script&gt;alert(1)" in pages["refused"]().text
