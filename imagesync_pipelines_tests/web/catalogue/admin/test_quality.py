"""What admins do on the pages of quality: they start measuring, choose the better main picture, dismiss suggestions."""

import re

import sqlalchemy as sa

from imagesync_pipelines.storage.schema import pin
from imagesync_pipelines_tests.quality.rows import listed_now
from imagesync_pipelines_tests.web.catalogue.admin.browsing import RUN_ID, Browser, FakeDagster, forms_of
from imagesync_pipelines_tests.web.catalogue.judging import GOOD, SMALL, judge, pair, show
from imagesync_pipelines_tests.web.catalogue.world import World


def test_an_admin_starts_measuring(admin: Browser, viewer: Browser, dagster: FakeDagster) -> None:
    assert "/admin/quality/measure" not in forms_of(viewer.get("/quality").text)
    started = admin.send_form("/quality", "/admin/quality/measure")
    assert started.url.endswith(f"/admin/runs/{RUN_ID}")
    [run] = dagster.launched
    assert run["selector"]["jobName"] == "quality__measure"
    assert viewer.post("/admin/quality/measure", {"csrf": viewer.csrf()}).status_code == 403


def test_the_better_main_picture_is_looked_at_then_pinned_in_the_persons_name(
    world: World, admin: Browser, viewer: Browser
) -> None:
    engel = world.product("100", "Engel")
    now = world.image(engel, "1")
    better = world.image(engel, "2", is_primary=False, priority=2)
    back = world.image(engel, "3", is_primary=False, priority=3, is_front=False)
    for key, measures in (("1", SMALL), ("2", GOOD), ("3", GOOD)):
        show(
            world.engine, "100", measures, connector="image_db", account="", key=key, is_main=key == "1",
            product_id=engel, kind="variant",
        )  # fmt: skip
    listed_now(world.engine)
    judge(world.engine)
    page = f"/products/{engel}"
    told = viewer.get(page).text
    assert "This one would be the better main picture" in told
    assert "Google Merchant Center refuses the present one (The shorter side has 300 px" in told
    assert "/admin/bulk/pins" not in forms_of(told)
    plan = admin.send_form(page, "/admin/bulk/pins")
    found = re.search(rf'name="pairs" value="({engel}:{now}:{better}:[0-9]+)"', plan.text)
    assert found is not None, f"not {back}, which is no front view"
    assert "because Google Merchant Center refuses the present one" in plan.text
    with world.engine.connect() as connection:
        assert connection.execute(sa.select(pin)).all() == [], "it is only looked at"
    done = admin.post("/admin/bulk/pin", {"csrf": admin.csrf(), "pairs": found[1]})
    assert "Primary pictures chosen: 1." in done.text
    with world.engine.connect() as connection:
        [chosen] = connection.execute(sa.select(pin)).all()
    assert (chosen.external_id, chosen.pinned_by) == ("2", "anna")
    none = admin.post("/admin/bulk/pins", {"csrf": admin.csrf(), "ids": str(world.product("200")), "rule": "better"})
    assert "it has no picture of its own" in none.text


def test_same_pictures_stand_side_by_side_until_an_admin_dismisses_them(
    world: World, admin: Browser, viewer: Browser
) -> None:
    engel = world.product("100", "Engel")
    for code, measures in (("100", SMALL), ("200", GOOD)):
        show(world.engine, code, measures, product_id=engel if code == "100" else None)
    one, other = pair(world.engine, "products", "better_copy")
    page = viewer.get("/quality/alike").text
    assert "The same picture on different products" in page
    assert "larger (2000 x 2000 instead of 300 x 300)" in page
    assert f'href="/products/{engel}"' in page
    assert "/admin/quality/dismiss" not in forms_of(page)
    assert "larger (" not in viewer.get("/quality/alike?which=products").text
    assert viewer.get("/quality/alike?cursor=nonsense").status_code == 400
    fields = {"sha256": one, "other": other, "which": "products"}
    assert viewer.post("/admin/quality/dismiss", {"csrf": viewer.csrf(), **fields}).status_code == 403
    assert admin.post("/admin/quality/dismiss", fields).status_code == 403, "not from our form"
    done = admin.send_form("/quality/alike?which=products", "/admin/quality/dismiss")
    assert done.url.endswith("/quality/alike?which=products")
    assert "Nothing to suggest" in done.text
    assert "anna dismissed it" in viewer.get("/quality/alike?which=dismissed").text
    again = admin.post("/admin/quality/dismiss", {"csrf": admin.csrf(), **fields})
    assert (again.status_code, "somebody dismissed it before" in again.text) == (409, True)
    assert "/admin/quality/restore" not in forms_of(viewer.get("/quality/alike?which=dismissed").text)
    assert viewer.post("/admin/quality/restore", {"csrf": viewer.csrf(), **fields}).status_code == 403
    assert admin.post("/admin/quality/restore", fields).status_code == 403, "not from our form"
    shown = admin.send_form("/quality/alike?which=dismissed", "/admin/quality/restore")
    assert "It is suggested again." in shown.text
    assert "anna dismissed it" not in shown.text
    assert "/admin/quality/dismiss" in forms_of(admin.get("/quality/alike").text)
    assert admin.post("/admin/quality/restore", {"csrf": admin.csrf(), **fields}).status_code == 409
