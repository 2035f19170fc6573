"""What no source settles about МойСклад: either way runs converge and nothing doubles."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import MAIN, Ownership
from imagesync_pipelines.sandbox.moysklad.making import catalogue, jpeg
from imagesync_pipelines.sandbox.moysklad.model import MoyskladSwitches
from imagesync_pipelines_tests.connectors.moysklad.worlds import CHILD, open_world

# Each is quick, but they are many.
pytestmark = pytest.mark.slow
ONE, OTHER = "product-1-00000", "product-1-00001"
WAYS: list[dict[str, Any]] = [
    {"id_scope": "account"},
    {"id_kept_after_delete": True},
    {"foreign_meta_adds": True, "id_scope": "account"},
    {"bulk_inline_images": False},
    {"inline_keep_by_meta": False},
    {"images_form": "batch"},
    {"bulk_form": "batch"},
    {"mixed_bulk_status": 200},
    {"bulk_most": 1},
    {"variant_shows_parent": True},
    {"image_error_status": 400},
    {"same_meta": "refused", "empty_array": "clears"},
    {"window": "sliding"},
    {"body_bytes": 3000, "too_large": "api"},
    {"body_bytes": 3000, "too_large": "proxy"},
]


@pytest.mark.parametrize("ownership", list(Ownership))
@pytest.mark.parametrize("way", WAYS, ids=[" ".join(map(str, way.items())) for way in WAYS])
def test_whichever_way_it_is_runs_converge(
    database: sa.Engine, tmp_path: Path, way: dict[str, Any], ownership: Ownership
) -> None:
    accounts = catalogue(products=2, images=2, variants=1, bundles=0, children=1, side=24)
    with open_world(database, tmp_path, accounts=accounts, switches=MoyskladSwitches(**way), workers=1) as world:
        options = {"ownership": ownership, "bulk_first_fill": True}
        for _ in range(2):
            world.sync(**options)
        world.assert_same()
        shown = [(name, body) for name, body, _ in world.pictures(ONE, MAIN)]
        shared = ("общая.jpg", jpeg("shared", 24))
        world.main.set_images(world.main.by_code(ONE).id, [shared, shown[1], shown[0]])
        world.main.set_images(world.main.by_code(OTHER).id, [shared])
        world.sync(**options)
        world.assert_same()
        world.main.set_images(world.main.by_code(OTHER).id, [])
        world.sync(**options)
        world.assert_same()
        world.count_anew()
        world.sync(check_child=True, **options)
        assert world.calls(CHILD, "images post") + world.calls(CHILD, "bulk") == 0
