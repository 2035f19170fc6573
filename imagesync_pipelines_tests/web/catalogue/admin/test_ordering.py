"""The order of pictures in a browser without scripts: of one product by hand, of many by a rule, looked at first."""

import re

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.schema import picture_order
from imagesync_pipelines.web.catalogue import queries
from imagesync_pipelines_tests.web.catalogue.admin.browsing import Browser, named
from imagesync_pipelines_tests.web.catalogue.world import World


@pytest.fixture
def engel(world: World) -> int:
    """A product with three pictures."""
    made = world.product("100")
    for number in (1, 2, 3):
        world.image(made, str(number), is_primary=number == 1, is_front=number == 1, priority=number)
    return made


def kept(world: World) -> dict[int, list[str]]:
    with world.engine.connect() as connection:
        rows = connection.execute(sa.select(picture_order))
        return {row.product_id: [one.partition("/")[2] for one in row.pictures] for row in rows}


def shown(world: World, product: int) -> list[str]:
    """What pages and the API show."""
    found = queries.shown_for(world.engine, [product], world.opened.showing)[product]
    return [one.external_id for one in found.images]


def test_one_product_by_hand(world: World, admin: Browser, engel: int) -> None:
    at, page = f"/admin/products/{engel}/order", admin.get(f"/products/{engel}").text
    assert page.count("Move it earlier") == page.count("Move it later") == 2
    step = re.findall(r'href="([^"]*)">Move it earlier', page)[-1]
    planned = admin.get(step).text
    assert kept(world) == {}
    earlier = re.findall(r'href="([^"]*)">Earlier', planned)[0]
    assert admin.send_form(at + earlier, at).status_code == 200
    assert (kept(world)[engel], shown(world, engel)) == (["3", "1", "2"], ["3", "1", "2"])
    assert "anna put its pictures in order" in admin.get(f"/products/{engel}").text
    told = queries.product_view(world.engine, engel, world.opened.showing)
    assert told is not None
    assert told.order is not None
    assert (told.order.ordered_by, told.primary and told.primary.external_id) == ("anna", "3")
    ids = re.findall(r'data-about="([0-9]+)"', admin.get(f"/products/{engel}").text)
    fields = admin.get(f"{at}?order={ids[1]}").text
    world.image(engel, "4", is_primary=False)
    stamp = re.findall(r'name="stamp" value="([0-9]+)"', fields)[0]
    refused = admin.post(at, {"csrf": admin.csrf(), "order": ids[1], "stamp": stamp})
    assert (refused.status_code, "changed since they were looked at" in refused.text) == (409, True)
    assert kept(world)[engel] == ["3", "1", "2"]
    admin.send_form(f"{at}?order=rules", at)
    assert (kept(world), shown(world, engel)) == ({}, ["1", "4", "2", "3"])


def test_many_by_a_rule(world: World, admin: Browser, engel: int) -> None:
    other = world.product("200")
    world.image(other, "9", image_type="Szene", is_front=False)
    world.image(other, "8", is_primary=False, priority=2)
    fields = {"csrf": admin.csrf(), "ids": [str(engel), str(other)], "by": "types"}
    assert "by their types" in admin.post("/admin/bulk", fields).text
    page = admin.post("/admin/bulk/orders", {**fields, "types": "Produktfoto, Szene"}).text
    orders = named(page, "orders")
    assert (len(orders), kept(world)) == (2, {})
    wanted = {"csrf": admin.csrf(), "by": "types", "types": "Produktfoto, Szene", "orders": orders}
    world.image(engel, "5", is_primary=False)
    done = admin.post("/admin/bulk/order", wanted)
    assert "Products put in order: 1. 1 changed since they were looked at" in done.text
    assert (kept(world), shown(world, other)) == ({other: ["8", "9"]}, ["8", "9"])
    page = admin.post("/admin/bulk/orders", {**fields, "by": "rules"}).text
    assert "nobody put its pictures in order" in page
    for path, wrong in (
        ("/admin/bulk/orders", {**fields, "by": "any"}),
        ("/admin/bulk/order", {**wanted, "orders": ["1"]}),
        (f"/admin/products/{engel}/order", {"csrf": admin.csrf(), "order": "x", "stamp": "1"}),
    ):
        assert admin.post(path, wrong).status_code == 400, path
