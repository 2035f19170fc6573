"""What leaves a listing leaves the gallery only when it may:

with the setting, past the deletion limits, if we put it there.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.plytix.plan_steps import DOUBTFUL
from imagesync_pipelines.connectors.plytix.rules import file_name
from imagesync_pipelines.sandbox.amazon.listings import demo_listings
from imagesync_pipelines_tests.connectors.plytix.accounts import Connector, assert_converged, open_connector, wanted

pytestmark = pytest.mark.slow


@pytest.fixture
def removing(database: sa.Engine, tmp_path: Path) -> Iterator[Connector]:
    """Four products that show 20 images, in an account where what left a listing is taken out."""
    with open_connector(
        database, tmp_path, listings=demo_listings()[10:14], strategy="patch", remove_missing=True
    ) as connector:
        connector.sync()
        yield connector


def first(connector: Connector) -> str:
    return next(iter(wanted(connector)))


def leave(connector: Connector, *variants: str, number: int = 0) -> None:
    """Images leave a listing."""
    for variant in variants:
        connector.amazon.mutate("remove_image", connector.amazon.listings[number].asin, variant=variant)
    connector.write()


def test_an_image_that_left_its_listing_leaves_the_gallery(removing: Connector) -> None:
    sku = first(removing)
    removing.plytix.mutate("add_image", sku=sku, filename="person.jpg", position=3)
    leave(removing, "PT02", "PT05")
    done = removing.sync()
    assert (done.summary.images_deleted, done.summary.api_calls) == (2, 3)
    assert_converged(removing)
    assert len(removing.plytix.gallery(sku)) == 7
    assert removing.plytix.filenames(sku)[3] == "person.jpg"
    assert len(removing.plytix.assets()) == 13, "an asset is never deleted"
    assert removing.sync().summary.api_calls == 1


def test_without_the_setting_it_stays_and_is_told(removing: Connector) -> None:
    leave(removing, "PT02")
    before = removing.shown()
    done = removing.with_settings(remove_missing=False).sync()
    assert removing.shown() == before
    assert "1 images that left" in " ".join(done.summary.warnings)


def test_a_new_main_takes_the_thumbnail_from_the_one_that_left(removing: Connector) -> None:
    listing = removing.amazon.listings[0]
    removing.amazon.mutate("new_image", listing.asin, variant="MAIN")
    removing.write()
    done = removing.sync()
    assert (done.summary.images_added, done.summary.images_deleted) == (1, 1)
    assert_converged(removing)
    assert len(removing.plytix.gallery(first(removing))) == 8


def test_an_image_that_somebody_else_linked_stays(removing: Connector) -> None:
    sku, other = first(removing), list(wanted(removing))[1]
    ours = removing.plytix.gallery(other)[0]
    with removing.api() as api:
        api.link(removing.plytix.product(sku).id, ours)
    leave(removing, "PT02")
    removing.sync()
    assert removing.plytix.gallery(sku)[-1] == ours


def test_a_listing_that_lost_all_its_images_removes_none(removing: Connector) -> None:
    removing.amazon.mutate("remove_images", removing.amazon.listings[0].asin)
    removing.write(shape="list")
    before = removing.shown()
    removing.sync()
    assert removing.shown() == before


def test_a_listing_with_an_image_that_cannot_be_read_removes_none(removing: Connector) -> None:
    before = removing.shown()
    body = removing.mapping.read_text().replace("/images/I/", "/images/P/", 1)
    removing.mapping.write_text(body)
    done = removing.sync()
    assert removing.shown() == before
    assert len(done.report["errors"]) == 1
    assert len(removing.quarantined()) == 1
    removing.write()
    removing.sync()
    assert not removing.quarantined()


def test_the_deletion_limits_hold_many_removals_back_and_a_person_may_lift_it(removing: Connector) -> None:
    leave(removing, *(f"PT{place:02d}" for place in range(1, 7)))
    before = removing.shown()
    held = removing.sync()
    assert (removing.shown(), held.summary.held_back) == (before, 6)
    assert "held back" in " ".join(held.summary.warnings)
    assert removing.sync(allow_mass_delete=True).summary.images_deleted == 6
    assert_converged(removing)


def test_a_cleanup_takes_out_what_we_put_in_for_listings_that_are_gone(removing: Connector) -> None:
    sku = first(removing)
    person = removing.plytix.mutate("add_image", sku=sku, filename="person.jpg")
    thumbnail = removing.plytix.thumbnail(sku)
    removing.write(removing.amazon.listings[1:])
    before = {other: shown for other, shown in removing.shown().items() if other != sku}
    made, done = removing.clean_up(allow_mass_delete=True)
    assert (made.counted("remove"), done.summary.images_deleted) == (8, 8)
    assert removing.plytix.gallery(sku) == (person,)
    assert removing.plytix.thumbnail(sku) == thumbnail
    assert {other: shown for other, shown in removing.shown().items() if other != sku} == before
    made, _ = removing.clean_up(allow_mass_delete=True)
    assert made.counted("remove") == 0


def test_a_cleanup_passes_the_deletion_limits_and_a_person_ends_them_by_its_number(removing: Connector) -> None:
    removing.write(removing.amazon.listings[3:])
    made, done = removing.clean_up()
    assert (made.counted("remove"), made.summary.held_back) == (0, 16)
    assert f"`imagesync apply {made.plan_id}`" in " ".join(made.summary.warnings)
    assert (done.summary.images_deleted, done.summary.held_back, done.summary.warnings) == (16, 0, ())


def test_a_file_of_another_marketplace_makes_nothing_gone(removing: Connector) -> None:
    body = removing.mapping.read_text().replace("AMZN-US-", "AMZN-CA-").replace('"US"', '"CA"')
    removing.mapping.write_text(body)
    made, _ = removing.clean_up(allow_mass_delete=True)
    assert made.counted("remove") == 0


def test_a_file_with_an_entry_that_cannot_be_read_makes_nothing_gone(removing: Connector) -> None:
    body = removing.mapping.read_text().replace(removing.amazon.listings[0].asin, "???")
    removing.mapping.write_text(body)
    made, _ = removing.clean_up(allow_mass_delete=True)
    assert made.counted("remove") == 0
    assert made.summary.warnings[0].startswith(DOUBTFUL)


def test_an_asset_that_was_made_anew_for_one_product_leaves_the_other_with_its_listing(removing: Connector) -> None:
    one, two = removing.amazon.listings[1:3]
    image = next(
        image for image in two.images if image.variant != "MAIN" and image.picture in [i.picture for i in one.images]
    )
    name = file_name(f"{image.picture.id}.jpg")
    old = next(asset for asset in removing.plytix.assets() if asset.filename == name)
    removing.plytix.mutate("rename_asset", asset_id=old.id, filename="renamed.jpg")
    removing.write([one])
    removing.sync(force_reupload=True)
    assert old.id in removing.plytix.gallery(two.suggested_sku)
    removing.amazon.mutate("remove_image", two.asin, variant=image.variant)
    removing.write()
    done = removing.sync()
    assert old.id not in removing.plytix.gallery(two.suggested_sku)
    assert (done.summary.images_deleted, done.summary.failed) == (1, 0)
    assert len(removing.plytix.gallery(two.suggested_sku)) == len(wanted(removing)[two.suggested_sku])
