"""A plan's page: its rows by change, and the pictures before and after, as far as they are still known."""

import pandas as pd
import pytest

from imagesync_pipelines.storage.plans import NewPlan, Plans
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.reading.plans import newest_plans, plan_page
from imagesync_pipelines_tests.web.catalogue.world import Site, World


def save(world: World, rows: list[dict], *, room: str = "image_db", **scope: object) -> int:
    columns = ("key", "key_before", "group", "change", "reason", "product")
    frame = pd.DataFrame([{**dict.fromkeys(columns), **row} for row in rows], columns=list(columns)).astype("str")
    frame = frame.mask(frame == "None")
    counts = frame["change"].value_counts().to_dict()
    plans = Plans(world.engine, world.opened.storage)
    return plans.save(frame, None, NewPlan(room, "run", scope, counts, {"rows": len(rows), "calls": 0}, None))


@pytest.fixture
def change(world: World) -> tuple[int, int]:
    """A plan that changes one product's two pictures; its id and the product's."""
    engel = world.product("100", "Engel")
    world.image(engel, "1", thumbnail_url="https://media.example.com/1.png")
    rows = [
        {"key": f"{engel}/1", "key_before": f"{engel}/1", "change": "remove", "reason": "no longer at the source"},
        {"key": f"{engel}/2", "change": "add", "reason": "new"},
        {"key": f"{engel}/3", "key_before": f"{engel}/1", "change": "update", "reason": "another number"},
    ]
    return save(world, [{**row, "group": str(engel), "product": "100 Engel"} for row in rows]), engel


def test_the_picture_before_is_the_one_that_is_there(world: World, change: tuple[int, int]) -> None:
    header = newest_plans(world.engine, 10)[0]
    before = {
        kind: [line.before for line in plan_page(world.opened, header, kind, 0, 10).lines]
        for kind in ("add", "update", "remove")
    }
    there = ["https://media.example.com/1.png"]
    assert before == {"add": [""], "update": there, "remove": there}


def test_the_page_shows_rows_of_one_change_and_links_their_product(
    site: Site, world: World, change: tuple[int, int]
) -> None:
    plan_id, engel = change
    text = site.get(f"/plans/{plan_id}?change=remove").text
    assert "no longer at the source" in text
    assert "another number" not in text
    assert f'href="/products/{engel}"' in text
    assert "/plan-pictures/" in text
    assert "not applied" in text
    assert f"Plan {plan_id}" in site.get("/plans").text


def test_a_room_whose_groups_are_no_products_of_ours_is_shown_too(site: Site, world: World) -> None:
    rows = [{"key": "photo-1", "group": "b2b0c2f2", "change": "add", "reason": "new"}]
    plan_id = save(world, rows, room="edge", store="jakarta", warnings=["one photo is late"], held_back=3)
    text = site.get(f"/plans/{plan_id}").text
    for told in ("photo-1", "b2b0c2f2", "jakarta", "one photo is late", "3 removals were held back"):
        assert told in text


def test_many_rows_are_paged(site: Site, world: World) -> None:
    rows = [{"key": f"photo-{n:03}", "group": f"g{n}", "change": "add", "reason": "new"} for n in range(120)]
    plan_id = save(world, rows, room="edge")
    assert "photo-049" in site.get(f"/plans/{plan_id}").text
    assert "photo-050" not in site.get(f"/plans/{plan_id}").text
    last = site.get(f"/plans/{plan_id}?change=add&start=100").text
    assert "photo-119" in last
    assert "101 to 120 of 120" in last


def test_a_plan_whose_files_are_gone_says_so(site: Site, world: World, change: tuple[int, int]) -> None:
    for file in (world.opened.storage / "plans" / "image_db" / str(change[0])).iterdir():
        file.unlink()
    answer = site.get(f"/plans/{change[0]}")
    assert answer.status_code == 404
    assert "plan again" in answer.text


def test_only_an_address_that_we_wrote_is_fetched(site: Site, world: World) -> None:
    token = picture_token(world.opened, "http://169.254.169.254/latest/meta-data")
    refused = site.get(f"/plan-pictures/{token}")
    assert (refused.status_code, refused.headers["Content-Type"]) == (200, "image/svg+xml")
    assert site.get(f"/plan-pictures/{token[:-2]}xx").status_code == 404
