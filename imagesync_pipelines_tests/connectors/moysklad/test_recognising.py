"""Images are known by the ids that we remember, else by their bytes, which are read once; never by name and size."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import MAIN, Mode, Ownership
from imagesync_pipelines.sandbox.moysklad.making import catalogue, jpeg
from imagesync_pipelines.storage import memory
from imagesync_pipelines.storage.schema import image_content
from imagesync_pipelines.storage.schema_accounts import moysklad_child_images
from imagesync_pipelines_tests.connectors.moysklad.test_traps_of_writing import noise
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, World, open_world

ONLY = "product-1-00000"


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> Iterator[World]:
    with open_world(
        database, tmp_path, accounts=catalogue(products=1, images=1, variants=0, bundles=0, children=1)
    ) as world:
        yield world


@pytest.mark.parametrize("check_child", [False, True], ids=["hourly", "daily"])
@pytest.mark.parametrize(
    ("pictures", "options"),
    [
        ([("вид.jpg", jpeg("view", 40)), ("вид.jpg", jpeg("view", 40))], {}),
        ([("без расширения", noise(20))], {}),
        ([("большой.png", noise(100))], {"max_image_mb": 0.02, "reencode_too_large": True}),
    ],
    ids=["the same twice", "a PNG without extension", "made smaller"],
)
def test_lists_that_were_lost_make_no_second_copy(
    database: sa.Engine, world: World, pictures: list[tuple[str, bytes]], options: dict[str, Any], check_child: bool
) -> None:
    world.main.set_images(world.main.by_code(ONLY).id, pictures)
    world.sync(**options)
    before = world.pictures(ONLY)
    with database.begin() as connection:
        connection.execute(moysklad_child_images.delete())
    world.count_anew()
    assert world.sync(check_child=check_child, **options).error_count == 0
    assert world.pictures(ONLY) == before
    assert world.calls(CHILD, "images post") == 0
    assert (world.calls(CHILD, "download"), world.calls(MAIN, "download")) == (1, 0)
    world.sync(check_child=True, **options)
    assert world.pictures(ONLY) == before
    assert (world.calls(CHILD, "download"), world.calls(MAIN, "download")) == (1, 0)


def padded(body: bytes, size: int) -> bytes:
    """The same JPEG with a comment, so that it has this size."""
    more = size - len(body) - 4
    return b"".join([body[:2], b"\xff\xfe", (more + 2).to_bytes(2, "big"), b" " * more, body[2:]])


@pytest.mark.parametrize("check_child", [False, True], ids=["hourly", "daily"])
@pytest.mark.parametrize("ownership", list(Ownership))
def test_another_picture_with_the_same_name_and_size_is_not_taken_for_ours(
    world: World, ownership: Ownership, check_child: bool
) -> None:
    ours, own = (("вид.jpg", padded(jpeg(name, 40), 4000)) for name in ("ours", "own"))
    assert len(ours[1]) == len(own[1])
    world.main.set_images(world.main.by_code(ONLY).id, [ours])
    world.child().set_images(world.child().by_code(ONLY).id, [own])
    options: dict[str, Any] = {"ownership": ownership, "allow_mass_delete": True}
    assert world.sync(check_child=check_child, **options).error_count == 0
    managed = ownership is Ownership.MANAGED
    assert [body for _, body, _ in world.pictures(ONLY)] == [*([own[1]] if managed else []), ours[1]]
    # The one that was there is read once, and once more to be kept where it leaves; the main account's picture, which
    # was needed anyway.
    assert (world.calls(CHILD, "download"), world.calls(MAIN, "download")) == (1 if managed else 2, 1)
    world.count_anew()
    assert world.sync(**options).error_count == 0
    assert world.calls(CHILD) == 0
    world.sync(check_child=True, **options)
    assert (world.calls(CHILD, "download"), world.calls(CHILD, "images post")) == (0, 0)


@pytest.mark.parametrize("lost", ["images post", "bulk"])
def test_after_a_lost_answer_what_was_sent_is_known_by_its_bytes_and_the_owners_is_not(world: World, lost: str) -> None:
    ours, own = (("вид.jpg", padded(jpeg(name, 40), 4000)) for name in ("ours", "own"))
    here, there = world.main.by_code(ONLY).id, world.child().by_code(ONLY).id
    world.main.set_images(here, [ours])
    options = {"bulk_first_fill": lost == "bulk"}
    world.sandbox.lost.lose(f"{CHILD} {lost}")
    assert world.sync(**options).summary.unknown == 1
    world.child().set_images(there, [own, ours])
    world.main.set_images(here, [])
    assert world.sync(**options).error_count == 0
    assert [body for _, body, _ in world.pictures(ONLY)] == [own[1]]
    assert (world.calls(CHILD, "download"), world.calls(MAIN, "download")) == (2, 1)


def test_after_a_restored_backup_what_we_sent_since_is_ours_by_its_bytes_and_the_owners_stays(
    database: sa.Engine, world: World
) -> None:
    here, child = world.main.by_code(ONLY).id, world.child()
    world.sync()
    with database.connect() as connection:
        backup = [dict(row._mapping) for row in connection.execute(sa.select(moysklad_child_images))]
    world.main.set_images(here, [("since.jpg", jpeg("since", 40))])
    world.sync()
    shown = [(name, body) for name, body, _ in world.pictures(ONLY)]
    child.set_images(child.by_code(ONLY).id, [*shown, ("own.jpg", jpeg("own", 40))])
    world.main.set_images(here, [("now.jpg", jpeg("now", 40))])
    with database.begin() as connection:
        for known in (moysklad_child_images, image_content):
            connection.execute(known.delete())
        connection.execute(moysklad_child_images.insert(), backup)
    memory.note_restored(database, 0)
    done = world.sync(allow_mass_delete=True)
    assert any("restored from a backup" in warning for warning in done.summary.warnings)
    assert world.names(ONLY) == ["now.jpg", "own.jpg"]
    world.count_anew()
    assert world.sync().summary.warnings == ()
    assert world.calls(CHILD, "download") == 0
    assert world.names(ONLY) == ["now.jpg", "own.jpg"]


def test_after_all_that_we_knew_was_lost_what_we_sent_gives_way_to_another_picture_of_its_name_and_size(
    database: sa.Engine, world: World
) -> None:
    one, two = (("вид.jpg", padded(jpeg(name, 40), 4000)) for name in ("one", "two"))
    here, child = world.main.by_code(ONLY).id, world.child()
    world.main.set_images(here, [one])
    world.sync()
    with database.begin() as connection:
        for known in (moysklad_child_images, image_content):
            connection.execute(known.delete())
    own = ("своё.jpg", padded(jpeg("own", 40), 4000))
    child.set_images(child.by_code(ONLY).id, [one, own])
    world.main.set_images(here, [two])
    for check_child in (False, True):
        assert world.sync(check_child=check_child).error_count == 0
    assert sorted(body for _, body, _ in world.pictures(ONLY)) == sorted([two[1], own[1]])


def test_what_a_mode_leaves_out_is_the_owners_where_he_added_it_himself(world: World) -> None:
    child = world.child()
    first, second = (("первый.jpg", jpeg("first", 40)), ("второй.jpg", jpeg("second", 40)))
    world.main.set_images(world.main.by_code(ONLY).id, [first, second])
    child.set_images(child.by_code(ONLY).id, [("моё.jpg", second[1])])
    for check_child in (False, True, True):
        assert world.sync(mode=Mode.FIRST, check_child=check_child).summary.images_deleted == 0
    assert sorted(world.names(ONLY)) == ["моё.jpg", "первый.jpg"]


@pytest.mark.parametrize("known", [True, False], ids=["entity known", "lists lost"])
def test_a_picture_that_is_known_by_its_bytes_goes_with_a_plan_or_not_at_all(
    database: sa.Engine, world: World, known: bool
) -> None:
    shared, missing = (("вид.jpg", padded(jpeg(name, 40), 4000)) for name in ("shared", "missing"))
    here, child = world.main.by_code(ONLY).id, world.child()
    world.main.set_images(here, [shared])
    world.sync()
    world.main.set_images(here, [("другой.jpg", jpeg("other", 40))])
    world.sync()
    if not known:
        with database.begin() as connection:
            connection.execute(moysklad_child_images.delete())
    child.set_images(child.by_code(ONLY).id, [("сертификат.jpg", shared[1])])
    world.main.set_images(here, [missing])
    assert world.sync().summary.images_deleted == 0
    assert sorted(world.names(ONLY)) == ["вид.jpg", "сертификат.jpg"]
    assert world.sync(check_child=True).summary.images_deleted == (0 if known else 1)
    assert ("сертификат.jpg" in world.names(ONLY)) is known
