"""Whole runs for a child account, without Dagster: what arrives there, what stays, and what it costs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import MAIN, Mode, Ownership
from imagesync_pipelines.sandbox.moysklad.making import jpeg
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, World, open_world

FIRST = "product-1-00000"


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> Iterator[World]:
    with open_world(database, tmp_path) as world:
        yield world


@pytest.mark.parametrize("ownership", list(Ownership))
def test_every_image_arrives_in_order_and_a_second_run_writes_nothing(world: World, ownership: Ownership) -> None:
    done = world.sync(ownership=ownership)
    world.assert_same()
    assert (done.summary.images_added, done.error_count) == (21, 0)
    world.count_anew()
    again = world.sync(ownership=ownership)
    assert (again.summary.images_added, again.summary.images_updated, again.summary.images_deleted) == (0, 0, 0)
    assert world.calls(CHILD) == 0
    assert world.calls(MAIN) == 1


def test_what_changed_in_the_main_account_arrives_with_the_least_calls(world: World) -> None:
    world.sync()
    pictures = [(name, body) for name, body, _ in world.pictures(FIRST, MAIN)]
    new = ("новая.jpg", jpeg("new", 80))
    world.main.set_images(world.main.by_code(FIRST).id, [pictures[2], new, pictures[0]])
    world.count_anew()
    done = world.sync(ownership=Ownership.MIRROR)
    world.assert_same()
    assert world.calls(MAIN, "download") == 1
    # A look at what is there, and the list.
    assert world.calls(CHILD) == 2
    assert done.error_count == 0


def test_a_switch_from_all_to_first_leaves_one_image_each(world: World) -> None:
    world.sync()
    done = world.sync(mode=Mode.FIRST)
    world.assert_same(first=True)
    assert done.summary.images_deleted == 14
    world.sync(mode=Mode.ALL)
    world.assert_same()
