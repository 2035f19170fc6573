"""What runs cost in calls, and that content is downloaded once, for all child accounts."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import MAIN, Ownership
from imagesync_pipelines.connectors.moysklad.settings import ChosenEntities
from imagesync_pipelines.sandbox.moysklad.making import catalogue
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, open_world


@pytest.mark.parametrize("permanent", [False, True], ids=["two steps", "permanent links"])
@pytest.mark.parametrize("ownership", list(Ownership))
def test_one_entity_of_ten_images_takes_the_fewest_calls(
    database: sa.Engine, tmp_path: Path, ownership: Ownership, permanent: bool
) -> None:
    accounts = catalogue(products=1, images=10, variants=0, bundles=0, children=1, permanent_links=permanent)
    with open_world(database, tmp_path, accounts=accounts) as world:
        world.sync(full=True, ownership=ownership, max_image_mb=0.000001)
        world.count_anew()
        made, done = world.run(ownership=ownership)
        world.assert_same()
        # The main account, its downloads, a look at what is there, one list.
        assert world.calls() == (3 if permanent else 13)
        assert made.result.numbers["plan/calls"] == world.calls() - 1
        assert made.result.numbers["plan/earlier_calls"] == 22
        assert done.result.numbers["api/earlier_calls"] == 22


def test_what_one_child_account_needed_is_not_downloaded_for_the_next(database: sa.Engine, tmp_path: Path) -> None:
    accounts = catalogue(products=2, images=2, variants=0, bundles=0, children=2)
    with open_world(database, tmp_path, accounts=accounts) as world:
        world.sync()
        world.count_anew()
        world.sync("child-2", ownership=Ownership.MIRROR)
        world.assert_same("child-2")
        assert world.calls(MAIN, "download") == 0
        assert world.calls("child-2", "images post") == 2


def test_only_the_entities_asked_for_are_written(database: sa.Engine, tmp_path: Path) -> None:
    with open_world(database, tmp_path) as world:
        world.sync(chosen=ChosenEntities(entity_type="bundle"))
        assert len(world.names("bundle-1-00000")) == 3
        assert world.names("product-1-00000") == []
        world.sync(chosen=ChosenEntities(entity=world.main.by_code("product-1-00001").id))
        assert len(world.names("product-1-00001")) == 3
        assert world.names("product-1-00000") == []
        assert world.calls(CHILD, "images post") == 2
