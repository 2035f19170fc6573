"""An account that the earlier system filled under its own names: whose its images are, how it is brought over."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import MAIN, Ownership
from imagesync_pipelines.connectors.moysklad.mapping import map_entities
from imagesync_pipelines.connectors.moysklad.plan_step import make_plan
from imagesync_pipelines.connectors.moysklad.reading import read_main_account
from imagesync_pipelines.connectors.moysklad.settings import ChildPlanOptions, ChosenEntities
from imagesync_pipelines.sandbox.moysklad.making import catalogue, jpeg
from imagesync_pipelines.sync.model import Change
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, World, open_world

ONLY = "product-1-00000"
OLD = [(f"5f{number}_вид-{number}.jpg", jpeg(f"view {number}", 40)) for number in range(8)]
NEW = [(f"вид-{number}.jpg", body) for number, (_, body) in enumerate(OLD)]


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> Iterator[World]:
    with open_world(
        database, tmp_path, accounts=catalogue(products=1, images=1, variants=0, bundles=0, children=1)
    ) as world:
        world.main.set_images(world.main.by_code(ONLY).id, NEW)
        world.child().set_images(world.child().by_code(ONLY).id, OLD)
        yield world


@pytest.mark.parametrize("check_child", [False, True], ids=["hourly", "daily"])
def test_its_images_are_ours_by_their_bytes_and_none_is_sent_again(world: World, check_child: bool) -> None:
    done = world.sync(check_child=check_child)
    assert done.error_count == 0
    assert world.names(ONLY) == [name for name, _ in OLD]
    # Each is read once on both sides.
    assert (world.calls(CHILD, "download"), world.calls(MAIN, "download")) == (len(OLD), len(NEW))
    assert world.calls(CHILD, "images post") == 0
    assert done.summary.api_calls == world.calls()
    world.count_anew()
    world.sync(check_child=True)
    assert world.calls(CHILD, "download") == 0
    world.main.set_images(world.main.by_code(ONLY).id, NEW[:1])
    world.sync()
    assert world.names(ONLY) == [OLD[0][0]]


def test_a_mirror_s_daily_plan_names_what_goes_and_afterwards_the_account_can_be_managed(world: World) -> None:
    made, done = world.run(ownership=Ownership.MIRROR, full=True, check_child=True)
    assert len(made.plan[made.plan["key_before"].notna() | (made.plan["change"] == "remove")]) == len(OLD)
    assert done.error_count == 0
    world.assert_same()
    world.count_anew()
    assert world.sync(check_child=True).error_count == 0
    assert world.calls("child-1", "images post") == 0
    world.main.set_images(world.main.by_code(ONLY).id, NEW[:1])
    world.sync()
    assert world.names(ONLY) == [name for name, _, _ in world.pictures(ONLY, MAIN)]


def test_a_look_at_what_a_mirror_would_take_away_takes_nothing_away_when_the_account_is_managed_again(
    world: World,
) -> None:
    world.child().set_images(world.child().by_code(ONLY).id, OLD[:2])
    run = world.child_run("look", ownership=Ownership.MIRROR)
    with world.api(MAIN) as main, world.api(CHILD) as api:
        read_main_account(run.context, main)
        map_entities(run, api, ChosenEntities())
        make_plan(run, api, main, ChildPlanOptions(check_child=True))
    made, done = world.run()
    assert not (made.plan["change"] == Change.REMOVE).any()
    assert done.error_count == 0
    assert set(world.names(ONLY)) == {name for name, _ in [*OLD[:2], *NEW]}
