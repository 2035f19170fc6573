"""What a naive client falls into when it writes, and what is bad in the images themselves."""

import io
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import get_args

import pytest
import sqlalchemy as sa
from PIL import Image

from imagesync_pipelines.connectors.moysklad.accounts import MAIN, Mode, Ownership
from imagesync_pipelines.connectors.moysklad.errors import SkippedOffError
from imagesync_pipelines.sandbox.faults import xml_page
from imagesync_pipelines.sandbox.moysklad.hosts import STORAGE
from imagesync_pipelines.sandbox.moysklad.making import catalogue, jpeg
from imagesync_pipelines.sandbox.moysklad.model import BadElementNamed, SameMeta
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, World, open_world

# Each is quick, but they are many.
pytestmark = pytest.mark.slow
FIRST = "product-1-00000"
PICTURES = [(f"вид-{number}.jpg", jpeg(f"view {number}", 60)) for number in range(12)]


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> Iterator[World]:
    accounts = catalogue(products=3, images=3, variants=1, bundles=0, children=1)
    with open_world(database, tmp_path, accounts=accounts) as world:
        yield world


def show(world: World, pictures: list[tuple[str, bytes]], alias: str = MAIN) -> None:
    """Make these the images of the first product in an account."""
    handle = world.sandbox.account(alias)
    handle.set_images(handle.by_code(FIRST).id, pictures)


def test_an_account_that_is_off_is_skipped_with_the_words_of_the_issue(world: World) -> None:
    with pytest.raises(
        SkippedOffError, match="skipped: image sync is disabled for child-1; set its mode to first or all"
    ):
        world.sync(mode=Mode.OFF)
    assert world.calls(CHILD) == 0


def test_what_the_owner_added_keeps_its_place_and_a_mirror_takes_it_away(world: World) -> None:
    world.sync()
    own = ("своё.jpg", jpeg("own", 60))
    mine = [(name, body) for name, body, _ in world.pictures(FIRST)]
    show(world, [mine[0], own, *mine[1:]], CHILD)
    show(world, [*[(name, body) for name, body, _ in world.pictures(FIRST, MAIN)], PICTURES[0]])
    assert world.sync().error_count == 0
    assert world.names(FIRST)[1] == "своё.jpg"
    assert len(world.names(FIRST)) == 5
    world.sync(ownership=Ownership.MIRROR, check_child=True)
    world.assert_same()


def test_ours_give_way_where_the_owner_leaves_no_room(world: World) -> None:
    show(world, PICTURES[:8], CHILD)
    show(world, PICTURES[8:12])
    done = world.sync()
    assert len(world.names(FIRST)) == 10
    assert any("there is no room" in why for why in done.skipped)
    world.count_anew()
    again = world.sync()
    assert (again.error_count, world.calls(CHILD)) == (0, 0)
    assert any("8 images of his own" in why for why in again.skipped)


@pytest.mark.parametrize("ownership", list(Ownership))
def test_drift_is_found_by_the_daily_check_and_repaired(world: World, ownership: Ownership) -> None:
    world.sync(ownership=ownership)
    show(world, [(name, body) for name, body, _ in world.pictures(FIRST)][:1], CHILD)
    world.sync(ownership=ownership)
    assert len(world.names(FIRST)) == 1
    world.sync(ownership=ownership, check_child=True)
    world.assert_same()


def test_an_entity_without_images_is_cleared_of_ours_but_not_of_its_owners(world: World) -> None:
    world.sync()
    mine = [(name, body) for name, body, _ in world.pictures(FIRST)]
    show(world, [*mine, PICTURES[0]], CHILD)
    show(world, [])
    world.sync()
    assert world.names(FIRST) == [PICTURES[0][0]]


def test_the_deletion_limits_hold_back_when_many_entities_lose_their_images(
    database: sa.Engine, tmp_path: Path
) -> None:
    with open_world(
        database, tmp_path, shared={"deletion_limit_share": 0.1, "deletion_limit_count": 500, "deletion_limit_bare": 2}
    ) as world:
        world.sync()
        for found in world.main.entities():
            world.main.set_images(found.id, [])
        done = world.sync()
        assert (done.summary.images_deleted, done.summary.held_back) == (0, 21)
        assert len(world.names(FIRST)) == 3
        world.sync(mode=Mode.FIRST)
        assert len(world.names(FIRST)) == 3
        world.sync(allow_mass_delete=True)
        assert world.names(FIRST) == []


@pytest.mark.parametrize(("bad", "named"), [(0, "not"), (3, "not"), (6, "not"), (3, "parameter"), (3, "column")])
def test_one_bad_image_is_found_and_the_others_are_written(world: World, bad: int, named: BadElementNamed) -> None:
    world.sandbox.switches.bad_element_named = named
    pictures = list(PICTURES[:7])
    # A GIF is a whole picture, and no account takes it.
    pictures[bad] = ("движение.gif", gif())
    show(world, pictures)
    world.count_anew()
    done = world.sync()
    good = [name for name, _ in pictures if not name.endswith(".gif")]
    assert world.names(FIRST) == good
    assert done.summary.failed == 1
    assert world.calls(CHILD, "images post") <= 6 + 2 + 6
    show(world, [picture for picture in pictures if not picture[0].endswith(".gif")])
    assert world.sync().error_count == 0


def test_a_partial_list_with_one_bad_image_is_seen_in_the_answer(world: World) -> None:
    world.sandbox.switches.bad_element = "rest"
    show(world, [PICTURES[0], ("движение.gif", gif()), PICTURES[1]])
    done = world.sync()
    assert world.names(FIRST) == [PICTURES[0][0], PICTURES[1][0]]
    assert done.summary.failed == 1


def test_the_number_of_the_server_is_believed_when_it_refuses_a_size(world: World) -> None:
    world.sandbox.switches.image_megabytes = 0.009
    show(world, [PICTURES[0], ("большой.png", noise(60)), PICTURES[1]])
    done = world.sync()
    assert world.names(FIRST) == [PICTURES[0][0], PICTURES[1][0]]
    assert any(why.startswith("Image file too large, skipping: большой.png") for why in done.skipped)
    world.count_anew()
    again = world.sync()
    assert world.calls(CHILD) == 0
    assert again.summary.failed == 0


def test_an_image_that_is_too_large_is_not_downloaded_or_made_smaller_where_the_account_wants_it(world: World) -> None:
    show(world, [("большой.png", noise(100)), PICTURES[0]])
    world.count_anew()
    done = world.sync(max_image_mb=0.02)
    assert world.names(FIRST) == [PICTURES[0][0]]
    assert world.calls(MAIN, "download") == 1 + 9
    assert any(why.startswith("Image file too large, skipping: большой.png") for why in done.skipped)
    done = world.sync(max_image_mb=0.02, reencode_too_large=True)
    assert done.error_count == 0
    shown = world.pictures(FIRST)
    assert [name for name, _, _ in shown] == ["большой.png", PICTURES[0][0]]
    assert len(shown[0][1]) <= 20_000
    world.count_anew()
    world.sync(max_image_mb=0.02, reencode_too_large=True)
    assert world.calls(CHILD) == 0


@pytest.mark.parametrize("same", get_args(SameMeta))
def test_the_same_name_and_bytes_twice_are_two_images(world: World, same: SameMeta) -> None:
    world.sandbox.switches.same_meta = same
    show(world, [PICTURES[0], PICTURES[1], PICTURES[0]])
    world.sync()
    assert world.names(FIRST) == [PICTURES[0][0], PICTURES[1][0], PICTURES[0][0]]
    world.count_anew()
    world.sync(check_child=True)
    assert world.calls(CHILD, "images post") == 0


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd.jpg", "Я" * 251 + ".jpg", "a/b\\c:d.jpg", "без расширения", "две.точки.jpg"],
    ids=["path", "255 letters", "separators", "no extension", "two dots"],
)
def test_names_of_people_arrive_as_they_are(world: World, name: str) -> None:
    show(world, [(name, PICTURES[0][1]), (name, PICTURES[1][1])])
    assert world.sync().error_count == 0
    shown = world.names(FIRST)
    assert [found.removesuffix(".jpg") for found in shown] == [name.removesuffix(".jpg")] * 2
    world.count_anew()
    world.sync(check_child=True)
    assert world.calls(CHILD, "images post") == 0


def test_xml_instead_of_an_image_is_never_written_and_comes_back(world: World) -> None:
    before = world.sync()
    assert before.error_count == 0
    show(world, [PICTURES[0]])
    world.sandbox.faults.add(xml_page().at(STORAGE), xml_page().at(STORAGE), xml_page().at(STORAGE))
    done = world.sync()
    assert done.summary.failed >= 1
    assert len(world.names(FIRST)) >= 1
    world.sandbox.faults.clear()
    world.sync()
    world.assert_same()


def noise(side: int) -> bytes:
    """A PNG that cannot be made smaller without loss: about three bytes a pixel."""
    made = io.BytesIO()
    pixels = Random(1).randbytes(side * side * 3)
    Image.frombytes("RGB", (side, side), pixels).save(made, "PNG")
    return made.getvalue()


def gif() -> bytes:
    """A small whole GIF."""
    made = io.BytesIO()
    Image.new("P", (8, 8)).save(made, "GIF")
    return made.getvalue()
