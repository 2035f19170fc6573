"""Removals that follow from an account's mode or ownership are counted, told, and pass the deletion limits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import Mode, Ownership
from imagesync_pipelines.sandbox.moysklad.making import jpeg
from imagesync_pipelines.sync.model import Change
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, World, open_world

LOW = {"deletion_limit_share": 0.1, "deletion_limit_count": 3, "deletion_limit_bare": 1, "deletion_limit_floor": 1}
COMMAND = "`imagesync apply {}`"


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> Iterator[World]:
    with open_world(database, tmp_path, shared=LOW) as made:
        yield made


def owners(world: World) -> int:
    """How many images of its owner the child account shows."""
    child = world.child()
    return sum(name.startswith("own") for one in child.entities() for name, _, _ in child.images(one.id))


def give_owners(world: World, each: int) -> int:
    """Every entity of the child account gets images of its owner; how many these are in all."""
    child = world.child()
    for one in child.entities():
        child.set_images(one.id, [(f"own{n}.jpg", jpeg(f"own{n}{one.id}", 40)) for n in range(each)])
    return owners(world)


def shown(world: World) -> int:
    """How many images the child account shows."""
    child = world.child()
    return sum(len(child.images(one.id)) for one in child.entities())


@pytest.mark.parametrize("ownership", list(Ownership))
@pytest.mark.parametrize("full", [False, True])
def test_from_all_to_first_stops_at_the_limit_and_names_the_command(
    world: World, ownership: Ownership, full: bool
) -> None:
    world.sync(ownership=ownership)
    before = shown(world)
    leaving = before - len([one for one in world.main.entities() if world.main.images(one.id)])
    for _ in range(2):
        made, done = world.run(ownership=ownership, mode=Mode.FIRST, full=full, check_child=full)
        assert (made.held, done.summary.held_back, done.summary.images_deleted) == (leaving, leaving, 0)
        assert shown(world) == before
        assert any("removals are held back" in warning for warning in done.summary.warnings)
        assert any(COMMAND.format(made.plan_id) in warning for warning in done.summary.warnings)
    world.count_anew()
    done = world.apply(made.plan_id, ownership=ownership, mode=Mode.FIRST)
    assert str(made.result.shown["cost"]).endswith(f"; with what the limits hold back {world.calls(CHILD)} calls.")
    assert (done.summary.images_deleted, done.summary.held_back) == (leaving, 0)
    assert "held back" not in " ".join(done.summary.warnings)
    world.assert_same(first=True)


@pytest.mark.parametrize("ownership", list(Ownership))
def test_with_the_limits_lifted_the_removals_happen_and_are_counted(world: World, ownership: Ownership) -> None:
    world.sync(ownership=ownership)
    before = shown(world)
    made, done = world.run(ownership=ownership, mode=Mode.FIRST, allow_mass_delete=True)
    world.assert_same(first=True)
    gone = before - shown(world)
    assert gone > LOW["deletion_limit_count"]
    assert made.counts[Change.REMOVE] == done.summary.images_deleted == gone
    assert set(made.plan.loc[made.plan["change"] == Change.REMOVE, "reason"]) == {"the account's mode has it left out"}
    assert world.sync(ownership=ownership, mode=Mode.FIRST).summary.warnings == ()


def test_the_first_write_of_a_mirror_stops_at_the_limit_and_keeps_what_the_owner_has(world: World) -> None:
    total = give_owners(world, 5)
    made, done = world.run(ownership=Ownership.MIRROR)
    assert owners(world) == total
    assert done.summary.held_back == made.held > 0
    assert any(COMMAND.format(made.plan_id) in warning for warning in done.summary.warnings)
    again, done = world.run(ownership=Ownership.MIRROR)
    done = world.apply(again.plan_id, ownership=Ownership.MIRROR)
    assert (done.summary.images_deleted, owners(world)) == (again.held, 0)
    world.assert_same()


def test_what_a_mirror_takes_from_its_owner_is_counted_in_plan_and_report(world: World) -> None:
    total = give_owners(world, 5)
    made, done = world.run(ownership=Ownership.MIRROR, allow_mass_delete=True)
    world.assert_same()
    counts = made.counts
    assert (
        total
        == counts[Change.REMOVE]
        == done.summary.images_deleted
        == sum(number for name, number in done.result.numbers.items() if name.endswith("/deleted"))
    )


def test_a_mirror_whose_account_is_empty_costs_the_one_look_before_it_is_written(world: World) -> None:
    made, _ = world.run(ownership=Ownership.MIRROR)
    world.assert_same()
    assert world.calls(CHILD, "assortment") == 1
    assert made.counts[Change.REMOVE] == 0
    world.sync(ownership=Ownership.MIRROR)
    assert world.calls(CHILD, "assortment") == 1


def test_a_mirror_s_lists_are_read_for_its_first_plan_and_before_they_are_written(world: World) -> None:
    give_owners(world, 1)
    world.sync(ownership=Ownership.MIRROR, allow_mass_delete=True)
    assert world.calls(CHILD, "assortment") == 2
    world.sync(ownership=Ownership.MIRROR)
    assert world.calls(CHILD, "assortment") == 2


@pytest.mark.parametrize("bulk", [False, True])
def test_what_a_mirror_s_owner_added_since_is_planned_and_passes_the_limits_before_it_goes(
    world: World, bulk: bool
) -> None:
    options: dict[str, Any] = {"ownership": Ownership.MIRROR, "bulk_first_fill": bulk}
    world.sync(**options)
    child, main = world.child(), world.main
    for handle, name in ((child, "own.jpg"), (main, "new.jpg")):
        for one in handle.entities():
            shown = [(there, body) for there, body, _ in handle.images(one.id)]
            handle.set_images(one.id, [*shown, (name, jpeg(name + one.id, 40))])
    total = owners(world)
    world.count_anew()
    made, done = world.run(**options)
    assert (owners(world), done.summary.images_deleted, done.error_count) == (total, 0, 0)
    assert any(f"{total} images that the owner of {CHILD} added" in warning for warning in done.summary.warnings)
    assert world.calls(CHILD, "assortment") == 1
    made, done = world.run(**options)
    assert (made.held, done.summary.held_back, owners(world)) == (total, total, total)
    assert any(COMMAND.format(made.plan_id) in warning for warning in done.summary.warnings)
    done = world.apply(made.plan_id, **options)
    assert (done.summary.images_deleted, owners(world)) == (total, 0)
    world.assert_same()


def test_replacements_above_their_limit_stay_as_they_are_until_a_person_applies_them(
    database: sa.Engine, tmp_path: Path
) -> None:
    shared = {**LOW, "replacement_limit_share": 0.1, "replacement_limit_floor": 1}
    with open_world(database, tmp_path, shared=shared) as world:
        world.sync()
        child, main = world.child(), world.main
        before = {one.id: child.images(one.id) for one in child.entities()}
        replaced = 0
        for one in main.entities():
            there = main.images(one.id)
            main.set_images(one.id, [(f"new{n}.jpg", jpeg(f"new{n}{one.id}", 60)) for n in range(len(there))])
            replaced += len(there)
        for full in (False, True):
            made, done = world.run(full=full, check_child=full)
            assert (made.held, made.counts[Change.ADD], done.summary.images_updated) == (replaced, 0, 0)
            assert {one.id: child.images(one.id) for one in child.entities()} == before
        done = world.apply(made.plan_id)
        assert (done.summary.images_updated, done.summary.held_back) == (replaced, 0)
        world.assert_same()
