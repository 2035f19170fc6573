"""Which entities a run is about, what the queue is told of its requests, and the one reading that runs share."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad import apply_steps, mapping, reading
from imagesync_pipelines.connectors.moysklad.accounts import MAIN
from imagesync_pipelines.connectors.moysklad.apply_steps import apply_plan, fetch_content, pictures_of_plan
from imagesync_pipelines.connectors.moysklad.child import _NOTES_OF_BEFORE, left_by
from imagesync_pipelines.connectors.moysklad.model import NAME, MainReading
from imagesync_pipelines.connectors.moysklad.plan_step import make_plan
from imagesync_pipelines.connectors.moysklad.queue import NewRequest, Queue, State
from imagesync_pipelines.connectors.moysklad.reading import read_once
from imagesync_pipelines.connectors.moysklad.settings import NOTHING, ChildPlanOptions, ChosenEntities
from imagesync_pipelines.storage.files import write_whole
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.sync.steps import StepResult, Table
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
    chosen = ChosenEntities(entity_type=entity_type, entity=entity).choice()
    assert (chosen.types, chosen.keys) == (types, keys)
    assert not NOTHING.has("product:7")


def work_off(world: World, run_id: str) -> StepResult:
    """A run for what the queue has, stage by stage."""
    run = world.child_run(run_id)
    Queue(world.place.engine).take(CHILD, run_id, world.sandbox.clock.now())
    options = ChildPlanOptions(requests=True)
    with world.api(MAIN) as main, world.api(CHILD) as api:
        reading.read_main_account(run.context, main, keys=options.of_run(run.context).keys)
        mapping.map_entities(run, api, options)
        make_plan(run, api, main, options)
        fetch_content(run, main)
        return apply_plan(run, api)


def ask_for(world: World, *keys: str) -> Queue:
    queue = Queue(world.place.engine)
    wishes = [
        NewRequest(CHILD, entity_type, entity_id, "{}") for entity_type, entity_id in (key.split(":") for key in keys)
    ]
    queue.add(wishes, world.sandbox.clock.now())
    return queue


def key_of(world: World, code: str) -> str:
    return f"product:{world.main.by_code(code).id}"


def test_the_queue_is_told_what_was_done_and_why_the_rest_was_not(world: World) -> None:
    world.child().delete(world.child().by_code(SECOND).id)
    queue = ask_for(world, key_of(world, FIRST), key_of(world, SECOND), "product:gone")
    told = work_off(world, "one")
    assert len(world.names(FIRST)) == 3
    # None of the three is tried again: no attempt would do better.
    assert queue.view().counts == {CHILD: {State.DONE: 3}}
    assert {error.entity: error.error for error in queue.view().errors} == {
        key_of(world, SECOND): f"the child account has no product with externalCode {SECOND}",
        "product:gone": apply_steps.NOT_IN_MAIN,
    }
    numbers = {name: number for name, number in told.numbers.items() if name.startswith("queue/")}
    assert numbers == {"queue/pending": 0, "queue/failed": 0, "queue/set_aside": 0}
    errors = told.shown["queue_errors"]
    assert isinstance(errors, Table)
    assert list(errors.frame["attempts"]) == [1, 1]


def test_what_could_not_be_written_is_tried_again_with_its_reason(world: World) -> None:
    queue = ask_for(world, key_of(world, FIRST), key_of(world, SECOND))
    world.child().account.quota = 0
    work_off(world, "one")
    view = queue.view()
    assert view.counts == {CHILD: {State.PENDING: 2}}
    assert all("51003" in error.error for error in view.errors), view.errors
    world.child().account.quota = None
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
        unread = {key: "its images were not delivered"}
        return read_entities(*arguments, **named).model_copy(update={"unread": unread})

    with monkeypatch.context() as patch:
        patch.setattr(reading, "read_entities", half)
        work_off(world, "one")
    assert queue.view().counts == {CHILD: {State.PENDING: 1}}
    assert queue.view().errors[0].error == "its images were not delivered"


def test_a_run_that_finds_nothing_in_the_queue_writes_nothing(world: World) -> None:
    work_off(world, "one")
    assert world.calls(CHILD) == 0


def test_runs_that_start_together_share_one_reading_and_each_has_its_own_hand_over(world: World) -> None:
    with world.api(MAIN) as main:

        def read(run_id: str, moment: str) -> MainReading:
            context = world.context(run_id)
            return read_once(context, moment, lambda: reading.read_main_account(context, main))

        first, second = read("one", "09:15"), read("two", "09:15")
        assert world.calls(MAIN) == 1
        assert (first.run_id, first.calls, second.run_id, second.calls) == ("one", 1, "two", 0)
        assert second.seen == first.seen
        read("three", "10:15")
        assert world.calls(MAIN) == 2


def test_a_full_run_that_starts_with_an_hourly_one_is_full_and_serves_both(world: World) -> None:
    with world.api(MAIN) as main:

        def read(run_id: str, *, full: bool = False, keys: Sequence[str] = ()) -> MainReading:
            context = world.context(run_id)
            fresh = partial(reading.read_main_account, context, main, full=full, keys=keys)
            return read_once(context, "02:30", fresh, full=full, keys=keys)

        reading.read_main_account(world.context("an hour ago"), main)
        assert not read("hourly").full
        everything = read("daily", full=True)
        assert everything.full
        assert everything.calls > 0
        assert read("hourly of another child").calls == 0, "what is full serves everybody"
        assert read("one", keys=[key_of(world, FIRST)]).calls > 0
        assert read("daily of another child", full=True).full, "a reading of some entities serves no full run"


def test_pictures_of_a_plan_are_those_whose_content_is_kept(world: World) -> None:
    made, _ = world.run()
    run = world.child_run("look")
    assert len(pictures_of_plan(run, made.plan_id, 4).labels) == 4
    bodies = {body for name, body, _ in world.pictures(FIRST, MAIN)}
    everything = pictures_of_plan(run, made.plan_id, 100)
    assert bodies <= {everything.fetch(source) for _, source in everything.labels}


def test_a_damaged_file_that_a_run_of_an_earlier_release_left_counts_as_none(world: World) -> None:
    context = replace(world.context("again"), lineage=Lineage("again", ("cut", "whole")))
    with world.api(MAIN) as main:
        read = reading.read_main_account(world.context("now"), main)
    folder = context.installation.storage / "notes" / NAME / context.account / _NOTES_OF_BEFORE[reading.MAIN_IMAGES]
    write_whole(folder / "cut.json", b"")
    assert left_by(context, reading.MAIN_IMAGES, MainReading) is None
    write_whole(folder / "whole.json", read.model_dump_json().encode())
    assert left_by(context, reading.MAIN_IMAGES, MainReading) == read
