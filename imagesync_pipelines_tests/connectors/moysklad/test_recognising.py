"""Images that we wrote are known again after our lists were lost: none is sent a second time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.sandbox.moysklad.making import catalogue, jpeg
from imagesync_pipelines.storage import memory
from imagesync_pipelines.storage.schema import image_content
from imagesync_pipelines.storage.schema_accounts import moysklad_child_images
from imagesync_pipelines_tests.connectors.moysklad.test_traps_of_writing import noise
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, World, open_world

ONLY = "product-1-00000"


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> Iterator[World]:
    with open_world(database, tmp_path, accounts=catalogue(products=1, images=1, variants=0, children=1)) as world:
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
    world.sync(check_child=True, **options)
    assert world.pictures(ONLY) == before


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
