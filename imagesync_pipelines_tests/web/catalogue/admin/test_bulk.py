"""Many products at once, in a browser without scripts: chosen, or all that fit; a primary picture by a rule; a plan."""

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.schema import picture_order, pin, product_image
from imagesync_pipelines.sync.choosing import our_products
from imagesync_pipelines.sync.excluding import Channel, exclude, list_exclusions
from imagesync_pipelines.web.catalogue.admin import bulk
from imagesync_pipelines.web.catalogue.admin.many import MOST_PRODUCTS, ROWS
from imagesync_pipelines_tests.web.catalogue.admin.browsing import RUN_ID, Browser, FakeDagster, forms_of, named
from imagesync_pipelines_tests.web.catalogue.world import World


@pytest.fixture
def products(world: World) -> list[int]:
    """Five products, each with a front view that does not come first."""
    made = [world.product(f"10{number}", f"Engel {number}") for number in range(5)]
    for one in made:
        world.image(one, f"{one}1", is_front=False)
        world.image(one, f"{one}2", is_primary=False, priority=3)
    return made


def pins(world: World) -> dict[int, str]:
    with world.engine.connect() as connection:
        return {row.product_id: row.external_id for row in connection.execute(sa.select(pin))}


def test_only_admins_choose_in_the_list(world: World, admin: Browser, viewer: Browser, products: list[int]) -> None:
    page = admin.get("/").text
    assert page.count('form="bulk" name="ids"') == 3, "a page has three"
    assert f'name="ids" value="{products[0]}"' in page
    assert "bulk" not in viewer.get("/").text
    fragment = admin.get("/?q=Engel", **{"HX-Request": "true"}).text
    assert 'id="bulk"' in fragment
    assert 'name="query" value="q=Engel"' in fragment


def test_a_rule_is_shown_before_it_chooses(world: World, admin: Browser, products: list[int]) -> None:
    two = [str(one) for one in products[:2]]
    page = admin.send_form("/", "/admin/bulk", ids=two)
    assert "2 products" in page.text
    fields = {"csrf": admin.csrf(), "ids": two}
    shown = admin.post("/admin/bulk/pins", {**fields, "rule": "front"})
    assert "Chosen by a rule: the first front view." in shown.text
    assert shown.text.count("another picture comes first") == 2
    assert pins(world) == {}
    pairs = named(shown.text, "pairs")
    done = admin.post("/admin/bulk/pin", {"csrf": admin.csrf(), "pairs": pairs})
    assert "Primary pictures chosen: 2." in done.text
    assert pins(world) == {one: f"{one}2" for one in products[:2]}
    again = admin.post("/admin/bulk/pin", {"csrf": admin.csrf(), "pairs": pairs})
    assert "Primary pictures chosen: 0. 2 changed since they were looked at" in again.text
    shown = admin.post("/admin/bulk/pins", {**fields, "rule": "unpin"})
    admin.post("/admin/bulk/pin", {"csrf": admin.csrf(), "pairs": "\r\n".join(named(shown.text, "pairs"))})
    assert pins(world) == {}


def test_what_shows_another_picture_then_is_looked_at_first(world: World, admin: Browser, products: list[int]) -> None:
    same, other = products[0], products[1]
    with world.engine.begin() as connection:
        front = product_image.c.external_id == f"{same}1"
        connection.execute(product_image.update().where(front).values(is_front=True))
    fields = {"csrf": admin.csrf(), "ids": [str(same), str(other)]}
    pinned = admin.post("/admin/bulk/pins", {**fields, "rule": "front"}).text
    assert "Another picture comes first in 1 of them; the others keep the one they show." in pinned
    assert pinned.index("another picture comes first") < pinned.index("it is shown first already")
    ordered = admin.post("/admin/bulk/orders", {**fields, "by": "types", "types": "front"}).text
    assert "The order is another one in 1 of them; the others are shown so already." in ordered
    assert ordered.index("another order") < ordered.index("they are shown so already, and stay so")


def test_all_that_fit_are_those_of_the_lists_address(
    world: World, admin: Browser, products: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    world.product("900", "Fuchs")
    for query, number in (("q=Engel", 5), ("q=Fuchs", 1), ("without_image=1", 1), ("q=1", 5), ("order=name", 6)):
        page = admin.send_form(f"/?{query}", "/admin/bulk", everything="1")
        assert f"<h1>{number} product" in page.text, query
    none = admin.send_form("/?q=nothing", "/admin/bulk", everything="1")
    assert (none.status_code, "Choose products in the list first" in none.text) == (409, True)
    assert 'href="/?q=nothing"' in none.text, "it leads back to the list as it was"
    assert admin.send_form("/", "/admin/bulk").status_code == 409
    monkeypatch.setattr(bulk, "MOST_PRODUCTS", 4)
    many = admin.send_form("/?q=Engel", "/admin/bulk", everything="1")
    assert (many.status_code, "More than 4 products fit" in many.text) == (409, True)
    assert 'href="/?q=Engel"' in many.text
    ticked = {"csrf": admin.csrf(), "ids": [str(number) for number in range(1, 6)], "query": "q=Engel"}
    more = admin.post("/admin/bulk", ticked)
    assert (more.status_code, "5 products are chosen, and 4 are the most at once" in more.text) == (409, True)
    assert 'href="/?q=Engel"' in more.text


def test_as_many_boxes_as_are_done_at_once_may_be_ticked_by_hand(world: World, admin: Browser) -> None:
    one = world.product("31", "Hase")
    boxes = [one, *range(10**9, 10**9 + MOST_PRODUCTS - 1)]
    looked = admin.post("/admin/bulk", {"csrf": admin.csrf(), "ids": [str(box) for box in boxes]})
    assert (looked.status_code, f"{MOST_PRODUCTS} products" in looked.text) == (200, True)


def test_many_are_looked_at_a_page_at_a_time_and_carried_out_as_a_whole(world: World, admin: Browser) -> None:
    made = [world.product(f"2{number:03}", f"Fuchs {number}") for number in range(2 * ROWS + 1)]
    with world.engine.begin() as connection:
        rows = [
            {"product_id": one, "external_id": f"{one}{nth}", "image_url": "u", "priority": nth, "is_primary": nth == 0}
            for one in made
            for nth in (0, 1)
        ]
        connection.execute(product_image.insert(), [{**one, "newest_export": None} for one in rows])
        later = product_image.c.external_id.endswith("1") & ~product_image.c.is_primary
        connection.execute(product_image.update().where(later).values(is_front=True))
    page = admin.send_form("/?q=Fuchs", "/admin/bulk", everything="1")
    fields = forms_of(page.text)["/admin/bulk/pins"]
    assert len(fields["ids"].split("\n")) == len(made)
    for path, more, name in (("pins", {"rule": "front"}, "pairs"), ("orders", {"by": "number"}, "orders")):
        shown = admin.post(f"/admin/bulk/{path}", {**fields, **more}).text
        last = admin.post(f"/admin/bulk/{path}", {**fields, **more, "start": str(2 * ROWS)}).text
        assert [text.count('class="change update"') for text in (shown, last)] == [ROWS, 1], path
        assert (f"1 to {ROWS} of 201" in shown, "201 to 201 of 201" in last, "Previous" in last) == (True, True, True)
        assert len(named(last, name)) == len(made), "all are carried out, wherever one looks"
        done = admin.post(f"/admin/bulk/{path[:-1]}", {**fields, **more, name: "\r\n".join(named(last, name))})
        assert ": 201." in done.text, path
    with world.engine.connect() as connection:
        kept = [connection.scalar(sa.select(sa.func.count()).select_from(one)) for one in (pin, picture_order)]
    assert kept == [201, 201]
    shown = admin.post("/admin/bulk/pins", {**fields, "rule": "front"}).text
    assert "201, because it is chosen already (the first 100 of them):" in shown
    many = admin.post("/admin/bulk/pins", {**fields, "rule": "front", "ids": "\n".join(map(str, range(1, 5002)))})
    assert many.status_code == 400


def test_what_was_looked_at_leads_to_something_else_with_the_same_products(admin: Browser, products: list[int]) -> None:
    two = [str(one) for one in products[:2]]
    fields = {"csrf": admin.csrf(), "ids": two}
    for path, more in (
        ("bulk/pins", {"rule": "front"}),
        ("bulk/orders", {"by": "number"}),
        ("bulk/sync", {"channel": "image_db/"}),
        ("exclusions/look/exclude", {"channel": "image_db/"}),
    ):
        page = admin.post(f"/admin/{path}", {**fields, **more}).text
        again = page.partition('action="/admin/bulk"')[2].partition("</form>")[0]
        assert sorted(named(again, "ids")) == sorted(two), path
        assert "Something else with these 2" in again, path


def test_a_synchronisation_of_the_chosen_ones_is_planned_only(
    world: World, admin: Browser, dagster: FakeDagster, products: list[int]
) -> None:
    page = admin.send_form("/", "/admin/bulk", ids=[str(products[1]), str(products[0])])
    assert {"/admin/bulk/pins", "/admin/bulk/sync"} < set(forms_of(page.text))
    csrf = admin.csrf()
    exclude(world.engine, Channel("folder", "", our_products), ["101"], "anna", "sold out")
    for connector, job, op, skus in (
        ("image_db", "image_db__skus_dry_run", "image_db__records", ["100", "101"]),
        ("folder", "folder__dry_run", "folder__plan", ["100"]),
    ):
        fields = {"csrf": csrf, "channel": f"{connector}/"}
        shown = admin.post("/admin/bulk/sync", {**fields, "ids": [str(one) for one in products[:2]]})
        assert f"Plan these {len(skus)}" in shown.text
        assert ("101 is excluded by anna" in shown.text) is (len(skus) == 1)
        assert dagster.launched == [], "it is looked at first"
        assert named(shown.text, "skus") == skus
        started = admin.post("/admin/bulk/sync/plan", {**fields, "skus": skus})
        assert started.url.endswith(f"/admin/runs/{RUN_ID}")
        run = dagster.launched.pop()
        assert run["selector"]["jobName"] == job
        assert run["runConfigData"]["ops"][op]["config"]["skus"] == skus
    for path, wrong, status in (
        ("sync", {"channel": "nothing/", "ids": [str(products[0])]}, 404),
        ("sync", {"channel": "folder/"}, 409),
        ("sync/plan", {"channel": "folder/"}, 409),
        ("sync/plan", {"channel": "edge/nowhere", "skus": ["100"]}, 409),
    ):
        assert admin.post(f"/admin/bulk/{path}", {"csrf": csrf, **wrong}).status_code == status, (path, wrong)
    assert dagster.launched == []


def test_products_are_excluded_from_a_channel_and_back_each_looked_at_first(
    world: World, admin: Browser, viewer: Browser, products: list[int]
) -> None:
    two = [str(one) for one in products[:2]]
    page = admin.send_form("/", "/admin/bulk", ids=two)
    assert '<option value="image_db/">' in page.text
    fields = {"csrf": admin.csrf(), "channel": "image_db/"}
    look = "/admin/exclusions/look/exclude"
    shown = admin.post(look, {**fields, "ids": two})
    assert "Exclude these 2" in shown.text
    assert list_exclusions(world.engine) == []
    skus = named(shown.text, "skus")
    done = admin.post("/admin/exclusions/exclude", {**fields, "skus": skus, "why": "<b>sold out</b>"})
    assert ": 2 excluded." in done.text
    assert [(one.sku, one.why) for one in list_exclusions(world.engine)] == [
        (sku, "<b>sold out</b>") for sku in ("100", "101")
    ]
    assert "1 that stay as they are" in admin.post(look, {**fields, "ids": [str(products[0]), str(products[2])]}).text
    told = viewer.get(f"/products/{products[0]}").text
    assert "excluded</span> from " in told
    assert "&lt;b&gt;sold out" in told
    listed = viewer.get("/admin/exclusions").text
    assert (listed.count("excluded by "), "End it" in listed) == (2, False)
    shown = admin.send_form("/admin/exclusions", "/admin/exclusions/look/include")
    assert "End these 1" in shown.text
    ended = admin.post("/admin/exclusions/include", {**fields, "skus": ["100"]})
    assert ": 1 no longer excluded." in ended.text
    assert [one.sku for one in list_exclusions(world.engine)] == ["101"]
    for path, wrong, status in (
        (look, {"channel": "nothing/"}, 404),
        (look, {"channel": "edge/nowhere", "ids": two}, 409),
        (look, {"channel": "image_db/"}, 409),
        ("/admin/exclusions/exclude", {"channel": "image_db/", "skus": ["no such"]}, 409),
    ):
        assert admin.post(path, {"csrf": admin.csrf(), **wrong}).status_code == status, (path, wrong)
    assert [one.sku for one in list_exclusions(world.engine)] == ["101"]


def test_what_is_there_of_excluded_products_is_taken_away_by_a_plan(
    world: World, admin: Browser, viewer: Browser, dagster: FakeDagster, products: list[int]
) -> None:
    exclude(world.engine, Channel("image_db", "", our_products), ["100"], "anna")
    assert "Plan to take away" not in viewer.get("/admin/exclusions").text
    fields, path = {"csrf": admin.csrf(), "channel": "image_db/"}, "/admin/exclusions/exclude"
    shown = admin.post("/admin/exclusions/look/exclude", {**fields, "ids": [str(one) for one in products[:2]]})
    assert "Exclude these, and plan to take away what is there of 2" in shown.text
    form = forms_of(shown.text)[path]
    assert (form["skus"], form["already"]) == ("101", "100")
    for skus, answer in ((("100", "101"), {**form, "take_away": "1"}), (("100",), {**fields, "skus": "100"})):
        done = admin.post(path, {**answer, "csrf": admin.csrf(), "take_away": "1"})
        assert done.url.endswith(f"/admin/runs/{RUN_ID}")
        run = dagster.launched[-1]
        assert run["selector"]["jobName"] == "image_db__take_away"
        assert run["runConfigData"]["ops"]["image_db__plan_taking_away"]["config"] == {"skus": list(skus)}
    assert [one.sku for one in list_exclusions(world.engine)] == ["100", "101"]
    dagster.refuses = {"__typename": "PythonError", "message": "no"}
    told = admin.post(path, {**fields, "skus": "102", "take_away": "1"}).text
    assert "1 excluded. What is there stays for now" in told


def test_what_is_no_choice_changes_nothing(world: World, admin: Browser, products: list[int]) -> None:
    csrf = admin.csrf()
    for path, fields in (
        ("/admin/bulk/pins", {"ids": [str(products[0])], "rule": "any"}),
        ("/admin/bulk/pins", {"rule": "front"}),
        ("/admin/bulk/pin", {"pairs": ["1:2"]}),
        ("/admin/bulk/pin", {"pairs": ["x:1:2:3"]}),
        ("/admin/bulk/pin", {}),
        ("/admin/bulk", {"ids": ["0"]}),
    ):
        assert admin.post(path, {"csrf": csrf, **fields}).status_code == 400, (path, fields)
    other = f"{products[0]}:0:{products[1]}:1"
    assert "chosen: 0. 1 changed" in admin.post("/admin/bulk/pin", {"csrf": csrf, "pairs": [other]}).text
    assert pins(world) == {}
