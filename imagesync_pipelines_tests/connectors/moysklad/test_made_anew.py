"""An entity that is deleted in the main account and made anew there: its counterpart follows, and nothing doubles."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import Ownership
from imagesync_pipelines.sandbox.moysklad.making import catalogue, jpeg
from imagesync_pipelines_tests.connectors.moysklad.worlds import World, open_world

ONLY = "product-1-00000"


@pytest.fixture
def world(database: sa.Engine, tmp_path: Path) -> Iterator[World]:
    with open_world(database, tmp_path, accounts=catalogue(products=1, images=1, variants=0, children=1)) as world:
        yield world


@pytest.mark.parametrize("ownership", list(Ownership))
def test_an_entity_made_anew_in_the_main_account_takes_over_what_the_deleted_one_had(
    world: World, ownership: Ownership
) -> None:
    world.sync(ownership=ownership)
    world.main.delete(world.main.by_code(ONLY).id)
    world.sync(ownership=ownership, full=True)
    assert len(world.names(ONLY)) == 1
    world.main.add_product("Снова", ONLY, images=[("новый.jpg", jpeg("anew", 40))])
    done = world.sync(ownership=ownership, full=True)
    assert (done.error_count, done.summary.warnings) == (0, ())
    world.assert_same()
