"""Whole runs beside other people's work in the account: what they did stays, what is ours becomes right."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.plytix.rules import file_name
from imagesync_pipelines.sandbox.amazon.listings import demo_listings
from imagesync_pipelines.storage.errors import AccountBusyError
from imagesync_pipelines_tests.connectors.plytix.accounts import Connector, assert_converged, open_connector, wanted
from imagesync_pipelines_tests.sandbox.mishaps import html_image, missing_image, tiny_image

STRATEGIES = ("link", "patch")


@pytest.fixture(params=STRATEGIES)
def small(database: sa.Engine, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Connector]:
    """Four products with 20 images of 12 pictures, by either strategy."""
    with open_connector(database, tmp_path, listings=demo_listings()[10:14], strategy=request.param) as connector:
        yield connector


def sku(connector: Connector, number: int = 0) -> str:
    return list(wanted(connector))[number]


def is_patch(connector: Connector) -> bool:
    return connector.settings.strategy == "patch"


def test_images_that_people_added_keep_their_place(small: Connector) -> None:
    for position in (None, 0):
        small.plytix.mutate("add_image", sku=sku(small), filename=f"{position}.jpg", position=position)
    small.sync()
    assert_converged(small)
    assert small.plytix.filenames(sku(small))[:2] == ("0.jpg", "None.jpg")
    before, calls = small.shown(), small.calls()
    assert small.sync().summary.warnings == ()
    assert small.shown() == before
    assert small.calls() == calls + 1, "assets of other people are asked for once"


def test_an_image_in_the_middle_of_the_gallery_stays_in_the_middle(small: Connector) -> None:
    small.sync()
    small.plytix.mutate("add_image", sku=sku(small), filename="person.jpg", position=2)
    listing = small.amazon.listings[0]
    small.amazon.mutate("new_image", listing.asin, variant="PT07")
    small.write()
    small.sync()
    assert_converged(small)
    assert small.plytix.filenames(sku(small))[2] == "person.jpg"


def test_a_wrong_order_is_repaired_by_patch_and_told_by_link(small: Connector) -> None:
    small.sync()
    small.plytix.mutate("reorder", sku=sku(small))
    done = small.sync()
    if is_patch(small):
        assert_converged(small)
        assert done.summary.api_calls == 2
    else:
        assert "another order" in done.summary.warnings[0]
        assert done.summary.api_calls == 1


def test_an_order_that_is_wrong_because_an_image_failed_is_mended(small: Connector) -> None:
    main = small.amazon.listings[0].images[0].picture.id
    small.amazon.faults.add(missing_image(main).for_good())
    small.sync()
    small.amazon.faults.clear()
    done = small.sync()
    assert_converged(small)
    assert done.summary.warnings == ()
    calls = small.calls()
    assert small.sync().summary.warnings == ()
    assert small.calls() == calls + 1
    # An image that comes later into the middle finds an order that is ours, however it came about.
    small.amazon.mutate("new_image", small.amazon.listings[0].asin, variant="PT01")
    small.write()
    small.sync()
    assert_converged(small)


def test_a_thumbnail_that_somebody_changed_is_set_again_in_one_call(small: Connector) -> None:
    small.sync()
    small.plytix.mutate("set_thumbnail", sku=sku(small))
    done = small.sync()
    assert_converged(small)
    assert (done.summary.api_calls, done.summary.products_affected) == (2, 1)
    assert "0 links created, 1 thumbnails set; 2 calls." in done.step.lines[0]


def test_an_image_that_somebody_took_out_is_put_back(small: Connector) -> None:
    small.sync()
    small.plytix.mutate("remove_image", sku=sku(small), position=7)
    done = small.sync()
    assert_converged(small)
    assert (done.report["links_created"], done.report["images_uploaded"]) == (1, 0)


def test_an_asset_that_somebody_deleted_is_uploaded_again_in_the_same_run(small: Connector) -> None:
    small.sync()
    name = wanted(small)[sku(small, 1)][-1]
    asset = next(asset for asset in small.plytix.assets() if asset.filename == name)
    small.plytix.mutate("delete_asset", asset_id=asset.id)
    done = small.sync()
    assert_converged(small)
    assert (done.report["images_uploaded"], done.report["links_created"], done.report["errors"]) == (1, 3, [])


def test_an_asset_that_was_deleted_while_we_wrote_is_uploaded_again(small: Connector) -> None:
    small.sync()
    small.plytix.mutate("remove_image", sku=sku(small, 1), position=3)
    name = wanted(small)[sku(small, 1)][-1]
    asset = next(asset for asset in small.plytix.assets() if asset.filename == name)
    endpoint = "product patch" if is_patch(small) else "link"
    small.plytix.moments.before(endpoint, lambda: small.plytix.mutate("delete_asset", asset_id=asset.id))
    small.sync()
    small.sync()
    assert_converged(small)


def test_a_product_that_plytix_does_not_have_is_told_and_stops_nothing(small: Connector) -> None:
    small.plytix.mutate("delete_product", sku=sku(small))
    done = small.sync()
    assert [error["product_sku"] for error in done.report["errors"]] == [sku(small)]
    assert done.report["links_created"] == 12
    small.plytix.mutate("add_product", sku=sku(small))
    small.sync()
    assert_converged(small)


def test_a_product_that_goes_while_we_write_fails_alone(small: Connector) -> None:
    gone = sku(small)
    small.plytix.moments.before("asset create", lambda: small.plytix.mutate("delete_product", sku=gone))
    done = small.sync()
    assert {error["product_sku"] for error in done.report["errors"]} == {gone}
    assert done.summary.failed == 8
    small.plytix.mutate("add_product", sku=gone)
    assert small.sync().report["errors"] == []
    assert_converged(small)


def test_a_product_that_goes_before_its_thumbnail_is_set_is_not_told_as_done(small: Connector) -> None:
    gone, alone = min(wanted(small)), small.with_settings(workers=1)
    small.plytix.moments.before("product patch", lambda: small.plytix.mutate("delete_product", sku=gone))
    done = alone.sync()
    assert {error["product_sku"] for error in done.report["errors"]} == {gone}
    assert done.report["main_image_links"] == len(wanted(small)) - 1
    assert done.summary.failed == (len(wanted(small)[gone]) if is_patch(small) else 1)
    small.plytix.mutate("add_product", sku=gone)
    assert small.sync().report["errors"] == []
    assert_converged(small)


@pytest.mark.parametrize("mishap", [missing_image, html_image, tiny_image], ids=["404", "html", "one pixel"])
def test_a_picture_that_plytix_does_not_take_stops_no_other(small: Connector, mishap: object) -> None:
    picture = small.amazon.listings[1].images[2].picture
    small.amazon.faults.add(mishap(picture.id).for_good())  # type: ignore[operator]
    done = small.sync()
    bad = file_name(f"{picture.id}.jpg")
    assert_converged(small, without=[bad])
    assert len(done.report["errors"]) == 3
    assert all(error["url"].endswith(f"{picture.id}.jpg") for error in done.report["errors"])
    assert len(small.sync().report["errors"]) == 3, "what Plytix kept of it is no picture the second time either"
    assert_converged(small, without=[bad])
    small.amazon.faults.clear()
    done = small.sync()
    assert done.report["errors"] == []
    # Under a pixel's name Plytix keeps the pixel, and gives the picture another one: then only the numbers tell.
    assert [len(small.plytix.gallery(one)) for one in wanted(small)] == [8, 4, 4, 4]
    if is_patch(small) and mishap is not tiny_image:
        assert_converged(small)
    assert not small.quarantined()


def test_existing_galleries_are_skipped_when_asked(small: Connector) -> None:
    small.plytix.mutate("add_image", sku=sku(small))
    done = small.sync(skip_existing=True)
    assert done.report["links_created"] == 12
    assert len(small.plytix.gallery(sku(small))) == 1
    assert done.report["metadata"]["skip_existing"] is True


def test_a_forced_upload_makes_nothing_twice(small: Connector) -> None:
    small.sync()
    before = small.shown()
    done = small.sync(force_reupload=True)
    assert small.shown() == before
    assert (done.report["images_uploaded"], done.report["images_skipped"], done.report["links_created"]) == (0, 12, 0)
    assert_converged(small)


def test_a_forced_upload_of_other_content_takes_the_place_of_the_old_one(small: Connector) -> None:
    small.sync()
    picture = small.amazon.listings[1].images[2].picture
    name = file_name(f"{picture.id}.jpg")
    old = next(asset for asset in small.plytix.assets() if asset.filename == name)
    small.plytix.mutate("rename_asset", asset_id=old.id, filename="renamed.jpg")
    done = small.sync(force_reupload=True)
    assert done.report["images_uploaded"] == 1
    new = next(asset for asset in small.plytix.assets() if asset.filename == name)
    gallery = small.plytix.gallery(sku(small, 1))
    if is_patch(small):
        assert gallery.index(new.id) == 2
        assert old.id not in gallery
    else:
        assert gallery[-1] == new.id
    # The picture is on three products.
    told = any("3 images have other content than before" in text for text in done.summary.warnings)
    assert told is not is_patch(small), "only a link leaves the old one beside the new one"
    calls = small.calls()
    small.sync()
    assert small.calls() == calls + (1 if is_patch(small) else 4), "what was appended comes to its place"
    ours = [one for one in small.plytix.filenames(sku(small, 1)) if one != "renamed.jpg"]
    assert tuple(ours) == wanted(small)[sku(small, 1)]
    calls = small.calls()
    small.sync()
    assert small.calls() == calls + 1


def test_a_lost_ledger_is_made_again_from_our_file_names(small: Connector, database: sa.Engine) -> None:
    small.plytix.mutate("add_image", sku=sku(small), position=0)
    small.sync()
    before, calls = small.shown(), small.calls()
    with database.begin() as connection:
        connection.execute(sa.text("TRUNCATE imagesync.plytix_asset, imagesync.plytix_link"))
    done = small.sync()
    assert small.shown() == before
    assert (done.report["images_uploaded"], done.report["images_skipped"], small.calls()) == (0, 12, calls + 2)
    known = small.ledger.known()
    assert (len(known.keys), len(known.foreign), len(known.links)) == (12, 1, 20)


def test_a_file_that_plytix_renamed_is_recognised_when_the_ledger_was_lost(
    small: Connector, database: sa.Engine
) -> None:
    first, *_ = wanted(small)[sku(small)]
    small.plytix.mutate("upload", filename=first)
    small.sync()
    shown = {name for names, _ in small.shown().values() for name in names}
    renamed = [name for name in shown if name not in {name for names in wanted(small).values() for name in names}]
    assert len(renamed) == 1, "somebody else's file has its name"
    before, assets = small.shown(), small.plytix.assets()
    with database.begin() as connection:
        connection.execute(sa.text("TRUNCATE imagesync.plytix_asset, imagesync.plytix_link"))
    done = small.sync()
    assert (small.shown(), small.plytix.assets()) == (before, assets)
    assert (done.report["images_uploaded"], done.summary.products_affected, done.summary.warnings) == (0, 0, ())
    assert len(small.ledger.known().links) == 20


def test_a_product_takes_300_assets_and_the_others_go_on(small: Connector) -> None:
    full, *others = wanted(small)
    free = 2
    for number in range(300 - free):
        small.plytix.mutate("add_image", sku=full, filename=f"{number}.jpg")
    fitting = 0 if is_patch(small) else free
    missing = len(wanted(small)[full]) - fitting
    for links in (12 + fitting, 0):
        done = small.sync()
        assert done.report["links_created"] == links
        told = [error for error in done.report["errors"] if error["product_sku"] == full]
        assert len(told) == len(done.report["errors"]) == missing
        assert all("at most 300 assets" in error["error"] for error in told)
        failed = "product images failed and are in quarantine, see `imagesync quarantine list`"
        assert f"{missing} {failed}; the next run tries them again." in done.summary.warnings
        assert len(small.plytix.gallery(full)) == 300 - free + fitting
    assert [small.shown()[one][0] for one in others] == [wanted(small)[one] for one in others]


def test_a_picture_that_is_in_the_library_and_nowhere_else_is_found_by_the_upload(
    small: Connector, database: sa.Engine
) -> None:
    small.sync()
    for one in wanted(small):
        while small.plytix.gallery(one):
            small.plytix.mutate("remove_image", sku=one)
    with database.begin() as connection:
        connection.execute(sa.text("TRUNCATE imagesync.plytix_asset, imagesync.plytix_link"))
    done = small.sync()
    assert_converged(small)
    assert (done.report["images_uploaded"], done.report["images_skipped"]) == (0, 12)


def test_a_second_run_beside_the_first_is_refused_and_changes_nothing(small: Connector) -> None:
    with small.at("other").lock(), pytest.raises(AccountBusyError, match="plytix/main"):
        small.sync()
    assert small.plytix.assets() == ()
    small.sync()
    assert_converged(small)


def test_a_stored_plan_is_applied_later_and_only_where_nothing_moved(small: Connector) -> None:
    with small.api() as api:
        made = small.plan(api, small.run_id(), dry_run=True)
        assert small.plytix.assets() == ()
        done = small.apply(api, small.run_id(), made.plan_id)
        assert done.summary.images_added == 20
        assert_converged(small)
        again = small.apply(api, small.run_id(), made.plan_id)
    assert (again.summary.refused, again.report["links_created"]) == (20, 0)
    assert "plan again" in " ".join(again.summary.warnings)
    assert_converged(small)


@pytest.mark.parametrize("later", [False, True], ids=["its uploads take long", "by its number, in another run"])
def test_uploads_of_our_own_do_not_make_a_plan_stale(small: Connector, later: bool) -> None:
    small.sync()
    for image in small.amazon.listings[1].images:
        name = file_name(f"{image.picture.id}.jpg")
        old = next(asset for asset in small.plytix.assets() if asset.filename == name)
        small.plytix.mutate("rename_asset", asset_id=old.id, filename=f"renamed-{image.picture.id}.jpg")
    with small.api() as api:
        made = small.plan(api, "plan-run", force_reupload=True)
        run_id, number = ("apply-run", made.plan_id) if later else ("plan-run", None)
        small.upload(api, run_id, plan_id=number)
        small.plytix.clock.move(6 * 60)
        done = small.write_galleries(api, run_id, plan_id=number)
    assert (done.summary.refused, done.summary.failed) == (0, 0)
    assert done.summary.images_updated > 0


def test_a_dry_run_reports_and_writes_nothing(small: Connector) -> None:
    with small.api() as api:
        made = small.plan(api, "dry", dry_run=True)
    assert (small.calls(), small.plytix.assets()) == (1, ())
    assert made.report["metadata"]["dry_run"] is True
    assert (made.report["total_image_refs"], made.report["links_created"]) == (20, 20)
    calls = 16 if is_patch(small) else 36
    assert made.step.shown["cost"] == f"{calls} calls to Plytix, 12 uploads among them."


def test_an_image_that_somebody_adds_between_plan_and_patch_stays(small: Connector) -> None:
    small.plytix.mutate("add_image", sku=sku(small), filename="before.jpg")
    with small.api() as api:
        run_id = small.run_id()
        small.plan(api, run_id)
        small.plytix.mutate("add_image", sku=sku(small), filename="meanwhile.jpg")
        small.plytix.clock.move(31)
        done = small.apply(api, run_id)
    assert done.summary.images_added == 20
    assert {"before.jpg", "meanwhile.jpg"} <= set(small.plytix.filenames(sku(small)))
    assert_converged(small)
    # One call reads all four of them again.
    assert small.plytix.ledger.count("product search") == (2 if is_patch(small) else 1)
