"""A value by which counterparts are found moves: each entity gets its own pictures, by the guard, and it is told."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import MatchField, Ownership
from imagesync_pipelines.connectors.moysklad.counterparts import entities_of_skus, groups_by_sku
from imagesync_pipelines.connectors.moysklad.model import Entity
from imagesync_pipelines.connectors.moysklad.moved import Match, moved_there, pass_on
from imagesync_pipelines.sandbox.moysklad.handle import AccountHandle
from imagesync_pipelines.storage.schema import mirror
from imagesync_pipelines.storage.schema_accounts import moysklad_child_images as lists
from imagesync_pipelines.storage.schema_accounts import moysklad_entity_map as entity_map
from imagesync_pipelines.sync.choosing import chosen_groups
from imagesync_pipelines.sync.excluding import Channel, exclude
from imagesync_pipelines_tests.connectors.moysklad.rows import entity
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, MAIN, World, open_world

FIELDS: dict[MatchField, str] = {"externalCode": "external_code", "code": "code", "article": "article"}
ONE, TWO = "product-1-00000", "product-1-00001"


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> Iterator[World]:
    """The demo's accounts, in which code and article are the same everywhere too."""
    with open_world(database, tmp_path, workers=1) as world:
        for handle in (world.main, world.child()):
            for one in handle.entities():
                kept = {"code": one.external_code}
                handle.change(one.id, **kept, **({"article": one.external_code} if one.type != "variant" else {}))
        yield world


def swap(handle: AccountHandle, name: str) -> None:
    one, two = handle.by_code(ONE), handle.by_code(TWO)
    handle.change(one.id, **{name: TWO})
    handle.change(two.id, **{name: ONE})


def shown(world: World, alias: str) -> dict[str, list[bytes]]:
    """The pictures of every entity by its id in an account."""
    handle = world.sandbox.account(alias)
    return {one.id: [body for _, body, _ in handle.images(one.id)] for one in handle.entities()}


@pytest.mark.parametrize(
    ("field", "ownership"),
    [("externalCode", Ownership.MANAGED), ("code", Ownership.MIRROR), ("article", Ownership.MANAGED)],
)
def test_values_of_two_entities_swapped_in_the_main_account(
    world: World, field: MatchField, ownership: Ownership
) -> None:
    if field == "article":  # variants have none
        for handle in (world.main, world.child()):
            for one in [one for one in handle.entities() if one.type == "variant"]:
                handle.delete(one.id)
    world.sync(match_field=field, ownership=ownership)
    ids = {code: (world.main.by_code(code).id, world.child().by_code(code).id) for code in (ONE, TWO)}
    swap(world.main, FIELDS[field])
    made, done = world.run(match_field=field, ownership=ownership, allow_mass_delete=True)
    assert any("another counterpart" in warning for warning in made.result.warnings), made.result.warnings
    pictures, there = shown(world, MAIN), shown(world, CHILD)
    assert there[ids[TWO][1]] == pictures[ids[ONE][0]]
    assert there[ids[ONE][1]] == pictures[ids[TWO][0]]
    assert done.error_count == 0
    world.count_anew()
    again, _ = world.run(match_field=field, ownership=ownership)
    assert sum(again.counts.values()) == again.counts["keep"]
    assert world.calls(CHILD) == 0


def test_values_swapped_in_the_child_account_are_seen_by_the_full_run(world: World) -> None:
    world.sync(full=True)
    ids = {code: (world.main.by_code(code).id, world.child().by_code(code).id) for code in (ONE, TWO)}
    swap(world.child(), "external_code")
    made, _ = world.run(full=True, check_child=True, allow_mass_delete=True)
    assert any("another counterpart" in warning for warning in made.result.warnings)
    pictures, there = shown(world, MAIN), shown(world, CHILD)
    assert there[ids[TWO][1]] == pictures[ids[ONE][0]]
    assert there[ids[ONE][1]] == pictures[ids[TWO][0]]


def test_a_code_that_moved_to_a_new_card_takes_its_pictures_there_and_leaves_the_owners(world: World) -> None:
    world.sync()
    child = world.child()
    old = child.by_code(ONE).id
    mine = [(name, body) for name, body, _ in child.images(old)]
    child.set_images(old, [*mine, ("owner.jpg", mine[0][1] + b"\0")])
    child.change(old, external_code="retired")
    new = child.add_product("the new card", ONE)
    tight = world.place.settings.model_copy(update={"deletion_limit_floor": 1, "deletion_limit_count": 2})
    made, _ = replace(world, place=replace(world.place, settings=tight)).run(full=True, check_child=True)
    assert made.held, "three removals of one entity are more than this small account's limit"
    assert [(name, body) for name, body, _ in child.images(new)] == mine
    assert len(child.images(old)) == 4
    world.run(full=True, check_child=True, allow_mass_delete=True)
    assert [name for name, _, _ in child.images(old)] == ["owner.jpg"]
    made, done = world.run(full=True, check_child=True)
    assert (made.held, made.counts["remove"], done.error_count) == (0, 0, 0)
    assert (
        world.place.engine.connect().scalar(
            sa.text("SELECT count(*) FROM imagesync.moysklad_entity_map WHERE field = 'left'")
        )
        == 0
    )


def test_a_card_that_takes_over_a_code_of_the_main_account_takes_the_counterpart(world: World) -> None:
    world.sync()
    old = world.main.by_code(ONE)
    world.main.change(old.id, external_code="retired")
    world.main.add_product("the new card", ONE, images=[("new.jpg", world.pictures(TWO, MAIN)[0][1])])
    made, _ = world.run(allow_mass_delete=True)
    assert world.names(ONE) == ["new.jpg"]
    assert any("no counterpart" in warning for warning in made.result.warnings)


def test_who_finds_no_other_keeps_what_he_has_and_it_is_told(world: World) -> None:
    world.sync()
    before = shown(world, CHILD)
    world.main.change(world.main.by_code(ONE).id, external_code="corrected")
    made, _ = world.run()
    assert any("they keep theirs" in warning for warning in made.result.warnings)
    assert shown(world, CHILD) == before
    world.child().change(world.child().by_code(ONE).id, external_code="corrected")
    made, _ = world.run(full=True, check_child=True)
    assert not made.result.warnings
    assert shown(world, CHILD) == before


def test_a_full_run_asks_for_what_the_child_has_once_per_type_and_an_hourly_one_does_not(world: World) -> None:
    world.sync(full=True)
    world.count_anew()
    world.sync()
    assert world.calls(CHILD) == 0
    world.sync(full=True)
    assert world.calls(CHILD) == 3, "products, bundles and variants, fewer than 1,000 of each"


def test_a_card_that_an_excluded_product_lost_is_excluded_with_it(database: sa.Engine) -> None:
    match = {"child": CHILD, "entity_key": "product:p1", "field": "code", "value": "100"}
    images = [{"name": "ours.jpg"}]
    with database.begin() as connection:
        connection.execute(entity_map.insert().values({**match, "child_id": "c1"}))
        connection.execute(lists.insert().values(child=CHILD, entity_key="product:p1", images=images, others=0))
        pass_on(connection, CHILD, {"c1": "product:p1"}, {"c2": "product:p1"})
        connection.execute(entity_map.insert().values({**match, "child_id": "c2"}))
        assert groups_by_sku(connection, CHILD, ["100", "200"]) == [("product:p1", "100"), ("product:c1", "100")]
        assert groups_by_sku(connection, CHILD, ["200"]) == []


def test_an_entity_is_found_by_its_code_and_its_article_at_once(database: sa.Engine, tmp_path: Path) -> None:
    named = {"code": "100", "article": "A-7"}
    row = {"connector": "moysklad", "account": MAIN, "key": "product:p1", "group_key": "product:p1", "fingerprint": "f"}
    with open_world(database, tmp_path) as world:
        with database.begin() as connection:
            connection.execute(mirror.insert().values(**row, payload=named))
        context = world.child_run("run").context
        assert entities_of_skus(context, named.values()) == ("product:p1",)
        assert chosen_groups(context, named.values()) == {"product:p1"}
    assert exclude(database, Channel("moysklad", CHILD, groups_by_sku), list(named.values()), "anna") == ["100", "A-7"]


THERE = [entity("c1", code="a"), entity("c2", code="b"), entity("c3", code="c")]


@pytest.mark.parametrize(
    ("there", "moved"),
    [
        (THERE, set()),
        ([entity("c1", code="b"), entity("c2", code="a")], {"product:p1", "product:p2"}),
        ([entity("c1", code="x"), entity("c9", code="a"), entity("c2", code="b")], {"product:p1"}),
        ([entity("c9", code="a"), entity("c2", code="b")], {"product:p1"}),
        ([], set()),
        ([entity("c9", "bundle", code="a"), entity("c2", code="b")], set()),
    ],
    ids=["nothing", "swapped", "a new card", "a new card, the old one archived", "an empty list", "another type"],
)
def test_what_moved_there(there: list[Entity], moved: set[str]) -> None:
    matches = {"product:p1": Match("c1", "a"), "product:p2": Match("c2", "b")}
    assert moved_there(matches, there, "code") == moved
