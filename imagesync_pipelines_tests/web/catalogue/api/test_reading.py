"""What systems read: products, their images or those that stand in for them, lookups, paging, ETags."""

from datetime import UTC, datetime
from typing import Any

from imagesync_pipelines.storage.schema import unmatched_article
from imagesync_pipelines_tests.web.catalogue.api.calling import Caller, is_problem
from imagesync_pipelines_tests.web.catalogue.world import World

# What every image tells other systems.
FIELDS = {"id", "image_url", "thumbnail_url", "image_type", "is_primary", "is_front", "alt_text"}


def family(world: World) -> dict[str, int]:
    """A parent without images, its variant with two, its variant without any, and a product with nothing at all."""
    parent = world.product("700000", "Engel", kind="parent")
    pictured = world.product("700001", "Engel bemalt", parent=parent, variant_code="BE")
    bare = world.product("700002", "Engel blank", parent=parent, variant_code="BL")
    nothing = world.product("800001", "Hirte")
    first = world.image(pictured, "11", thumbnail_url="https://media.example.com/11.png")
    second = world.image(pictured, "12", is_primary=False, is_front=False, priority=2)
    return {"parent": parent, "pictured": pictured, "bare": bare, "nothing": nothing, "1": first, "2": second}


def test_the_images_of_a_product_have_all_fields_and_the_primary_first(world: World, caller: Caller) -> None:
    ids = family(world)
    answer = caller.read(f"/products/{ids['pictured']}/images")
    assert (answer["sku"], answer["images_from"]) == ("700001", "")
    assert [one["id"] for one in answer["images"]] == [ids["1"], ids["2"]]
    assert answer["images"][0].keys() >= FIELDS
    assert answer["images"][0] | {"last_synced": None} == {
        "id": ids["1"], "product_id": ids["pictured"], "external_id": "11",
        "image_url": "https://media.example.com/11.jpg", "thumbnail_url": "https://media.example.com/11.png",
        "image_type": "Produktfoto", "is_primary": True, "is_front": True, "priority": 1,
        "alt_text": "Engel - Produktfoto", "width": 1920, "height": 1280, "format": "jpeg", "file_name": "11.jpg",
        "original_url": None, "source": "Desktop app", "matched_by": "variant sku", "chosen_because": "large enough",
        "last_synced": None,
    }  # fmt: skip


def test_a_product_without_images_shows_those_that_stand_in(world: World, caller: Caller) -> None:
    ids = family(world)
    told = {"pictured": ("", 2), "parent": ("700001", 2), "bare": ("", 0), "nothing": ("", 0)}
    for which, (images_from, count) in told.items():
        answer = caller.read(f"/products/{ids[which]}/images")
        assert (answer["images_from"], len(answer["images"])) == (images_from, count), which
        product = caller.read(f"/products/{ids[which]}")
        assert (product["images_from"], product["image_count"]) == (images_from, count), which
        primary = caller.call("GET", f"/products/{ids[which]}/primary")
        assert primary.json() == product["primary"] if count else is_problem(primary, 404), which


def test_a_variant_shows_the_images_of_its_parent(world: World, caller: Caller) -> None:
    ids = family(world)
    world.image(ids["parent"], "10")
    for which in ("bare", "pictured"):
        assert caller.read(f"/products/{ids[which]}/images")["images_from"] == "700000"


def test_a_product_tells_its_family_and_who_chose(world: World, caller: Caller) -> None:
    ids = family(world)
    parent = caller.read(f"/products/{ids['parent']}")
    assert [one["sku"] for one in parent["variants"]] == ["700001", "700002"]
    assert (parent["parent"], parent["pin"]) == (None, None)
    variant = caller.read(f"/products/{ids['bare']}")
    assert (variant["parent"]["sku"], variant["variants"], variant["variant_code"]) == ("700000", [], "BL")


def test_an_image_comes_with_its_record(world: World, caller: Caller) -> None:
    ids = family(world)
    image = caller.read(f"/images/{ids['1']}")
    assert image["metadata"] == {"original_file": {"uploaded_from": "Desktop app"}}


def test_many_skus_are_looked_up_at_once_in_the_order_asked(world: World, caller: Caller) -> None:
    family(world)
    world.product("900009", left_erp_at=datetime(2026, 1, 1, tzinfo=UTC))
    wanted = ["800001", "nobody", " 700001 ", "700000", "700001", "900009"]
    posted = caller.call("POST", "/lookup", json={"skus": wanted}).json()
    assert posted == caller.read("/lookup", sku=wanted)
    found = [(one["sku"], len(one["images"])) for one in posted["items"]]
    assert found == [("800001", 0), ("700001", 2), ("700000", 2)]
    assert posted["unknown"] == ["nobody", "900009"]


def test_a_list_is_read_to_its_end_with_its_cursor_or_its_link(world: World, caller: Caller) -> None:
    skus = [f"9000{number:02}" for number in range(7)]
    for sku in skus:
        world.product(sku)
    by_cursor: list[str] = []
    by_link: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page: Any = caller.read("/products", limit=3, cursor=cursor)
        by_cursor += [one["sku"] for one in page["items"]]
        cursor = page["next_cursor"]
    link = "/products?limit=3"
    while link:
        answer = caller.call("GET", link)
        by_link += [one["sku"] for one in answer.json()["items"]]
        link = answer.links.get("next", {}).get("url", "").removeprefix("/api/v1")
    assert by_cursor == by_link == skus


def test_the_list_is_searched_and_filtered(world: World, caller: Caller) -> None:
    family(world)
    small = world.product("900001", "Fuchs")
    old = {"is_front": False, "height": 200, "last_synced": "1999-01-01T00:00:00Z"}
    world.image(small, "90", **old)
    near = {"number": "80001", "external_id": "9", "reason": "unknown", "candidates": [{"sku": "800001"}]}
    with world.engine.begin() as connection:
        connection.execute(unmatched_article.insert().values(**near))
    found: list[tuple[dict[str, str], list[str]]] = [
        ({"q": "7000"}, ["700000", "700001", "700002"]),
        ({"q": "bemalt"}, ["700001"]),
        ({"kind": "parent"}, ["700000"]),
        ({"without_image": "true"}, ["700002", "800001"]),
        ({"without_front": "true"}, ["900001"]),
        ({"low_resolution": "true"}, ["900001"]),
        ({"unmatched": "true"}, ["800001"]),
        ({"changed_since": "2000-01-01T00:00:00Z"}, ["700001"]),
    ]
    for query, skus in found:
        assert [one["sku"] for one in caller.read("/products", **query)["items"]] == skus, query


def test_an_answer_that_the_caller_has_is_not_sent_again_until_it_changes(world: World, caller: Caller) -> None:
    ids = family(world)
    path = f"/products/{ids['pictured']}/images"
    tag = caller.call("GET", path).headers["ETag"]
    for named in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = caller.call("GET", path, {"If-None-Match": named})
        assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
    world.image(ids["pictured"], "13", is_primary=False)
    changed = caller.call("GET", path, {"If-None-Match": tag})
    assert (changed.status_code, len(changed.json()["images"])) == (200, 3)
    assert changed.headers["Cache-Control"] == "private, no-cache"


def test_what_is_not_there_is_a_problem(caller: Caller) -> None:
    for path in ("/products/999", "/products/999/images", "/products/999/primary", "/images/999", "/nothing"):
        assert is_problem(caller.call("GET", path), 404), path


def test_addresses_are_given_on_as_everybody_takes_them_and_without_a_password(world: World, caller: Caller) -> None:
    written, given_on = " https://anna:secret@bücher.example/a b.jpg", "https://xn--bcher-kva.example/a%20b.jpg"
    record = {"exported_files": [{"image_url": written}]}
    names = ("image_url", "thumbnail_url", "original_url")
    product_id = world.product("1")
    image = world.image(product_id, **dict.fromkeys(names, written), metadata=record)
    for path in (f"/products/{product_id}/images", f"/images/{image}", "/lookup?sku=1", "/products"):
        assert "secret" not in caller.call("GET", path).text
    shown = caller.read(f"/images/{image}")
    assert {shown[name] for name in names} == {given_on}
    assert shown["metadata"] == {"exported_files": [{"image_url": given_on}]}
