"""One product: its pictures and whose they are, its family, its pin, what may mean it, where it also lives."""

import re
from datetime import timedelta

from imagesync_pipelines.products.primaries import pin_image, set_pins
from imagesync_pipelines.storage.schema import mirror, unmatched_article
from imagesync_pipelines.storage.schema_accounts import moysklad_child_images, moysklad_entity_map, plytix_link
from imagesync_pipelines.web.catalogue.models import Product
from imagesync_pipelines.web.catalogue.pages.products import places_of
from imagesync_pipelines.web.catalogue.queries import product_view, products_of_skus
from imagesync_pipelines_tests.web.catalogue.world import NOW, Site, World


def view(world: World, product_id: int) -> Product:
    found = product_view(world.engine, product_id, world.opened.showing)
    assert found is not None
    return found


def test_the_primary_comes_first_and_the_others_in_their_order(world: World) -> None:
    engel = world.product("100")
    world.image(engel, "1", is_primary=False, priority=4)
    world.image(engel, "2", is_primary=False, priority=1, newest_export=NOW - timedelta(days=1))
    world.image(engel, "3", is_primary=False, priority=1, newest_export=NOW)
    world.image(engel, "4", is_primary=True, priority=3)
    assert [image.external_id for image in view(world, engel).images] == ["4", "3", "2", "1"]


def test_a_picture_of_the_folder_names_it_as_its_source(site: Site, world: World) -> None:
    engel = world.product("100")
    world.image(engel, "a/100.jpg", source="folder", metadata={"file": "a/100.jpg"})
    assert "<dt>Source</dt><dd>Folder</dd>" in site.get(f"/products/{engel}").text


def test_an_image_tells_where_it_comes_from(world: World) -> None:
    engel = world.product("100")
    world.image(engel, "1", image_url="https://media.example.com/a%20b/Gru%C3%9F.jpg?x=1")
    world.image(engel, "2", is_primary=False, metadata={})
    first, second = view(world, engel).images
    assert (first.source, first.file_name, second.source) == ("Desktop app", "Gruß.jpg", "")


def test_a_parent_without_pictures_shows_those_of_a_variant_the_painted_one_first(world: World) -> None:
    parent = world.product("P1", kind="parent")
    oxidised = world.product("100", parent=parent, variant_code="OX")
    painted = world.product("200", parent=parent, variant_code="BE")
    world.image(oxidised, "1")
    world.image(painted, "2", is_front=False, image_type="Szene", priority=4)
    found = view(world, parent)
    assert [image.external_id for image in found.images] == ["2"]
    assert found.lent_by is not None
    assert (found.lent_by.sku, found.own) == ("200", 0)
    assert [one.sku for one in found.family] == ["100", "200"]


def test_a_variant_shows_its_parents_pictures_and_names_its_own(world: World) -> None:
    parent = world.product("P1", kind="parent")
    variant = world.product("100", parent=parent)
    world.product("101", parent=parent)
    world.image(parent, "1")
    world.image(variant, "2")
    found = view(world, variant)
    assert [image.external_id for image in found.images] == ["1"]
    assert found.lent_by is not None
    assert found.parent is not None
    assert (found.lent_by.sku, found.own, found.parent.sku) == ("P1", 1, "P1")
    assert [one.sku for one in found.family] == ["100", "101"]


def test_a_product_alone_has_no_family_and_no_pictures(world: World) -> None:
    found = view(world, world.product("100"))
    assert (found.images, found.family, found.parent, found.lent_by, found.pin) == ([], [], None, None, None)


def test_two_products_without_parent_are_no_family(world: World) -> None:
    world.product("200")
    assert view(world, world.product("100")).family == []


def test_a_pin_is_told_and_a_dormant_one_too(world: World) -> None:
    engel = world.product("100")
    world.image(engel, "1")
    world.image(engel, "2", is_primary=False)
    pin_image(world.engine, engel, "image_db", "2", "anna")
    pinned = view(world, engel)
    assert pinned.pin is not None
    assert (pinned.pin.pinned_by, pinned.pin.is_dormant, pinned.images[0].external_id) == ("anna", False, "2")
    with world.engine.begin() as connection:
        set_pins(connection, {engel: ("image_db", "3")}, "bert")
    dormant = view(world, engel).pin
    assert dormant is not None
    assert dormant.is_dormant


def test_article_numbers_that_may_mean_it_are_told_with_their_reason(site: Site, world: World) -> None:
    engel = world.product("100")
    near = {"sku": "100", "name": "Engel", "why": "one character differs"}
    with world.engine.begin() as connection:
        for number, candidates in (("101", [{"sku": "999"}, near]), ("555", [{"sku": "1000"}])):
            values = {"number": number, "external_id": "9", "reason": "unknown", "candidates": candidates}
            connection.execute(unmatched_article.insert().values(**values))
    assert [one.number for one in view(world, engel).candidates] == ["101"]
    told = re.sub(r"<[^>]*>|\s+", " ", site.get(f"/products/{engel}").text)
    assert re.search(r"Perhaps meant .* 101 +one character differs; picture 9", told)
    assert "555" not in told


def test_there_is_no_view_of_a_product_that_is_not_there(world: World) -> None:
    assert product_view(world.engine, 4711, world.opened.showing) is None
    assert products_of_skus(world.engine, ["4711"]) == {}


def test_a_sku_names_the_variant_before_the_parent_and_none_that_left(world: World) -> None:
    world.product("100", kind="parent")
    variant = world.product("100", kind="variant")
    world.product("200", left_erp_at=NOW)
    assert products_of_skus(world.engine, ["100", "200"]) == {"100": variant}


def test_the_ledgers_of_the_connectors_say_where_the_images_also_live(site: Site, world: World) -> None:
    link = {"product_sku": "100", "asset_id": "a", "account": "main"}
    photo = {
        "connector": "edge",
        "account": "jakarta",
        "group_key": "g",
        "fingerprint": "f",
        "payload": {"product_sku": "100"},
    }
    gone = {"gone_at": NOW, "gone_because": "deleted"}
    with world.engine.begin() as connection:
        connection.execute(plytix_link.insert().values(key="1", linked_at=NOW, **link))
        connection.execute(plytix_link.insert().values(key="2", linked_at=NOW, **link))
        connection.execute(plytix_link.insert().values(key="3", **link))
        connection.execute(mirror.insert().values(key="1", **photo))
        connection.execute(mirror.insert().values(key="2", **photo, **gone))
        found_by = {"entity_key": "product:1", "child_id": "c", "field": "article", "value": "100"}
        for child, images in (("berlin", 3), ("without any", 0)):
            connection.execute(moysklad_entity_map.insert().values(child=child, **found_by))
            kept = {"images": [["source", "id", "a.jpg", 1]] * images, "others": 0}
            connection.execute(moysklad_child_images.insert().values(child=child, entity_key="product:1", **kept))
        connection.execute(moysklad_entity_map.insert().values(child="never written", **found_by))
    places = [(connector, place.account, place.images) for connector, place in places_of(world.engine, "100")]
    assert places == [("edge", "jakarta", 1), ("moysklad", "berlin", 3), ("plytix", "main", 2)]
    text = re.sub(r"<[^>]*>|\s+", " ", site.get(f"/products/{world.product('100')}").text)
    for told in (r"Edge stores +jakarta +1 picture,", r"МойСклад +berlin +3 pictures,", r"Plytix +main +2 pictures,"):
        assert re.search(told, text)
    assert "never written" not in text
    assert places_of(world.engine, "101") == ()
