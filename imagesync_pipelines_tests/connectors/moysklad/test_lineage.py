"""Whose plan and whose counts a run goes on with: those of the run that it re-executes, never a stranger's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import MAIN
from imagesync_pipelines.connectors.moysklad.apply_steps import apply_plan, fetch_content
from imagesync_pipelines.connectors.moysklad.mapping import map_entities
from imagesync_pipelines.connectors.moysklad.reading import read_main_account
from imagesync_pipelines.connectors.moysklad.settings import ChosenEntities
from imagesync_pipelines.sandbox.moysklad.making import jpeg
from imagesync_pipelines.storage.errors import NoPlanOfThisRunError
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, Done, Made, World, open_world


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> Iterator[World]:
    """A child account that shows what the main account shows; more than two removals are held back."""
    deletion_limits = {
        "deletion_limit_share": 0.1,
        "deletion_limit_count": 2,
        "deletion_limit_bare": 1,
        "deletion_limit_floor": 1,
    }
    with open_world(database, tmp_path, workers=1, shared=deletion_limits) as made:
        made.sync()
        yield made


def lose_images(world: World) -> None:
    """Three products of the main account lose their images by accident."""
    for nth in range(3):
        world.main.set_images(world.main.by_code(f"product-1-0000{nth}").id, [])


def plan(world: World, run_id: str, **options: Any) -> Made:
    """A run up to its plan."""
    run = world.child_run(run_id)
    with world.api(MAIN) as main, world.api(CHILD) as api:
        read_main_account(run.context, main, full=True)
        map_entities(run, api, ChosenEntities())
        return world.plan(run, api, main, **options)


def apply(world: World, run_id: str, *ancestors: str, plan_id: int | None = None) -> Done:
    """A run that begins with the content."""
    run = world.child_run(run_id, *ancestors)
    with world.api(MAIN) as main, world.api(CHILD) as api:
        content = fetch_content(run, main, plan_id)
        return Done(apply_plan(run, api, plan_id), content)


def count(world: World) -> int:
    """Images that the child account shows."""
    return sum(len(world.child().images(entity.id)) for entity in world.child().entities())


def test_the_last_assets_alone_are_refused_and_a_dry_run_is_carried_out_by_its_number_only(world: World) -> None:
    before = count(world)
    lose_images(world)
    look = plan(world, "looked", check_child=True, allow_mass_delete=True, dry_run=True)
    alone = world.child_run("alone")
    with world.api(MAIN) as main, world.api(CHILD) as api:
        told = f"Start the job moysklad__sync.*`imagesync apply N`.*moysklad/{CHILD} is plan {look.plan_id}"
        with pytest.raises(NoPlanOfThisRunError, match=told):
            fetch_content(alone, main)
        with pytest.raises(NoPlanOfThisRunError, match=told):
            apply_plan(alone, api)
    with pytest.raises(NoPlanOfThisRunError, match=f"made for a dry run.*`imagesync apply {look.plan_id}`"):
        apply(world, "again", "looked")
    assert count(world) == before
    done = apply(world, "a person's", plan_id=look.plan_id)
    assert done.summary.images_deleted == look.counts["remove"] == before - count(world)


def test_a_run_that_goes_on_with_a_run_that_had_the_content_tells_of_it_and_counts_its_own_calls(world: World) -> None:
    product = world.main.by_code("product-1-00000")
    world.main.set_images(
        product.id, [*((name, body) for name, body, _ in world.pictures(product, MAIN)), ("n.jpg", jpeg("n", 60))]
    )
    made = plan(world, "nightly")
    assert made.counts["add"] == 1
    with world.api(MAIN) as main, world.api(CHILD) as api:
        fetched = fetch_content(world.child_run("nightly"), main)
        before = api.calls
        done = Done(apply_plan(world.child_run("again", "nightly"), api), fetched)
        assert fetched.numbers["images/downloaded"] == 1
        assert done.summary.bytes_downloaded == fetched.numbers["bytes/downloaded"] > 0
        assert done.summary.api_calls == api.calls - before
    world.assert_same()


def test_a_plan_by_itself_is_made_from_the_mirror_without_the_warnings_of_a_strangers_reading(world: World) -> None:
    with world.api(MAIN) as main, world.api(CHILD) as api:
        made = world.plan(world.child_run("alone"), api, main)
    assert made.counts["keep"] == count(world)
    assert made.result.warnings == ()
