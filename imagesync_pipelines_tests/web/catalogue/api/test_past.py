"""The past of a product: its timeline over all connectors, and what it showed at a moment, as page and in the API."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from imagesync_pipelines.products.primaries import pin_image
from imagesync_pipelines.storage.effects import Author, Effect, EffectRow, known_since, note_effects
from imagesync_pipelines.storage.schema import mirror, product_image
from imagesync_pipelines.storage.schema_accounts import moysklad_entity_map
from imagesync_pipelines.web.catalogue import queries
from imagesync_pipelines.web.catalogue.pages.products import moment_of
from imagesync_pipelines.web.catalogue.past import timeline
from imagesync_pipelines_tests.web.catalogue.api.calling import Caller, is_problem
from imagesync_pipelines_tests.web.catalogue.world import NOW, Site, World

RUN = Author("0123456789abcdef", "anna", 7)


def row_of(world: World, image_id: int) -> dict[str, object]:
    """An image as the history keeps it."""
    with world.engine.connect() as connection:
        query = sa.text(
            "SELECT to_jsonb(i) - '{product_id,source}'::text[] FROM imagesync.product_image i WHERE id = :id"
        )
        found: dict[str, object] = connection.execute(query, {"id": image_id}).scalar_one()
    return found


def moments(world: World) -> tuple[datetime, datetime]:
    """Since when the history is known, and now."""
    with world.engine.connect() as connection:
        return known_since(connection), connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()


def removed(world: World, product_id: int, image_id: int, external_id: str) -> datetime:
    """Let an image go as a run does; the moment before."""
    before = moments(world)[1]
    key = f"{product_id}/{external_id}"
    row = EffectRow(key, "remove", "gone at the source", key, before=row_of(world, image_id))
    with world.engine.begin() as connection:
        connection.execute(product_image.delete().where(product_image.c.id == image_id))
        note_effects(connection, [Effect("image_db", "", str(product_id), (row,), RUN)])
    return before


def test_images_as_of_a_moment_come_with_every_field_they_had(world: World, caller: Caller) -> None:
    engel = world.product("100")
    first, second = world.image(engel, "1"), world.image(engel, "2", is_primary=False, priority=2)
    before = caller.read(f"/products/{engel}/images")
    then = removed(world, engel, second, "2")
    pin_image(world.engine, engel, "image_db", "1", "anna")
    assert [one["id"] for one in caller.read(f"/products/{engel}/images")["images"]] == [first]
    asked = {"as_of": then.isoformat()}
    assert caller.read(f"/products/{engel}/images", **asked) == before
    assert caller.read("/lookup", sku="100", **asked)["items"] == [before]
    assert caller.read("/skus/100/images", **asked) == before
    assert [one["id"] for one in caller.read("/skus/100/images")["images"]] == [first]
    assert is_problem(caller.call("GET", f"/skus/{engel}/images"), 404), "an id is no SKU"
    slashed = world.product("10/B images")
    assert caller.read("/skus/10/B%20images/images")["product_id"] == slashed
    assert caller.read("/lookup", sku="nothing", **asked)["unknown"] == ["nothing"]
    assert is_problem(caller.call("GET", "/products/4711/images", params=asked), 404)


def test_a_choice_by_a_system_is_an_effect_of_its_key(world: World, caller: Caller) -> None:
    engel = world.product("100")
    world.image(engel, "1")
    second = world.image(engel, "2", is_primary=False, priority=2)
    for method, more in (("PUT", {"json": {"image_id": second}}), ("DELETE", {})):
        assert caller.call(method, f"/products/{engel}/primary", **more).ok
    lines = [one for one in timeline(world.engine, engel, "100")[0] if one.kind != "primary"]
    assert [(one.who, one.what, one.image) for one in lines] == [
        ("key shop", "no longer chosen as primary", "2"), ("key shop", "chosen as primary", "2")
    ]  # fmt: skip


def test_a_moment_before_the_history_begins_is_refused_with_where_it_begins(
    world: World, site: Site, caller: Caller
) -> None:
    engel = world.product("100")
    since = moments(world)[0]
    early = caller.call(
        "GET", f"/products/{engel}/images", params={"as_of": (since - timedelta(seconds=1)).isoformat()}
    )
    assert is_problem(early, 404)
    assert f"the history begins at {since:%Y-%m-%d}" in early.json()["detail"]
    assert is_problem(caller.call("GET", f"/products/{engel}/images", params={"as_of": "2026-11-30T10:00"}), 422)
    for path, name in (("/lookup", "as_of"), ("/changes", "since"), ("/products", "changed_since")):
        for edge in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
            refused = caller.call("GET", path, params={"sku": "100", name: edge})
            assert is_problem(refused, 422), (path, edge)
    with pytest.raises(queries.CursorError):
        queries.decode_cursor(queries.encode_cursor([datetime.max.replace(tzinfo=UTC), 0]), (datetime, int))
    berlin = ZoneInfo("Europe/Berlin")
    assert moment_of("2026-11-21T13:00", berlin) == datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert moment_of("2026-11-21T13:00+05:00", berlin) == datetime(2026, 11, 21, 8, tzinfo=UTC)
    page = site.get(f"/products/{engel}/history?as_of=2020-01-01T10:00")
    assert page.status_code == 200
    assert "is not known: the history begins at" in page.text


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("2026-11", 400),
        ("yesterday", 400),
        ("", 200),
        ("9998-12-31T23:59", 200),
        ("9999-12-31T23:59", 400),
        ("0001-01-01T00:00", 400),
        ("0001-01-01T00:00%2B14:00", 400),
    ],
)
def test_a_moment_on_the_page_is_one_or_said_to_be_none(site: Site, world: World, text: str, status: int) -> None:
    assert site.get(f"/products/{world.product('100')}/history?as_of={text}").status_code == status
    assert site.get("/products/4711/history").status_code == 404


def test_images_lent_by_a_parent_are_those_that_it_had_then(world: World, caller: Caller) -> None:
    parent = world.product("P1", kind="parent")
    variant = world.product("100", parent=parent)
    world.image(parent, "1")
    then = removed(world, parent, world.image(parent, "2", is_primary=False), "2")
    found = caller.read(f"/products/{variant}/images", as_of=then.isoformat())
    assert (found["images_from"], [one["external_id"] for one in found["images"]]) == ("P1", ["1", "2"])
    then = removed(world, variant, world.image(variant, "3"), "3")
    own = caller.read(f"/products/{parent}/images", as_of=then.isoformat())
    assert (own["images_from"], [one["external_id"] for one in own["images"]]) == ("", ["1"])


def test_the_timeline_has_what_every_connector_did_about_the_product(site: Site, world: World, caller: Caller) -> None:
    engel, other = world.product("100", "Engel"), world.product("200")
    front = world.image(engel, "1")
    removed(world, engel, world.image(engel, "2", is_primary=False), "2")
    pin_image(world.engine, engel, "image_db", "1", "bert")
    # The head office lists it no longer.
    listed = {"account": "jakarta", "group_key": "ho 1", "fingerprint": "f", "payload": {"product_sku": "100"},
              "gone_at": NOW, "gone_because": "deleted"}  # fmt: skip
    found_by = {"entity_key": "product:1", "child_id": "c", "field": "article", "value": "100", "child": "berlin"}
    row = EffectRow("k<b>", "add", "new", after={"name": "b.jpg"}, lost="nobody kept it")
    groups = (("plytix", "main", "100"), ("moysklad", "berlin", "product:1"), ("edge", "jakarta", "ho 1"))
    strangers = (("plytix", "main", str(engel)), ("image_db", "", str(other)), ("edge", "jakarta", "ho 2"))
    with world.engine.begin() as connection:
        connection.execute(mirror.insert().values(connector="edge", key="1", **listed))
        connection.execute(moysklad_entity_map.insert().values(**found_by))
        note_effects(connection, [Effect(*of, (row,), RUN) for of in (*groups, *strangers)])
    lines, since, is_cut = timeline(world.engine, engel, "100")
    assert [(one.connector, one.kind) for one in lines] == [
        ("edge", "add"), ("moysklad", "add"), ("plytix", "add"), ("image_db", "pin"), ("image_db", "remove")
    ]  # fmt: skip
    assert (since, is_cut) == (moments(world)[0], False)
    told = caller.read(f"/products/{engel}/history")
    assert (told["sku"], told["is_cut"], datetime.fromisoformat(told["known_since"])) == ("100", False, since)
    assert [(one["connector"], one["change"]) for one in told["items"]] == [(one.connector, one.kind) for one in lines]
    assert {name: told["items"][0][name] for name in ("account", "image", "after", "lost", "run_id", "person")} == {
        "account": "jakarta", "image": "k<b>", "after": "b.jpg", "lost": "nobody kept it", "run_id": RUN.run_id,
        "person": "anna",
    }  # fmt: skip
    assert len(caller.read(f"/products/{engel}/history", image="k<b>")["items"]) == 3
    assert is_problem(caller.call("GET", "/products/4711/history"), 404)
    assert f'href="/products/{engel}/history"' in site.get(f"/products/{engel}").text
    text = site.get(f"/products/{engel}/history").text
    assert "<b>" not in text
    assert "no picture kept" in text
    page = site.get(f"/products/{engel}/history?image=k%3Cb%3E").text
    assert page.count('class="change ') == 3
    assert page.count('src="/plan-pictures/') == 1, "the store shows what was added there"
    assert "History of picture k&lt;b&gt; of Engel" in page
    shown = site.get(f"/products/{engel}/pictures/{front}").text
    assert f'href="/products/{engel}/history?image=1"' in shown
    told = re.sub(r"<[^>]*>|\s+", " ", text)
    assert re.search(r"Picture 2 : removed .* anna, run 01234567 · Image database .* gone at the source", told)
    assert re.search(r"Picture 1 : chosen as primary .* bert · Image database", told)
    assert "It cannot be brought back: nobody kept it" in told
