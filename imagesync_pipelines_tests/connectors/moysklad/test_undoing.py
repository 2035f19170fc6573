"""What a run wrote into a child account is taken back: from the content that was kept, as the account is now."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesync_pipelines.connectors.moysklad.accounts import Ownership
from imagesync_pipelines.connectors.moysklad.counterparts import groups_by_sku
from imagesync_pipelines.connectors.moysklad.model import ChildRecord, Managed
from imagesync_pipelines.connectors.moysklad.shown import pictures_of
from imagesync_pipelines.connectors.moysklad.undoing import NOT_KEPT, make_undo_plan, plan_reversal
from imagesync_pipelines.sandbox.moysklad.making import catalogue, jpeg
from imagesync_pipelines.sandbox.moysklad.mutation import mutate
from imagesync_pipelines.storage.contents import Content, Contents
from imagesync_pipelines.storage.effects import effects_of_run
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.excluding import Channel, exclude
from imagesync_pipelines.sync.frames import row_frame
from imagesync_pipelines.sync.model import DeletionLimits
from imagesync_pipelines.sync.steps import StepResult
from imagesync_pipelines.sync.undo import Reversal
from imagesync_pipelines.sync.undoing import TakeAwayOptions, UndoOptions, UndoRefusedError
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, World, open_world

OWN = jpeg("own", 50)


def planned(world: World, run: str, *skus: str, ownership: Ownership = Ownership.MANAGED) -> tuple[StepResult, int]:
    """Plan to take a run back; gives the plan's number, 0 where there is nothing to do."""
    of = world.child_run(f"run-{next(world.numbers)}", ownership=ownership)
    with world.api(CHILD) as api:
        result = make_undo_plan(of, api, UndoOptions(run=run, skus=list(skus)))
    return result, int(str(result.shown.get("plan_id", 0)))


def undone(world: World, run: str, *, ownership: Ownership = Ownership.MANAGED) -> str:
    """Take a run back; gives the run that did it, '' where nothing was to be done."""
    _, number = planned(world, run, ownership=ownership)
    if not number:
        return ""
    done = world.apply(number, ownership=ownership)
    assert done.error_count == 0, done.result.warnings
    return newest(world)


def newest(world: World) -> str:
    """The run that changed something last."""
    with world.place.engine.connect() as connection:
        return str(connection.scalar(sa.text("SELECT run_id FROM imagesync.effect ORDER BY id DESC LIMIT 1")))


def shown(world: World) -> Mapping[str, Sequence[tuple[str, bytes]]]:
    """What every entity of the child account shows."""
    codes = [entity.external_code for entity in world.main.entities()]
    return {code: [(name, body) for name, body, _ in world.pictures(code)] for code in codes}


def test_a_run_is_taken_back_with_a_read_of_all_entities_a_write_of_each_and_no_call_of_the_main_account(
    database: sa.Engine, tmp_path: Path
) -> None:
    with open_world(database, tmp_path) as world:
        world.sync()
        before = shown(world)
        first, second, third = (entity.id for entity in world.main.entities()[:3])
        mutate(world.main, "add_image", entity=first)
        mutate(world.main, "replace_image", entity=second)
        mutate(world.main, "remove_image", entity=second, place=1)
        mutate(world.main, "remove_images", entity=third)
        world.sync()
        after, run = shown(world), newest(world)
        world.count_anew()
        made, number = planned(world, run)
        assert (world.calls(CHILD), world.calls()) == (1, 1)
        assert str(made.shown["cost"]).startswith("4 calls (3 writes and 1 reads there, 0 downloads")
        assert made.shown["apply_it_with"] == f"imagesync apply {number}"
        plans = Plans(world.place.engine, world.place.storage)
        going = plans.load(number).query("change == 'remove'")
        rows = [{str(name): value for name, value in row.items()} for row in going.to_dict("records")]
        pictures = pictures_of(world.place.engine, world.place.storage, plans.header(number), rows)
        assert [one.size for one in pictures] == ["2 kB"], "of what goes, too"
        world.count_anew()
        assert world.apply(number).error_count == 0
        assert (world.calls(CHILD), world.calls()) == (4, 4)
        assert shown(world) == before
        back = newest(world)
        world.count_anew()
        done = world.sync(full=True, check_child=True)
        assert world.calls(CHILD, "images post") == 0, "no synchronisation does it again"
        assert not done.result.warnings
        undone(world, back)
        assert shown(world) == after
        assert held.entries(world.place.engine) == []
        world.assert_same()


def own_image_in_mirror(world: World) -> tuple[str, list[tuple[str, bytes]]]:
    """The owner of a mirror puts an image between ours of its first entity; the code of that, and what is ours."""
    world.sync(ownership=Ownership.MIRROR)
    child, code = world.child(), world.main.entities()[0].external_code
    there = [(name, body) for name, body, _ in world.pictures(code)]
    child.set_images(child.by_code(code).id, [there[0], ("own.jpg", OWN), *there[1:]])
    return code, there


def test_an_image_of_a_mirrors_owner_comes_back_as_his(database: sa.Engine, tmp_path: Path) -> None:
    mirror = Ownership.MIRROR
    with open_world(database, tmp_path) as world:
        own_image_in_mirror(world)
        before = shown(world)
        world.sync(ownership=mirror, full=True, check_child=True)
        world.assert_same()
        undone(world, newest(world), ownership=mirror)
        assert shown(world) == before
        world.sync(ownership=mirror, full=True, check_child=True)
        assert shown(world) == before, "it is kept, though the main account does not have it"


def test_what_the_owner_of_a_mirror_added_to_an_excluded_entity_stays(database: sa.Engine, tmp_path: Path) -> None:
    mirror = Ownership.MIRROR
    with open_world(database, tmp_path) as world:
        code, there = own_image_in_mirror(world)
        before, of = shown(world), world.child_run(f"run-{next(world.numbers)}", ownership=mirror)
        exclude(database, Channel("moysklad", CHILD, groups_by_sku), [code], "anna")
        with world.api(CHILD) as api:
            result = make_undo_plan(of, api, TakeAwayOptions(skus=[code]))
        done = world.apply(int(str(result.shown["plan_id"])), ownership=mirror)
        assert (done.error_count, done.summary.images_deleted) == (0, len(there))
        assert shown(world) == {**before, code: [("own.jpg", OWN)]}
        undone(world, newest(world), ownership=mirror)
        assert shown(world) == before


def test_what_is_not_kept_is_told_and_costs_no_other(database: sa.Engine, tmp_path: Path) -> None:
    with open_world(database, tmp_path) as world:
        world.sync()
        first, second = (entity for entity in world.main.entities()[:2])
        gone, was = world.pictures(first)[0], world.names(second)
        mutate(world.main, "remove_image", entity=first.id, place=0)
        mutate(world.main, "remove_image", entity=second.id, place=0)
        world.sync()
        contents = Contents(world.place.engine, world.place.storage)
        (row,) = [one for one in effects_of_run(world.place.engine, newest(world)) if one.group.endswith(first.id)]
        assert row.rows[0].before is not None
        sha256 = row.rows[0].before["sha256"]
        with world.place.engine.begin() as connection:
            connection.execute(sa.text("DELETE FROM imagesync.image_content WHERE sha256 = :one"), {"one": sha256})
        assert contents.find_bytes({sha256}) == {}
        result, number = planned(world, newest(world))
        assert f"1 image cannot be brought back: {row.rows[0].key}: {NOT_KEPT}." in result.warnings
        assert world.apply(number).error_count == 0
        assert gone[0] not in world.names(first)
        assert world.names(second) == was


def test_what_others_changed_since_is_left_alone_and_unknown_runs_and_skus_are_refused(
    database: sa.Engine, tmp_path: Path
) -> None:
    with open_world(database, tmp_path) as world:
        world.sync()
        first, second = (entity for entity in world.main.entities()[:2])
        before = shown(world)
        for one in (first, second):
            mutate(world.main, "add_image", entity=one.id)
        world.sync()
        run, child = newest(world), world.child()
        entity = child.by_code(first.external_code)
        child.set_images(entity.id, [(name, body) for name, body, _ in world.pictures(first)][:-1])
        result, number = planned(world, run)
        (warning,) = result.warnings
        assert warning.startswith("1 entity is left as it is:")
        assert "was changed since by somebody else" in warning
        assert world.apply(number).error_count == 0
        assert shown(world) == before
        with pytest.raises(UndoRefusedError, match="Nothing is known of what run other changed here"):
            planned(world, "other")
        with pytest.raises(UndoRefusedError, match="No entity was found in child-1 by externalCode none"):
            planned(world, run, "none")


def test_an_undo_whose_answer_nobody_heard_is_marked_when_it_is_read(database: sa.Engine, tmp_path: Path) -> None:
    with open_world(database, tmp_path, tries=1) as world:
        world.sync()
        before = shown(world)
        first, second = (entity.id for entity in world.main.entities()[:2])
        for one in (first, second):
            mutate(world.main, "add_image", entity=one)
        world.sync()
        run = newest(world)
        _, number = planned(world, run)
        world.sandbox.lost.lose(f"{CHILD} images post")
        assert world.apply(number).summary.unknown == 1
        assert len(held.entries(world.place.engine)) == 1
        result, again = planned(world, run)
        assert (result.shown["taken_back_before"], again) == (2, 0)
        assert len(held.entries(world.place.engine)) == 2
        assert shown(world) == before
        world.count_anew()
        world.sync(full=True, check_child=True)
        assert world.calls(CHILD, "images post") == 0


def test_an_addition_that_the_limits_do_not_let_go_stays_beside_what_comes_back() -> None:
    groups, body = [f"product:{number}" for number in range(30)], Content("JPEG", 9, 9, "sha256", "kept", 9)
    records = {
        group: ChildRecord(
            tuple(Managed(f"{name}{group}", f"id {name}", f"{name}.jpg", 9) for name in ("new", "added"))
        )
        for group in groups
    }
    old = [(f"{group}#old{group}#0", group, 0, f"old{group}", None) for group in groups]
    values = {key: {"sha256": body.sha256, "name": "old.jpg"} for key, *_ in old}
    plan = plan_reversal(
        Reversal(row_frame(old), values, {}, {}),
        groups,
        {group: f"child {group}" for group in groups},
        records,
        {},
        {body.sha256: body},
        DeletionLimits(share=0.1, count=1_000, bare=50, floor=10, replaced_floor=100),
    )
    assert len(plan.held) == 30
    shown = {tuple(image.filename for image in task.images) for task in plan.tasks.values()}
    assert (len(plan.tasks), shown) == (30, {("old.jpg", "added.jpg")})
    assert {len(task.images) for task in plan.if_approved.values()} == {1}


NAMES = "abcdef"
LISTS = st.tuples(*[st.lists(st.sampled_from(NAMES), unique=True, max_size=5)] * 2)
CLEAN = "TRUNCATE imagesync.effect, imagesync.held"


@pytest.fixture
def small(database: sa.Engine, tmp_path: Path) -> object:
    with open_world(database, tmp_path, accounts=catalogue(products=2, images=1, variants=0, bundles=0)) as world:
        yield world


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=5, deadline=None)
@given(
    first=LISTS, second=LISTS, gone=st.none() | st.tuples(st.integers(0, 1), st.sampled_from(NAMES)), own=st.booleans()
)
def test_the_law(
    small: World,
    first: Sequence[Sequence[str]],
    second: Sequence[Sequence[str]],
    gone: tuple[int, str] | None,
    own: bool,
) -> None:
    """Sync, the owner changes something, undo: as before but for that; undo of the undo: as after the sync."""
    world, codes = small, [entity.external_code for entity in small.main.entities()]
    child, full = world.child(), {"full": True, "check_child": True}

    def give(lists: Sequence[Sequence[str]]) -> None:
        for code, names in zip(codes, lists, strict=True):
            made = [(f"{name}.jpg", jpeg(f"{code}{name}", 40)) for name in names]
            world.main.set_images(world.main.by_code(code).id, made)

    def names(code: str) -> list[str]:
        return [name.removesuffix(".jpg") for name in world.names(code)]

    for code in codes:
        child.set_images(child.by_code(code).id, [])
    with world.place.engine.begin() as connection:
        connection.execute(sa.text(CLEAN))
    give(first)
    world.sync(**full)
    give(second)
    with world.place.engine.begin() as connection:
        connection.execute(sa.text(CLEAN))
    world.sync(**full)
    if not (run := newest(world)).startswith("run-"):
        return
    after = {code: names(code) for code in codes}
    touched = {row.key.split("#")[1] for one in effects_of_run(world.place.engine, run) for row in one.rows}
    refused, left = set[str](), {code: set[str]() for code in codes}
    for at, code in enumerate(codes):
        there = world.pictures(code)
        if gone is not None and gone[0] == at and gone[1] in after[code]:
            left[code] = {gone[1]}
            ids = {name: image_id for name, _, image_id in world.pictures(code, "main")}
            refused |= {code} if ids[f"{gone[1]}.jpg"] in touched else set()
        kept = [(name, body) for name, body, _ in there if name.removesuffix(".jpg") not in left[code]]
        if own or left[code]:
            child.set_images(child.by_code(code).id, [*kept, *([("own.jpg", OWN)] if own else [])])
    between = {code: [name for name in names(code) if name != "own"] for code in codes}

    def assert_shows(lists: Mapping[str, Sequence[str]]) -> None:
        for code in codes:
            wanted = between[code] if code in refused else [name for name in lists[code] if name not in left[code]]
            assert [name for name in names(code) if name != "own"] == wanted
            assert ("own" in names(code)) is own

    back, before = undone(world, run), {code: list(was) for code, was in zip(codes, first, strict=True)}
    assert_shows(before)
    if gone is None and not own:
        world.sync(**full)
        assert_shows(before)
    if back:
        undone(world, back)
        assert_shows(after)
        assert held.entries(world.place.engine) == []
