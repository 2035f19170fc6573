"""What a child account's answers lack is doubted: nothing that we know of it is forgotten on one answer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import MAIN, Ownership
from imagesync_pipelines.connectors.moysklad.counterparts import read_map
from imagesync_pipelines.connectors.moysklad.model import NAME
from imagesync_pipelines.sandbox import faults
from imagesync_pipelines.sandbox.moysklad.making import jpeg
from imagesync_pipelines.sandbox.moysklad.model import EntityType
from imagesync_pipelines.storage.mirror import read_mirror
from imagesync_pipelines.sync import held
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, Done, World, open_world

FIRST, SECOND = "product-1-00000", "product-1-00001"
NOTHING = b'{"rows": [], "meta": {"size": 0, "limit": 100, "offset": 0}}'
LISTS = f"{CHILD} assortment"
LIMITS = {"deletion_limit_share": 0.1, "deletion_limit_floor": 1}


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> Iterator[World]:
    with open_world(database, tmp_path, shared=LIMITS) as world:
        yield world


def known(world: World) -> dict[str, str]:
    return read_map(world.place.engine, world.child_run("look").child)


def told(done: Done) -> str:
    return " ".join(done.summary.warnings)


def later(world: World, seconds: float = 660) -> None:
    world.sandbox.clock.move(seconds)


@pytest.mark.parametrize("ownership", list(Ownership))
def test_one_empty_answer_is_asked_again_and_nothing_is_told(world: World, ownership: Ownership) -> None:
    world.sync(ownership=ownership)
    before = known(world)
    world.main.set_images(world.main.by_code(FIRST).id, [("new.jpg", jpeg("new", 60))])
    world.sandbox.faults.add(faults.answer(200, NOTHING, "application/json").at(LISTS).burst(1))
    world.count_anew()
    done = world.sync(ownership=ownership, full=True, check_child=True)
    assert (known(world), done.error_count, done.summary.warnings) == (before, 0, ())
    world.assert_same()


@pytest.mark.parametrize("ownership", list(Ownership))
@pytest.mark.parametrize("status", [404, 410])
def test_a_gone_that_is_not_explained_forgets_nothing(world: World, ownership: Ownership, status: int) -> None:
    world.sync(ownership=ownership)
    before = known(world)
    world.main.set_images(world.main.by_code(FIRST).id, [("new.jpg", jpeg("new", 60))])
    world.sandbox.faults.add(faults.answer(status, b"<html>", "text/html").at(f"{CHILD} images post").burst(1))
    for full in (False, True):
        world.sync(ownership=ownership, full=full, check_child=full)
    assert known(world) == before
    world.assert_same()


@pytest.mark.parametrize("ownership", list(Ownership))
def test_an_account_that_shows_nothing_for_a_day_is_told_every_time_and_intact_when_it_shows_all_again(
    world: World, ownership: Ownership
) -> None:
    world.sync(ownership=ownership)
    before = known(world)
    world.sandbox.faults.add(faults.answer(200, NOTHING, "application/json").at(LISTS).for_good())
    for _ in range(3):
        done = world.sync(ownership=ownership, full=True, check_child=True, allow_mass_delete=True)
        assert "shows none of the entities that we know" in told(done)
        assert f"{len(before)} of moysklad/{CHILD}" in told(done)
        later(world, 43_200)
    world.sandbox.faults.clear()
    world.main.set_images(world.main.by_code(FIRST).id, [("new.jpg", jpeg("new", 60))])
    assert known(world) == before
    done = world.sync(ownership=ownership, full=True, check_child=True)
    assert done.summary.warnings == ()
    world.assert_same()


def test_two_readings_that_agree_end_a_doubt_and_what_comes_back_is_still_ours(world: World) -> None:
    world.sync()
    (bundle,), before = world.child().entities(EntityType.BUNDLE), known(world)
    entity = bundle.id
    hidden = world.child().account.entities.pop(entity)
    done = world.sync(full=True, check_child=True)
    assert "nothing is forgotten on one answer" in told(done)
    assert known(world) == before
    later(world)
    world.count_anew()
    done = world.sync()
    assert "1 entities are not in the child account any more" in told(done)
    assert world.calls(CHILD) == 2  # the second look, and whose account says so
    assert entity in before.values()
    assert entity not in known(world).values()
    assert held.undecided(world.place.engine) == []
    world.child().account.entities[entity] = hidden
    world.main.set_images(world.main.by_code(bundle.external_code).id, [("new.jpg", jpeg("new", 60))])
    world.sync()
    assert known(world) == before
    world.assert_same()


def test_more_than_the_limits_are_held_until_a_person_says_so(world: World) -> None:
    world.sync()
    before, child = known(world), world.child()
    for entity in [one for one in child.entities(EntityType.PRODUCT) if one.external_code != FIRST]:
        child.delete(entity.id)
    for _ in range(3):
        done = world.sync(full=True, check_child=True)
        later(world)
    assert "more than the deletion limits allow; nothing is forgotten" in told(done)
    assert known(world) == before
    waiting = [one.id for one in held.undecided(world.place.engine)]
    held.decide(world.place.engine, waiting, held.ALLOW, "anna")
    world.sync(full=True, check_child=True)
    assert len(known(world)) == len(before) - len(waiting)
    assert held.entries(world.place.engine) == []


def test_a_dry_run_only_looks(world: World) -> None:
    world.sync()
    world.child().delete(world.child().by_code(SECOND).id)
    run = world.child_run("dry")
    with world.api("main") as main, world.api(CHILD) as api:
        world.plan(run, api, main, check_child=True, dry_run=True)
    assert run.doubts.open() == {}
    assert held.entries(world.place.engine) == []


def live(world: World) -> set[str]:
    """The entities of the main account that we know."""
    with world.place.engine.connect() as connection:
        return set(read_mirror(connection, NAME, MAIN)["key"])


def test_a_main_account_that_lacks_much_at_once_is_looked_at_again_before_its_entities_are_gone(world: World) -> None:
    world.sync()
    before = live(world)
    lost = {key for key in before if not key.startswith("product:")}
    for key in lost:
        world.main.delete(key.partition(":")[2])
    for full in (True, True, False):
        done = world.sync(full=full)
        assert f"The main account lacks {len(lost)} entities at once" in told(done)
        assert live(world) == before
    later(world)
    world.count_anew()
    done = world.sync()
    assert world.calls(MAIN, "assortment") == 2, "the listing, and one second look"
    assert live(world) == before - lost
    assert "lacks" not in told(done)
    world.count_anew()
    assert world.sync().summary.warnings == ()
    assert world.calls() == 1, "no doubt costs nothing"
