"""What leaves an entity of a child account is kept, for as long as an undo may need it."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import Ownership
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.model import ImageRow
from imagesync_pipelines.sandbox.faults import answer
from imagesync_pipelines.sandbox.moysklad.making import jpeg
from imagesync_pipelines.sandbox.moysklad.mutation import mutate
from imagesync_pipelines.storage.contents import Contents
from imagesync_pipelines.storage.effects import EffectRow, effects_of_run
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, World, open_world

OWN = jpeg("own", 50)


def removals(world: World, run_id: str) -> list[EffectRow]:
    """What a run took away, as the history has it."""
    rows = [row for one in effects_of_run(world.place.engine, run_id) for row in one.rows]
    return [row for row in rows if row.change == "remove"]


def kept(world: World, before: Any) -> bytes:
    """The bytes that were kept of a row's `before`, after a clean-up of all that nobody holds."""
    contents = Contents(world.place.engine, world.place.storage, world.sandbox.clock.now)
    contents.forget_older(0)
    (source, *_) = contents.sources_of(before["sha256"]) or [""]
    return contents.read(contents.find([source])[source])


@pytest.mark.parametrize("comes", [True, False], ids=["its bytes come", "its bytes are gone"])
def test_what_leaves_an_entity_is_fetched_where_it_is_not_kept_and_told_as_lost_where_it_cannot_be(
    database: sa.Engine, tmp_path: Path, comes: bool
) -> None:
    with open_world(database, tmp_path) as world:
        world.sync(ownership=Ownership.MIRROR)
        child = world.child()
        code = world.main.entities()[0].external_code
        there = [(name, body) for name, body, _ in world.pictures(code)]
        child.set_images(child.by_code(code).id, [*there, ("own.jpg", OWN)])
        if not comes:
            gone = answer(404, '{"errors": [{"error": "there is none", "code": 1021}]}', "application/json")
            world.sandbox.faults.add(gone.at(f"{CHILD} download").for_good())
        world.count_anew()
        made, done = world.run(ownership=Ownership.MIRROR, full=True, check_child=True)
        assert world.calls(CHILD, "download") == 1, "what was sent from here is kept already"
        assert "1 downloads there of what leaves" in " ".join(made.result.lines)
        assert done.summary.images_deleted == 1
        world.assert_same()
        (row,) = removals(world, "run-2")
        assert row.before is not None
        assert (row.before["name"], row.position_before) == ("own.jpg", 3)
        if comes:
            assert row.lost is None
            assert kept(world, row.before) == OWN
        else:
            assert row.lost is not None
            assert "could not be kept" in row.lost


def test_what_the_owner_adds_while_what_leaves_is_fetched_stays(
    database: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    download = MoyskladApi.download
    with open_world(database, tmp_path) as world:
        world.sync()
        child = world.child()
        product = world.main.entities()[0]
        code = product.external_code
        world.sandbox.clock.move(2 * 24 * 60 * 60)
        Contents(world.place.engine, world.place.storage, world.sandbox.clock.now).forget_older(24)
        leaving = world.pictures(code)[0][1]
        mutate(world.main, "replace_image", entity=product.id)

        def slow(api: MoyskladApi, row: ImageRow) -> bytes:
            """What is fetched of the child account takes so long that its list is old."""
            if api.account.name == CHILD:
                there = [(name, body) for name, body, _ in world.pictures(code)]
                child.set_images(child.by_code(code).id, [*there, ("own.jpg", OWN)])
                world.sandbox.clock.move(31)
            return download(api, row)

        monkeypatch.setattr(MoyskladApi, "download", slow)
        world.count_anew()
        done = world.sync()
        assert done.error_count == 0
        assert ("own.jpg", OWN) in [(name, body) for name, body, _ in world.pictures(code)]
        assert leaving not in [body for _, body, _ in world.pictures(code)]
        assert world.calls(CHILD, "download") == 1
        (row,) = (row for one in effects_of_run(world.place.engine, "run-2") for row in one.rows if row.before)
        assert kept(world, row.before) == leaving


def test_a_picture_that_was_sent_from_here_is_held_when_it_is_replaced(database: sa.Engine, tmp_path: Path) -> None:
    with open_world(database, tmp_path) as world:
        world.sync()
        product = world.main.entities()[0]
        name, body, _ = world.main.images(product.id)[0]
        mutate(world.main, "replace_image", entity=product.id)
        world.count_anew()
        world.sync()
        assert world.calls(CHILD, "download") == 0
        rows = [row for one in effects_of_run(world.place.engine, "run-2") for row in one.rows]
        (before,) = (row.before for row in rows if row.change == "update")
        assert before is not None
        assert before["name"] == name
        assert kept(world, before) == body
