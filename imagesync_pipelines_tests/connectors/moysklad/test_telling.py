"""The sentences of a run: per account and entity type, with counts, and every skipped image with its reason."""

from pathlib import Path

import sqlalchemy as sa

from imagesync_pipelines.sandbox.faults import drip
from imagesync_pipelines.sandbox.moysklad.hosts import STORAGE
from imagesync_pipelines.sandbox.moysklad.making import catalogue, jpeg
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines_tests.connectors.moysklad.test_traps_of_writing import gif, noise
from imagesync_pipelines_tests.connectors.moysklad.worlds import World, entity, open_world

ONE, OTHER = "product-1-00000", "variant-1-00000"


def test_a_run_tells_what_it_did_and_what_it_skipped(database: sa.Engine, tmp_path: Path) -> None:
    accounts = catalogue(products=1, images=1, variants=1, bundles=0, children=1)
    with open_world(database, tmp_path, accounts=accounts, workers=1, download_timeout=1) as world:
        world.sync()
        show(world, ONE, [("движение.gif", gif()), ("большой.png", noise(100)), ("вид.jpg", jpeg("a", 40))])
        done = world.sync(max_image_mb=0.02)
        size = len(jpeg("a", 40)) / 1000
        assert f"Image downloaded: вид.jpg ({size:.1f} KB)" in done.content.lines
        lines = list(done.result.lines)
        assert lines[:4] == [
            "child-1, product: batch image sync started: 1 entities.",
            "child-1, product: 0 existing images deleted.",
            "child-1, product: batch upload successful: 1 images uploaded.",
            "Image file too large, skipping: большой.png (0.0 MB, limit 0.02 MB)",
        ]
        assert "51002" in lines[4]
        assert lines[-1].startswith("child-1: batch image sync completed with warnings: plan ")
        assert done.result.numbers["product/uploaded"] == 1

        variant = show(world, OTHER, [("медленный.jpg", jpeg("b", 40))])
        world.sandbox.faults.add(drip(5).at(STORAGE))
        done = world.sync(max_image_mb=0.02)
        assert done.content.lines[1].startswith("Download timeout: ")
        failed = f"Failed to sync images for entity {variant} ({entity(world, OTHER)})"
        assert failed in done.result.lines
        assert len(world.names(OTHER)) == 1, "it is not left bare"


def test_a_plan_names_the_entity_and_the_file_of_what_it_writes(database: sa.Engine, tmp_path: Path) -> None:
    accounts = catalogue(products=1, images=1, variants=0, bundles=0, children=1)
    with open_world(database, tmp_path, accounts=accounts) as world:
        name = show(world, ONE, [("вид.jpg", jpeg("a", 40))])
        world.sync()
        plans = Plans(database, world.place.storage)
        assert plans.load(plans.newest(1)[0].id)["product"].tolist() == [f"{name}: вид.jpg"]
        world.sync()
        assert plans.load(plans.newest(1)[0].id)["product"].tolist() == [name]


def test_an_image_that_no_request_can_hold_is_told(database: sa.Engine, tmp_path: Path) -> None:
    accounts = catalogue(products=1, images=1, variants=0, bundles=0, children=1)
    with open_world(database, tmp_path, accounts=accounts) as world:
        world.sandbox.switches.body_bytes, world.sandbox.switches.too_large = 20_000, "proxy"
        show(world, ONE, [("вид.jpg", jpeg("a", 40)), ("большой.png", noise(100))])
        done = world.sync()
        assert world.names(ONE) == ["вид.jpg"]
        assert any(why.startswith("Request larger than 20 MB") for why in done.skipped)


def show(world: World, code: str, pictures: list[tuple[str, bytes]]) -> str:
    """Make these the images of an entity of the main account; its name."""
    found = world.main.by_code(code)
    world.main.set_images(found.id, pictures)
    return found.name
