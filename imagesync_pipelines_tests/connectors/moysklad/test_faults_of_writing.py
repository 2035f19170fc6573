"""Faults while a child account is written: after each the next run converges, nothing doubles, nothing is left bare."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad import writing
from imagesync_pipelines.connectors.moysklad.accounts import MAIN, Ownership
from imagesync_pipelines.connectors.moysklad.child import ChildRun
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.sandbox.faults import Lost, answer
from imagesync_pipelines.sandbox.moysklad.hosts import STORAGE
from imagesync_pipelines.sandbox.moysklad.making import catalogue, jpeg
from imagesync_pipelines.storage.contents import Contents
from imagesync_pipelines.storage.outbox import Intent
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, World, open_world
from imagesync_pipelines_tests.sandbox.mishaps import file_storage_unavailable

FIRST, SECOND = "product-1-00000", "product-1-00001"
WRITES = f"{CHILD} images post"


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> Iterator[World]:
    accounts = catalogue(products=3, images=3, variants=1, bundles=0, children=1)
    with open_world(database, tmp_path, accounts=accounts, workers=1) as world:
        yield world


def change(world: World) -> None:
    """Replace, add and reorder in the main account."""
    pictures = [(name, body) for name, body, _ in world.pictures(FIRST, MAIN)]
    new = [(f"новая-{number}.jpg", jpeg(f"new {number}", 60)) for number in range(2)]
    world.main.set_images(world.main.by_code(FIRST).id, [new[0], pictures[2], pictures[0], new[1]])


@pytest.mark.parametrize("ownership", list(Ownership))
@pytest.mark.parametrize("how", list(Lost))
def test_an_answer_that_is_lost_after_the_write_doubles_nothing(world: World, how: Lost, ownership: Ownership) -> None:
    world.sandbox.lost.lose(WRITES, how, times=2)
    first = world.sync(ownership=ownership)
    assert first.summary.unknown == 6
    world.count_anew()
    again = world.sync(ownership=ownership)
    assert again.error_count == 0
    assert world.calls(CHILD, "images post") == 0
    change(world)
    world.sandbox.lost.lose(WRITES, how)
    assert world.sync(ownership=ownership).summary.unknown > 0
    world.sync(ownership=ownership)
    world.assert_same()


@pytest.mark.parametrize("how", list(Lost))
def test_a_clearing_whose_answer_is_lost_is_settled_by_the_next_run(world: World, how: Lost) -> None:
    world.sync()
    world.main.set_images(world.main.by_code(FIRST).id, [])
    world.sandbox.lost.lose(f"{CHILD} put", how)
    assert world.sync().summary.unknown == 3
    assert world.names(FIRST) == []
    assert world.sync().error_count == 0
    world.assert_same()


def test_what_a_lost_write_put_there_is_ours_although_the_main_account_has_moved_on(world: World) -> None:
    world.sandbox.lost.lose(WRITES)
    world.sync()
    for found in world.main.entities():
        world.main.set_images(found.id, [(f"{found.external_code}.jpg", jpeg(found.external_code, 60))])
    world.sync()
    world.assert_same()


@pytest.mark.parametrize("bulk", [False, True], ids=["one by one", "bulk"])
def test_an_entity_that_is_deleted_during_the_run_is_told_and_given_up_after_a_second_look(
    world: World, bulk: bool
) -> None:
    child = world.child()
    gone = child.by_code(SECOND).id
    door = f"{CHILD} bulk" if bulk else WRITES
    world.sandbox.moments.before(door, lambda: child.delete(gone))
    done = world.sync(ownership=Ownership.MIRROR, bulk_first_fill=bulk)
    assert done.summary.failed == 3
    assert any("nothing is forgotten on one answer" in warning for warning in done.summary.warnings)
    world.sandbox.clock.move(660)
    assert world.sync(ownership=Ownership.MIRROR, bulk_first_fill=bulk).error_count == 0
    again = world.sync(ownership=Ownership.MIRROR, bulk_first_fill=bulk)
    assert again.error_count == 0
    assert any("have no counterpart" in warning for warning in again.summary.warnings)


def test_a_full_storage_ends_the_account_s_run_and_the_next_goes_on(world: World) -> None:
    world.child().account.quota = 2500
    done = world.sync()
    assert "51003" in str(done.result.shown["stopped"])
    assert done.summary.refused > 0
    world.child().account.quota = None
    world.sync()
    world.assert_same()


def test_a_storage_that_is_away_for_a_moment_is_asked_again(world: World) -> None:
    world.sandbox.faults.add(file_storage_unavailable(WRITES))
    assert world.sync().error_count == 0
    world.assert_same()


@pytest.mark.parametrize(("times", "failed"), [(1, 0), (2, 1)], ids=["once", "also when asked for again"])
def test_a_link_that_expires_costs_one_more_call_or_that_image_until_the_next_run(
    world: World, times: int, failed: int
) -> None:
    world.sandbox.faults.add(*[answer(403, b"<Error><Code>AccessDenied</Code></Error>").at(STORAGE)] * times)
    done = world.sync()
    assert (done.summary.failed, done.summary.images_added) == (failed, 12 - failed)
    assert world.calls(MAIN, "download") == 12 + 1
    assert world.sync().error_count == 0
    world.assert_same()


def test_a_change_by_somebody_in_the_same_moment_is_read_and_written_again(world: World) -> None:
    world.sync()
    change(world)
    own = ("своё.jpg", jpeg("own", 60))
    child = world.child()

    def add_one() -> None:
        shown = [(name, body) for name, body, _ in world.pictures(FIRST)]
        child.set_images(child.by_code(FIRST).id, [*shown[1:], own])

    # Ours that is to stay is gone when the list is written: its name is refused.
    world.sandbox.moments.before(WRITES, add_one)
    world.sync()
    world.sync(check_child=True)
    assert set(world.names(FIRST)) >= {name for name, _, _ in world.pictures(FIRST, MAIN)}
    assert len(world.names(FIRST)) == len(set(world.names(FIRST)))


EFFECTS: list[tuple[type, str, bool]] = [
    (ChildRun, "begin", False),
    (ChildRun, "begin", True),
    (ChildRun, "begin_list", False),
    (ChildRun, "begin_list", True),
    (MoyskladApi, "set_images", False),
    (MoyskladApi, "set_images", True),
    (ChildRun, "note", False),
    (ChildRun, "note", True),
    (ChildRun, "close", False),
    (ChildRun, "close", True),
    (Contents, "put", True),
]


class Killed(BaseException):
    """What ends a process at once."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name", "after"), EFFECTS, ids=[f"{o.__name__}.{n}{'+' if a else '-'}" for o, n, a in EFFECTS]
)
def test_a_run_that_is_killed_at_any_effect_is_finished_by_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, after: bool
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killing(getattr(owner, name), at=2, after=after))
        with pytest.raises(Killed):
            world.sync()
    done = world.sync()
    assert done.error_count == 0
    world.assert_same()


def killing(effect: Callable[..., object], *, at: int, after: bool) -> Callable[..., object]:
    """The effect, which ends everything at its n-th call, before or after it happened."""
    calls = 0

    def maybe(*arguments: object, **named: object) -> object:
        nonlocal calls
        calls += 1
        if calls >= at and not after:
            raise Killed
        result = effect(*arguments, **named)
        if calls >= at:
            raise Killed
        return result

    return maybe


def test_bulk_fills_in_few_calls_and_a_refused_image_costs_only_itself(world: World) -> None:
    world.count_anew()
    done = world.sync(ownership=Ownership.MIRROR, bulk_first_fill=True)
    world.assert_same()
    assert (world.calls(CHILD, "bulk"), world.calls(CHILD, "images post")) == (2, 0)
    assert (done.summary.images_added, done.result.numbers["api/bulk_requests"]) == (12, 2)


def test_what_the_owner_adds_while_a_bulk_request_is_made_ready_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, own = ChildRun.begin, ("своя.jpg", jpeg("own", 60))

    def late(child: ChildRun, intent: Intent) -> None:
        """The first of the portion's intents takes so long that the lists which were read are old."""
        if "своя.jpg" not in world.names(FIRST):
            world.child().set_images(world.child().by_code(FIRST).id, [own])
            world.sandbox.clock.move(31)
        begin(child, intent)

    monkeypatch.setattr(ChildRun, "begin", late)
    done = world.sync(bulk_first_fill=True)
    assert done.error_count == 0
    assert world.names(FIRST) == ["своя.jpg", *(name for name, _, _ in world.pictures(FIRST, MAIN))]
    assert world.calls(CHILD, "bulk") == 2
    assert world.calls(CHILD, "images post") == 1, "its own write, with what the owner has"


def test_a_bulk_answer_that_is_lost_or_mixed_is_settled(world: World) -> None:
    world.sandbox.lost.lose(f"{CHILD} bulk")
    world.sandbox.switches.image_megabytes = 0.009
    first = world.main.by_code(FIRST)
    world.main.set_images(first.id, [("большой.jpg", jpeg("large", 900)), ("малый.jpg", jpeg("small", 40))])
    world.sync(bulk_first_fill=True)
    world.sync(bulk_first_fill=True)
    done = world.sync(bulk_first_fill=True)
    assert (done.summary.unknown, done.summary.failed) == (0, 0)
    assert world.names(FIRST) == ["малый.jpg"]
    assert world.names(SECOND) == [name for name, _, _ in world.pictures(SECOND, MAIN)]


@pytest.mark.parametrize("ownership", list(Ownership))
def test_a_list_of_more_than_a_request_grows_in_parts(
    world: World, monkeypatch: pytest.MonkeyPatch, ownership: Ownership
) -> None:
    pictures = [(f"большая-{number}.jpg", jpeg(f"big {number}", 60)) for number in range(9)]
    most = 4 * len(pictures[0][1])
    monkeypatch.setattr(writing.packed, "__defaults__", (most + 2500,))
    world.main.set_images(world.main.by_code(FIRST).id, pictures)
    lengths: list[int] = []
    set_images = MoyskladApi.set_images

    def noted(*arguments: object) -> object:
        rows = set_images(*arguments)  # type: ignore[arg-type]
        lengths.append(len(rows))
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(MoyskladApi, "set_images", noted)
        world.sync(ownership=ownership)
    world.assert_same()
    assert lengths.count(9) == 1
    assert len(lengths) > 4
