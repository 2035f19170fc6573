"""An image that an account will not take is not sent by every run again, and is never forgotten."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import MAIN
from imagesync_pipelines.sandbox.moysklad.making import catalogue, jpeg
from imagesync_pipelines.storage.quarantine import QuarantineTable
from imagesync_pipelines_tests.connectors.moysklad.test_traps_of_writing import gif
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, World, open_world

ONLY = "product-1-00000"
GOOD, BAD = ("вид.jpg", jpeg("view", 40)), ("движение.gif", gif())


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> Iterator[World]:
    with open_world(database, tmp_path, accounts=catalogue(products=1, images=1, variants=0, children=1)) as world:
        world.main.set_images(world.main.by_code(ONLY).id, [GOOD, BAD])
        world.sync()
        world.count_anew()
        yield world


def test_it_is_sent_again_by_the_daily_run_only_and_told_by_all(world: World) -> None:
    assert world.names(ONLY) == ["вид.jpg"]
    again = world.sync()
    assert (world.calls(CHILD), again.summary.failed) == (0, 0)
    assert any("движение.gif" in why and "51002" in why for why in again.skipped)
    assert any("движение.gif" in warning for warning in again.summary.warnings)
    assert world.sync(check_child=True).summary.failed == 1
    assert world.calls(CHILD, "images post") > 0


@pytest.mark.parametrize("ask", [QuarantineTable.drop, QuarantineTable.ask_again])
def test_it_is_sent_again_when_a_person_drops_it_from_the_quarantine_or_asks_for_it(
    database: sa.Engine, world: World, ask: Callable[[QuarantineTable, list[int]], int]
) -> None:
    quarantine = QuarantineTable(database, f"moysklad/{CHILD}")
    (entry,) = quarantine.list()
    assert ask(quarantine, [entry.id]) == 1
    assert world.sync().summary.failed == 1
    assert [(one.stage, one.key) for one in quarantine.list()] == [(entry.stage, entry.key)]


def test_what_is_asked_for_and_taken_leaves_the_quarantine(database: sa.Engine, world: World) -> None:
    quarantine = QuarantineTable(database, f"moysklad/{CHILD}")
    world.sandbox.switches.other_formats = True
    assert world.sync().summary.images_added == 0, "nobody asked for it"
    assert quarantine.ask_again() == 1
    assert world.sync().summary.images_added == 1
    world.assert_same()
    assert quarantine.list() == []


def test_another_image_in_its_place_is_sent_at_once_and_what_is_gone_leaves_the_quarantine(
    database: sa.Engine, world: World
) -> None:
    other = ("другой.jpg", jpeg("other", 40))
    world.main.set_images(world.main.by_code(ONLY).id, [other, GOOD])
    assert world.sync().error_count == 0
    world.assert_same()
    assert QuarantineTable(database, f"moysklad/{CHILD}").list() == []


def test_an_image_that_it_was_to_replace_stays_while_nothing_else_is_there(world: World) -> None:
    world.main.set_images(world.main.by_code(ONLY).id, [BAD])
    for _ in range(2):
        world.sync()
        assert world.names(ONLY) == ["вид.jpg"]
    assert [name for name, _, _ in world.pictures(ONLY, MAIN)] == ["движение.gif"]
