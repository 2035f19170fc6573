"""The admin pages: pins, all data of a product, quarantine, unmatched articles."""

import re
from base64 import urlsafe_b64decode
from datetime import UTC, datetime

import pandas as pd
import pytest
import sqlalchemy as sa

from imagesync_pipelines.products.article_rules import read_rules
from imagesync_pipelines.products.primaries import pin_image
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.storage.plans import NewPlan, Plans
from imagesync_pipelines.storage.quarantine import REFUSED_STAGE, QuarantineEntry, QuarantineTable
from imagesync_pipelines.storage.schema import mirror, pin, product_image, quarantine, unmatched_article
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.choosing import asked_again
from imagesync_pipelines.web.catalogue.admin.quarantine import ROWS, address_in
from imagesync_pipelines_tests.web.catalogue.admin.browsing import RUN_ID, Browser, FakeDagster, forms_of
from imagesync_pipelines_tests.web.catalogue.test_plans import save
from imagesync_pipelines_tests.web.catalogue.world import NOW, World


def primary_of(world: World, product_id: int) -> str:
    mine = product_image.c.is_primary & (product_image.c.product_id == product_id)
    with world.engine.connect() as connection:
        return str(connection.execute(sa.select(product_image.c.external_id).where(mine)).scalar_one())


def test_an_admin_pins_a_picture_with_their_name_and_unpins_it(world: World, admin: Browser) -> None:
    engel = world.product("100")
    world.image(engel, "1", priority=1)
    second = world.image(engel, "2", is_primary=False, priority=4)
    path = f"/products/{engel}"
    page = admin.post(f"/admin{path}/pin", {"csrf": admin.csrf(), "image_id": str(second)})
    assert page.url.endswith(path)
    assert "This is the primary picture now" in page.text
    assert "This is the primary picture now" not in admin.get(path).text
    assert primary_of(world, engel) == "2"
    with world.engine.connect() as connection:
        who, when = connection.execute(sa.select(pin.c.pinned_by, pin.c.pinned_at)).one()
    assert who == "anna"
    assert f'anna chose the primary picture <time datetime="{when.isoformat()}"' in page.text
    assert "The rules choose" in admin.send_form(path, f"/admin{path}/unpin").text
    assert primary_of(world, engel) == "1"
    assert f"/admin{path}/unpin" not in forms_of(admin.get(path).text)


def test_an_admin_undoes_the_last_choice_of_a_product_and_not_of_one_with_its_sku(world: World, admin: Browser) -> None:
    parent, engel = world.product("100", kind="parent"), world.product("100", erp_id="variant")
    for product_id in (parent, engel):
        world.image(product_id, f"{product_id}-1", priority=1)
        pin_image(world.engine, product_id, "image_db", f"{product_id}-1", "bert")
    path = f"/products/{parent}"
    undone = admin.send_form(path, f"/admin{path}/undo-choice")
    assert "100: the rules choose the primary picture again." in undone.text
    assert f"/admin{path}/undo-choice" not in forms_of(undone.text)
    with world.engine.connect() as connection:
        assert connection.execute(sa.select(pin.c.product_id)).scalars().all() == [engel]
    refused = admin.post("/admin/products/4711/undo-choice", {"csrf": admin.csrf()})
    assert (refused.status_code, "nothing was changed" in refused.text) == (409, True)


def test_a_picture_of_another_product_is_not_pinned(world: World, admin: Browser) -> None:
    parent = world.product("P1", kind="parent")
    image = world.image(parent, "1")
    variant = world.product("100", parent=parent)
    page = admin.get(f"/products/{variant}").text
    assert f"/admin/products/{variant}/pin" not in forms_of(page)
    assert "choose the primary picture there" in page
    refused = admin.post(f"/admin/products/{variant}/pin", {"csrf": admin.csrf(), "image_id": str(image)})
    assert refused.status_code == 409
    assert "nothing was changed" in refused.text
    for action, fields in (("pin", {"image_id": str(image)}), ("unpin", {})):
        missing = admin.post(f"/admin/products/4711/{action}", {"csrf": admin.csrf(), **fields})
        assert missing.status_code in {404, 409}


def test_all_data_of_a_product_is_shown_with_the_sources_metadata(world: World, viewer: Browser) -> None:
    engel = world.product("100", "Engel", legacy_sku="OLD-7")
    world.image(engel, "1", metadata={"original_file": {"Blende": "größer"}}, original_url="https://m.example/o.tif")
    text = viewer.get(f"/admin/products/{engel}").text
    for shown in ("OLD-7", "größer", "https://m.example/o.tif", "matched_by"):
        assert shown in text
    assert viewer.get("/admin/products/4711").status_code == 404


def aside(world: World, count: int, connector: str = "image_db") -> list[int]:
    rows = [
        {"connector": connector, "stage": "record", "key": f"7/{n}", "reason": f"reason {n}."} for n in range(count)
    ]
    with world.engine.begin() as connection:
        return list(connection.execute(quarantine.insert().returning(quarantine.c.id), rows).scalars())


def test_quarantine_is_paged_by_connector_and_account(world: World, admin: Browser) -> None:
    aside(world, ROWS + 1)
    aside(world, 1, "edge/store1")
    first = admin.get("/admin/quarantine?connector=image_db").text
    following = first.split('class="pager"')[1].split('href="')[1].split('"')[0].replace("&amp;", "&")
    second = admin.get("/admin/quarantine" + following).text
    reasons = [[f"reason {n}." in text for n in range(ROWS + 1)] for text in (first, second)]
    assert (sum(reasons[0]), sum(reasons[1])) == (ROWS, 1)
    assert all(one != other for one, other in zip(*reasons, strict=True))
    assert "Synchronise Edge stores, store1 again" in admin.get("/admin/quarantine?connector=edge/store1").text
    assert "Edge stores, store1" in first
    everything = admin.get("/admin/quarantine").text
    assert everything.count(">Try this again<") == ROWS
    assert f'All <span class="count">{ROWS + 2}' in everything


READ = [
    ("", ""),
    ("no address: ftp://a.example/1.jpg", ""),
    ("https://a.example/1", "https://a.example/1"),
    ('{"page": "https://a.example/7", "file": "https:\\/\\/a.example\\/1.JPG?v=2"}', "https://a.example/1.JPG?v=2"),
    ('{"original": "https://a.example/1.tif", "web": "https://a.example/1.webp"}', "https://a.example/1.webp"),
]


@pytest.mark.parametrize(("payload", "address"), READ)
def test_the_picture_of_an_item_is_found_in_what_was_read(payload: str, address: str) -> None:
    assert address_in(payload) == address


def test_an_item_has_the_name_and_picture_of_a_plan_or_of_what_was_read_and_what_to_do(
    world: World, viewer: Browser
) -> None:
    engel = world.product("7", "Engel")
    world.image(engel, "1", thumbnail_url="https://media.example.com/1.png")
    key = f"{engel}/1"
    row = {"key": key, "key_before": key, "group": str(engel), "change": "update", "reason": "changed"}
    met = Plans(world.engine, world.opened.storage).header(save(world, [row])).run_id
    save(world, [{**row, "key": f"{engel}/2"}])
    rows = [
        {"connector": name, "stage": stage, "key": key, "reason": "no", "run_id": met, "payload": payload}
        for name, stage, payload in (
            ("image_db", "apply", None),
            ("plytix/gone", "refused", None),
            ("taken out", "listing", "https://anna:secret@a.example/1.jpg"),
        )
    ]
    with world.engine.begin() as connection:
        connection.execute(quarantine.insert(), rows)
    text = " ".join(viewer.get("/admin/quarantine").text.split())
    assert f'<a href="/products/{engel}">7 Engel</a>: 1' in text
    assert text.count("/plan-pictures/") == 2
    assert "secret" not in text
    for advice in ("Every run tries it again", "The account refuses it", "Correct it where it comes from"):
        assert text.count(advice) == 1
    assert "Try this again" not in text, "a viewer changes nothing"


AGAIN: list[tuple[str, list[str | None], dict[str, object]]] = [
    ("image_db", ["7", "7"], {"external_ids": ["0", "1"]}),
    ("plytix", ["A", "B"], {"skus": ["A", "B"]}),
    ("plytix", ["A", None], {}),
    ("moysklad", ["bundle:c7", "bundle:c7"], {"entity": "c7"}),
    ("moysklad", ["bundle:c7", "product:d"], {}),
    ("moysklad", [None, None], {}),
    ("moysklad", ["product:e", "product:e2"], {}),
    ("edge", ["g", "g"], {}),
    ("edge", ["ho 1", "ho 2"], {"skus": ["100", "200"]}),
    ("edge", ["ho 1", "g"], {}),
    ("folder", ["1", "2"], {"skus": ["100", "200"]}),
    ("folder", ["1", None], {}),
    ("folder", ["3", "3"], {}),
]


@pytest.mark.parametrize(("connector", "groups", "asked"), AGAIN)
def test_trying_items_again_is_about_as_little_as_the_connector_knows(
    world: World, connector: str, groups: list[str | None], asked: dict[str, object]
) -> None:
    ids = {str(number): str(world.product(sku)) for number, sku in ((1, "100"), (2, "200"))}
    if connector == "folder":
        groups = [ids.get(one or "", one and "4711") for one in groups]
    listed = [
        {"account": "jakarta", "key": sku, "group_key": group, "fingerprint": "f", "payload": {"product_sku": sku}}
        for group, sku in (("ho 1", "100"), ("ho 2", "200"))
    ]
    with world.engine.begin() as connection:
        connection.execute(mirror.insert().values(connector="edge"), listed)
    entries = [
        QuarantineEntry(f"7/{n}", group, "apply", "no", None, n, connector, NOW, NOW, 1, None)
        for n, group in enumerate(groups)
    ]
    declared = connector_named(connector)
    assert asked_again(declared, world.engine, "jakarta", entries) == asked
    assert declared.options.model_validate(asked)


def test_articles_without_a_product_stand_with_the_quarantine(world: World, viewer: Browser) -> None:
    with world.engine.begin() as connection:
        values = [{"number": f"30{n:03}", "external_id": str(n), "reason": "none", "candidates": []} for n in range(12)]
        connection.execute(unmatched_article.insert(), values)
    text = viewer.get("/admin/quarantine").text
    assert [f"picture {n}:" in text for n in (0, 9, 11)] == [True, True, False]
    assert 'href="/admin/unmatched"' in text


def test_items_are_tried_again_from_the_stored_pages(world: World, admin: Browser, dagster: FakeDagster) -> None:
    ids = aside(world, 3)
    csrf = admin.csrf()
    chosen = {"csrf": csrf, "connector": "image_db", "ids": [str(ids[0]), str(ids[2])]}
    assert admin.post("/admin/quarantine/replay", chosen).url.endswith(f"/admin/runs/{RUN_ID}")
    admin.post("/admin/quarantine/replay", {"csrf": csrf, "connector": "image_db"})
    configs = [run["runConfigData"]["ops"]["image_db__records"]["config"] for run in dagster.launched]
    assert [config["external_ids"] for config in configs] == [["0", "2"], ["0", "1", "2"]]


def test_items_of_an_account_are_tried_again_by_its_synchronisation(
    world: World, admin: Browser, dagster: FakeDagster
) -> None:
    aside(world, 1, "edge/store1")
    csrf = admin.csrf()
    admin.post("/admin/quarantine/replay", {"csrf": csrf, "connector": "edge/store1"})
    assert dagster.launched[0]["selector"]["jobName"] == "edge__sync"
    taken_out = {"csrf": csrf, "connector": "edge/store1", "ids": ["4711"]}
    for connector in ("edge/store1", "moysklad/child-1", "plytix/main", "image_db"):
        gone = admin.post("/admin/quarantine/replay", {**taken_out, "connector": connector})
        assert (gone.status_code, len(dagster.launched)) == (409, 1), connector
        assert "Nothing of what was chosen" in gone.text
    gone = admin.post("/admin/quarantine/replay", {"csrf": csrf, "connector": "edge/closed"})
    assert (gone.status_code, len(dagster.launched)) == (409, 1)
    assert admin.post("/admin/quarantine/replay", {"csrf": csrf, "connector": "nothing"}).status_code == 404


def test_what_an_account_refused_is_asked_for_again_and_stays_until_it_succeeds(
    world: World, admin: Browser, dagster: FakeDagster
) -> None:
    ids, others = aside(world, 3, "edge/store1"), aside(world, 1, "edge/store2")
    with world.engine.begin() as connection:
        connection.execute(quarantine.update().values(stage=REFUSED_STAGE))
    chosen = {"csrf": admin.csrf(), "connector": "edge/store1", "ids": [str(ids[0]), str(others[0])]}
    admin.post("/admin/quarantine/replay", chosen)
    stages = {entry.id: entry.stage for entry in QuarantineTable(world.engine, "edge/store1").list()}
    assert stages == {ids[0]: "apply", ids[1]: REFUSED_STAGE, ids[2]: REFUSED_STAGE}
    admin.post("/admin/quarantine/replay", {**chosen, "ids": []})
    assert {entry.stage for entry in QuarantineTable(world.engine, "edge/store1").list()} == {"apply"}
    assert [entry.stage for entry in QuarantineTable(world.engine, "edge/store2").list()] == [REFUSED_STAGE]


def test_what_the_newest_plans_leave_out_is_told_beside_the_quarantine(world: World, viewer: Browser) -> None:
    assert "could be synchronised" in viewer.get("/admin/quarantine").text
    plans = Plans(world.engine, world.opened.storage)
    rows = pd.DataFrame({"key": ["1"]})
    ids = [
        plans.save(rows, None, NewPlan("edge", f"run-{number}", {"account": account}, {"reject": left}, {}, None))
        for number, (account, left) in enumerate((("store1", 9), ("store1", 2), ("store2", 0)))
    ]
    # A part of an older plan is of some groups only.
    plans.save(rows, None, NewPlan("edge", None, {"account": "store1"}, {"add": 1}, {}, None))
    text = viewer.get("/admin/quarantine").text
    assert "Edge stores, store1: the newest plan leaves out 2 rows" in text
    assert f"/plans/{ids[1]}?change=reject" in text
    assert "store2" not in text
    assert "could be synchronised" not in text


def test_only_chosen_items_of_that_connector_are_forgotten(world: World, admin: Browser) -> None:
    ids, others = aside(world, 2), aside(world, 1, "edge/store1")
    chosen = {"csrf": admin.csrf(), "connector": "image_db", "ids": [str(ids[0]), str(others[0])]}
    assert "1 item is forgotten" in admin.post("/admin/quarantine/drop", chosen).text
    assert [entry.id for entry in QuarantineTable(world.engine, "image_db").list()] == [ids[1]]
    assert len(QuarantineTable(world.engine, "edge/store1").list()) == 1
    assert "Choose what to forget" in admin.post("/admin/quarantine/drop", {**chosen, "ids": []}).text


def test_an_admin_allows_or_keeps_what_is_held_back_as_on_the_terminal(world: World, admin: Browser) -> None:
    rows = [held.HeldRow(f"1/{n}", "1", f"f{n}", held.LIMIT, "42 are too many") for n in range(4)]
    held.hold(world.engine, "image_db", "", held.GUARD, rows)
    assert 'href="/admin/held"' in admin.get("/history").text
    ids = [one.id for one in held.entries(world.engine)]
    page = admin.get("/admin/held").text
    assert "4 of image_db are held back since" in page
    fields = forms_of(page)["/admin/held/allow"]
    told = admin.post("/admin/held/allow", {**fields, "ids": [str(ids[0]), "4711"]}).text
    assert "1 allowed; the next run carries them out." in told
    held.hold(world.engine, "edge", "store1", held.GUARD, [held.HeldRow("9", "9", "f", held.LIMIT, "too many")])
    told = admin.post("/admin/held/keep", {**fields, "everything": "1"}).text
    assert "3 kept until the source wants them again." in told
    assert [(one.decision, one.decided_by) for one in held.entries(world.engine)] == [
        ("allow", "anna"),
        *[("keep", "anna")] * 3,
        (None, None),
    ], "what was not shown yet is not decided"
    assert "Choose what to decide about" in admin.post("/admin/held/keep", fields).text
    assert admin.post("/admin/held/drop", fields).status_code in {400, 404, 422}


def test_unmatched_articles_are_listed_with_products_that_may_be_meant(world: World, viewer: Browser) -> None:
    engel = world.product("100", "Engel")
    meant = [{"sku": "100", "name": "Engel", "why": "one character differs"}, {"sku": "gone", "name": "x", "why": "y"}]
    with world.engine.begin() as connection:
        for number in ("101", "5_1", "551", *(f"9{n:03}" for n in range(60))):
            values = {"number": number, "external_id": "9", "reason": "unknown number", "candidates": meant}
            connection.execute(unmatched_article.insert().values(**values))
    first = viewer.get("/admin/unmatched").text
    assert f'href="/products/{engel}">100 Engel</a> <span class="soft">(one character differs)' in first
    assert "63" in first
    following = first.split('class="pager"')[1].split('href="')[1].split('"')[0].replace("&amp;", "&")
    second = viewer.get("/admin/unmatched" + following).text
    assert (">9059<" in second, ">101<" in second) == (True, False)
    assert ("From the beginning" in first, "From the beginning" in second) == (False, True)
    found = viewer.get("/admin/unmatched?number=5_").text
    assert ('class="name">5_1<' in found, 'class="name">551<' in found) == (True, False)


def test_an_admin_says_which_product_a_number_is_and_forgets_it(world: World, admin: Browser, viewer: Browser) -> None:
    engel = world.product("100", "Engel")
    world.product("200", "Weg")
    meant = [{"sku": "100", "name": "Engel", "why": "one character differs"}]
    article = {"number": "101", "variant": "BE", "external_id": "9", "reason": "none", "candidates": meant}
    with world.engine.begin() as connection:
        connection.execute(unmatched_article.insert().values(**article))
    for page in ("/admin/unmatched", "/admin/quarantine"):
        assert "It is 100" in admin.get(page).text
        assert "It is 100" not in viewer.get(page).text
    said = admin.send_form("/admin/unmatched", "/admin/articles/rule", only_code="1", meant="100")
    assert "101 BE is 100 Engel. The next synchronisation follows it." in said.text
    assert read_rules(world.engine) == {("101", "BE"): engel}
    admin.send_form("/admin/unmatched", "/admin/articles/rule", meant="100", sku="200")
    assert len(read_rules(world.engine)) == 2, "what was typed goes before what was suggested, and for any code"
    shown = " ".join(viewer.get("/admin/unmatched").text.split())
    assert f'101 BE is <a href="/products/{engel}">100 Engel</a>' in shown
    assert "/admin/articles/forget" not in shown
    assert "anna says that article 101 BE is it" in viewer.get(f"/products/{engel}/history").text
    refused = admin.send_form("/admin/unmatched", "/admin/articles/rule", sku="4711")
    assert (refused.status_code, "The ERP has no product" in refused.text) == (409, True)
    fields = {"csrf": admin.csrf(), "number": "101", "variant": "BE"}
    assert "The rule is forgotten" in admin.post("/admin/articles/forget", fields).text
    assert admin.post("/admin/articles/forget", fields).status_code == 409
    assert list(read_rules(world.engine)) == [("101", "")]


def test_a_product_that_may_be_meant_is_linked_although_it_left_the_erp(world: World, viewer: Browser) -> None:
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    gone = world.product("200", "Weg", left_erp_at=long_ago)
    there = world.product("300", "Da", kind="parent")
    world.product("300", "Weg", left_erp_at=long_ago)
    meant = [{"sku": sku, "name": "x", "why": "one character differs"} for sku in ("200", "300")]
    with world.engine.begin() as connection:
        values = {"number": "201", "external_id": "9", "reason": "unknown number", "candidates": meant}
        connection.execute(unmatched_article.insert().values(**values))
    page = viewer.get("/admin/unmatched").text
    assert f'href="/products/{gone}"' in page
    assert f'href="/products/{there}"' in page
    assert viewer.get(f"/products/{gone}").status_code == 200


def test_no_page_shows_the_password_in_an_address(world: World, viewer: Browser) -> None:
    address = "https://anna:secret@m.example/a.jpg"
    engel = world.product("100")
    names = ("image_url", "thumbnail_url", "original_url")
    world.image(engel, "1", metadata={"files": [{"url": address}]}, **dict.fromkeys(names, address))
    unmatched = {"number": "1", "external_id": "9", "reason": "x", "candidates": [], "image_url": address}
    item = {"connector": "image_db", "stage": "record", "key": "1", "reason": "x", "payload": f'{{"url": "{address}"}}'}
    with world.engine.begin() as connection:
        connection.execute(unmatched_article.insert().values(**unmatched))
        connection.execute(quarantine.insert().values(**item))
    for path in (f"/admin/products/{engel}", f"/products/{engel}", "/admin/unmatched", "/admin/quarantine"):
        text = viewer.get(path).text
        assert "secret" not in text, path
        for token in re.findall(r"/plan-pictures/([\w-]+)", text):
            assert b"secret" not in urlsafe_b64decode(token + "==="), path


def test_enter_presses_none_of_several_buttons(world: World, admin: Browser) -> None:
    """A browser takes the first button of a form for Enter in a field or on a box; none when that one is disabled."""
    aside(world, 1)
    held.hold(world.engine, "edge", "store1", "", [held.HeldRow("9", "9", "f", held.LIMIT, "too many")])
    plan = save(world, [{"key": "1/1", "group": "1", "change": "add", "reason": "new"}])
    for page in ("/admin/held", "/admin/quarantine?connector=image_db", f"/plans/{plan}"):
        forms = re.findall(r"<form(?! class=.languages).*?</form>", admin.get(page).text, re.DOTALL)
        buttons = [re.findall(r"<button[^>]*>", form) for form in forms]
        several = [some for some in buttons if len(some) > 1]
        assert several, page
        assert all("disabled" in some[0] for some in several), page
