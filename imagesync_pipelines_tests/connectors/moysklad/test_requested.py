"""Which entities a run is about, what the queue is told of its requests, and the one reading that runs share."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.accounts.moysklad import MAIN
from imagesync_pipelines.connectors.moysklad import pictures, reading, requested, stages, telling
from imagesync_pipelines.connectors.moysklad.apply_stages import apply_plan, fetch_content
from imagesync_pipelines.connectors.moysklad.desk import MainDesk
from imagesync_pipelines.connectors.moysklad.plan_stages import make_plan
from imagesync_pipelines.connectors.moysklad.queue import NewRequest, Queue, State
from imagesync_pipelines.connectors.moysklad.reading import MainReading
from imagesync_pipelines.connectors.moysklad.sharing import read_once
from imagesync_pipelines_tests.connectors.moysklad.test_traps_of_writing import gif
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, World, open_world

FIRST, SECOND = "product-1-00000", "product-1-00001"
TYPES = ("product", "bundle", "variant")


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> Iterator[World]:
    with open_world(database, tmp_path, workers=1) as world:
        yield world


@pytest.mark.parametrize(
    ("entity_type", "entity", "types", "keys"),
    [
        pytest.param("", "", TYPES, (), id="everything"),
        pytest.param("bundle", "", ("bundle",), (), id="a type"),
        pytest.param("", "7", TYPES, ("product:7", "bundle:7", "variant:7"), id="an id"),
        pytest.param("variant", "7", ("variant",), ("variant:7",), id="both"),
    ],
)
def test_a_person_chooses_by_type_and_id(
    entity_type: str, entity: str, types: tuple[str, ...], keys: tuple[str, ...]
) -> None:
    chosen = requested.chosen(entity_type, entity)
    assert (chosen.types, chosen.keys) == (types, keys)
    assert not requested.NOTHING.has("product:7")


def work_off(world: World, run_id: str) -> None:
    """A run for what the queue has, stage by stage."""
    desk = world.desk()
    requested.take_requests(desk, run_id)
    keys = requested.requested(desk, run_id)
    chosen = stages.Chosen(keys=keys) if keys else requested.NOTHING
    with world.api(MAIN) as main, world.api(CHILD) as api:
        stages.read_main(main_desk(world), main, run_id, keys=keys)
        stages.map_entities(desk, api, run_id, chosen=chosen)
        make_plan(desk, api, main, run_id, chosen=chosen)
        fetch_content(desk, main, run_id)
        requested.settle_requests(desk, run_id, apply_plan(desk, api, run_id))


def main_desk(world: World) -> MainDesk:
    return MainDesk(world.place, world.settings, world.sandbox.clock.now)


def ask_for(world: World, *keys: str) -> Queue:
    queue = Queue(world.place.engine)
    wishes = [NewRequest(CHILD, *key.split(":"), "{}") for key in keys]
    queue.add(wishes, world.sandbox.clock.now())
    return queue


def key_of(world: World, code: str) -> str:
    return f"product:{world.main.by_code(code).id}"


def test_the_queue_is_told_what_was_done_and_why_the_rest_was_not(world: World) -> None:
    world.child().delete(world.child().by_code(SECOND).id)
    queue = ask_for(world, key_of(world, FIRST), key_of(world, SECOND), "product:gone")
    work_off(world, "one")
    assert len(world.names(FIRST)) == 3
    # None of the three is tried again: no attempt would do better.
    assert queue.view().counts == {CHILD: {State.DONE: 3}}
    assert {error.entity: error.error for error in queue.view().errors} == {
        key_of(world, SECOND): f"the child account has no product with externalCode {SECOND}",
        "product:gone": requested.NOT_IN_MAIN,
    }
    numbers = telling.queue_numbers(queue.view())
    assert numbers == {"queue/pending": 0, "queue/failed": 0, "queue/set_aside": 0}
    assert list(telling.queue_errors(queue.view())["attempts"]) == [1, 1]


def test_what_could_not_be_written_is_tried_again_with_its_reason(world: World) -> None:
    queue = ask_for(world, key_of(world, FIRST), key_of(world, SECOND))
    world.child().set_quota(0)
    work_off(world, "one")
    view = queue.view()
    assert view.counts == {CHILD: {State.PENDING: 2}}
    assert all("51003" in error.error for error in view.errors), view.errors
    world.child().set_quota(None)
    world.sandbox.clock.move(61)
    work_off(world, "two")
    assert queue.view().counts == {CHILD: {State.DONE: 2}}
    assert [len(world.names(code)) for code in (FIRST, SECOND)] == [3, 3]


def test_an_image_that_the_account_will_not_take_is_noted_and_not_tried_thrice(world: World) -> None:
    shown = [(name, body) for name, body, _ in world.pictures(FIRST, MAIN)]
    world.main.set_images(world.main.by_code(FIRST).id, [*shown, ("движение.gif", gif())])
    queue = ask_for(world, key_of(world, FIRST))
    work_off(world, "one")
    assert queue.view().counts == {CHILD: {State.DONE: 1}}
    assert "51002" in queue.view().errors[0].error


def test_an_entity_whose_images_did_not_come_is_asked_for_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key = key_of(world, FIRST)
    queue = ask_for(world, key)
    world.sync()
    read_entities = reading.read_entities

    def half(*arguments: Any, **named: Any) -> MainReading:
        return replace(read_entities(*arguments, **named), unread={key: "its images were not delivered"})

    with monkeypatch.context() as patch:
        patch.setattr(reading, "read_entities", half)
        work_off(world, "one")
    assert queue.view().counts == {CHILD: {State.PENDING: 1}}
    assert queue.view().errors[0].error == "its images were not delivered"


def test_a_run_that_finds_nothing_in_the_queue_writes_nothing(world: World) -> None:
    work_off(world, "one")
    assert world.calls(CHILD) == 0


def test_runs_that_start_together_share_one_reading_and_each_has_its_note(world: World) -> None:
    with world.api(MAIN) as main:

        def read(run_id: str) -> stages.MainNote:
            return stages.read_main(main_desk(world), main, run_id)

        first = read_once(main_desk(world), "one", "09:15", lambda: read("one"))
        second = read_once(main_desk(world), "two", "09:15", lambda: read("two"))
        assert world.calls(MAIN) == 1
        assert (first.run_id, first.calls, second.run_id, second.calls) == ("one", 1, "two", 0)
        assert second.seen == first.seen
        read_once(main_desk(world), "three", "10:15", lambda: read("three"))
        assert world.calls(MAIN) == 2


def test_pictures_of_a_plan_are_those_whose_content_is_kept(world: World) -> None:
    made, _ = world.run()
    shown, fetch = pictures.of_plan(world.desk(), made.plan_id, 4)
    assert len(shown) == 4
    bodies = {body for name, body, _ in world.pictures(FIRST, MAIN)}
    everything, _ = pictures.of_plan(world.desk(), made.plan_id, 100)
    assert bodies <= {fetch(source) for _, source in everything}
