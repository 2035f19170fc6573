"""Every trap of the contract, from end to end at both head offices: no good picture is lost, and the next run is right.

The tests of a module share one head office of each kind; every test has stores of its own and changes other products.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from imagesync_pipelines.connectors.edge.errors import StoreUnknownError
from imagesync_pipelines.sandbox.faults import (
    WireFault,
    altered,
    drip,
    latency,
    reset,
    server_error,
    truncated,
    wrong_length,
)
from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox
from imagesync_pipelines.sandbox.head_office.watching import DOWNLOAD, LISTING, STATUS, TOKEN
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines_tests.edge_installations import EdgeWorld, edge_world, head_office
from imagesync_pipelines_tests.sandbox.mishaps import (
    bomb_photo,
    html_photo,
    no_such_key,
    object_store_down,
    token_expired,
)

PHOTOS = 24

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[False, True], ids=["service", "original"])
def office(
    request: pytest.FixtureRequest, server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[HeadOfficeSandbox]:
    """A head office of either kind."""
    folder = tmp_path_factory.mktemp("office")
    with head_office(server, folder, photos=PHOTOS, original=request.param) as running:
        yield running


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path, office: HeadOfficeSandbox) -> Iterator[EdgeWorld]:
    """Stores that have everything the head office lists."""
    office.faults.clear()
    with edge_world(server, tmp_path / "place", office) as made:
        made.run(full=True)
        made.assert_converged()
        yield made
        office.faults.clear()


def test_a_replaced_photo_takes_the_place_of_the_old_one_in_an_incremental_run(place: EdgeWorld) -> None:
    changed = place.office.mutate("replace")
    before = {key for key, held in place.photos().items() if held.product_id == str(changed.product_id)}
    done = place.run()
    assert (done.summary.images_updated, done.summary.images_added, done.summary.images_deleted) == (1, 0, 0)
    assert len(before) == 1
    place.assert_converged()
    primaries = [held for held in place.photos().values() if held.product_id == str(changed.product_id)]
    assert [held.is_primary for held in primaries] == [True]


def test_another_order_is_an_update_without_bytes(place: EdgeWorld) -> None:
    place.office.mutate("edit")
    place.office.ledger.clear()
    done = place.run()
    assert done.summary.images_updated == 1
    assert place.office.ledger.count(DOWNLOAD) == 0
    place.assert_converged()


def test_a_deleted_photo_goes_by_word_of_the_head_office_or_by_a_proven_scan(place: EdgeWorld) -> None:
    place.office.mutate("delete_row")
    done = place.run()
    if place.office.bench.silent:
        assert done.summary.images_deleted == 0, "the original tells nobody"
        done = place.run(full=True)
    assert done.summary.images_deleted == 1
    place.assert_converged()


def test_a_product_that_is_switched_off_and_on_again_comes_back(place: EdgeWorld) -> None:
    changed = place.office.mutate("deactivate_product")
    place.run(full=True)
    place.assert_converged()
    place.office.mutate("reactivate_product", product_id=changed.product_id)
    place.run()
    place.run(full=True)
    place.assert_converged()


def test_a_photo_committed_late_is_found_by_the_overlap_or_by_a_full_run(place: EdgeWorld) -> None:
    place.office.mutate("late_commit", seconds=300)
    assert place.run().summary.images_added == 1
    place.office.mutate("late_commit", seconds=7200)
    assert place.run().summary.images_added == 0
    assert place.run(full=True).summary.images_added == 1
    place.assert_converged()


def test_an_import_without_an_object_is_no_image_and_keeps_the_old_one(place: EdgeWorld) -> None:
    place.office.mutate("excel_import")
    done = place.run()
    assert done.listed.unusable == 1
    assert done.made.numbers["plan/reject"] == 1
    assert done.left.failed == 0
    place.assert_converged()


def test_two_primary_photos_of_a_product_are_both_kept_and_one_is_first(place: EdgeWorld) -> None:
    place.office.mutate("second_primary")
    assert place.run().summary.images_added == 1
    place.assert_converged()
    assert place.run(full=True).summary.images_updated == 0


def test_many_photos_that_were_replaced_are_updates_in_their_places(place: EdgeWorld) -> None:
    products = sorted({str(row.product_id) for row in place.listed().values()})[:8]
    for product in products:
        place.office.mutate("replace", product_id=UUID(product))
    done = place.run()
    summary = done.summary
    assert (summary.images_updated, summary.images_added, summary.images_deleted, summary.held_back) == (8, 0, 0, 0)
    assert done.left.doubles == 0
    place.assert_converged()


@pytest.mark.parametrize("full", [False, True], ids=["incremental", "full"])
def test_a_total_of_0_removes_nothing(place: EdgeWorld, full: bool) -> None:
    stamps = place.stamps()
    place.office.mutate("empty_store", silent=True)
    done = place.run(full=full)
    assert done.summary.images_deleted == 0
    assert place.stamps() == stamps
    if full:
        assert not done.listed.complete
        assert any("no photo" in warning for warning in done.summary.warnings), done.summary.warnings
    place.office.mutate("refill_store", silent=True)
    place.run(full=True)
    place.assert_converged()


def test_a_store_that_is_switched_off_ends_the_run_and_removes_nothing(place: EdgeWorld) -> None:
    stamps = place.stamps()
    place.office.mutate("deactivate_store")
    try:
        with pytest.raises(StoreUnknownError):
            place.run(full=True)
    finally:
        place.office.mutate("activate_store")
    assert place.stamps() == stamps
    place.run()
    place.assert_converged()


def test_a_brand_that_is_unlinked_trips_the_deletion_limits_until_a_person_lifts_it(place: EdgeWorld) -> None:
    stamps = place.stamps()
    place.office.mutate("unlink_brand")
    done = place.run(full=True)
    assert done.summary.images_deleted == 0
    assert done.summary.held_back > 5
    assert place.stamps() == stamps
    place.run(full=True, allow_mass_delete=True)
    place.assert_converged()
    place.office.mutate("link_brand")
    place.run(full=True)
    place.assert_converged()


def test_changes_between_the_pages_of_a_scan_remove_nothing_that_is_there(place: EdgeWorld) -> None:
    place.office.between_pages(1, lambda: place.office.mutate("delete_row"))
    place.office.between_pages(2, lambda: place.office.mutate("add"))
    place.run(full=True, page_size=10)
    place.run(full=True, page_size=10)
    place.assert_converged()


def test_a_photo_replaced_between_listing_and_download_is_no_corruption(place: EdgeWorld) -> None:
    changed = place.office.mutate("replace")
    place.office.between_pages(1, lambda: place.office.mutate("replace", product_id=changed.product_id))
    done = place.run()
    assert done.left.mismatched == 0
    place.run()
    place.run(full=True)
    place.assert_converged()


MENDED = [
    pytest.param(truncated().at(DOWNLOAD), id="truncated"),
    pytest.param(altered().at(DOWNLOAD), id="flipped bytes"),
    pytest.param(wrong_length(50).at(DOWNLOAD), id="a length too large"),
    pytest.param(wrong_length(-50).at(DOWNLOAD), id="a length too small"),
    pytest.param(reset().at(DOWNLOAD), id="reset"),
    pytest.param(html_photo(), id="HTML"),
    pytest.param(bomb_photo(), id="a bomb"),
    pytest.param(no_such_key(), id="missing object"),
    pytest.param(object_store_down(), id="object store down"),
    pytest.param(token_expired().at(DOWNLOAD), id="expired token"),
    pytest.param(drip(0.5).at(DOWNLOAD), id="slow body"),
]


@pytest.mark.parametrize("fault", MENDED)
def test_a_bad_download_never_replaces_a_good_picture_and_is_tried_again(place: EdgeWorld, fault: WireFault) -> None:
    changed = place.office.mutate("replace")
    old = {key: held for key, held in place.photos().items() if held.product_id == str(changed.product_id)}
    place.office.faults.add(fault.for_good())
    # A run may end at a source that is dead for good; what it leaves is what counts.
    with suppress(UpstreamError):
        place.run()
    held = place.photos()
    assert all(photo.md5 in {None, photo.checksum} for photo in held.values()), "nothing unproven is stored"
    fresh = held.get(str(changed.photo_id))
    assert (fresh is not None and fresh.md5) or old.items() <= held.items(), "the old one stays until the new is there"
    place.office.faults.clear()
    place.run()
    # The same fault may have kept the head office from saying that the old one is gone; a scan shows it.
    place.run(full=True)
    place.assert_converged()


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param((server_error(500), server_error(502)), id="a burst of 5xx"),
        pytest.param((token_expired().at(LISTING).after(1),), id="token expired in mid-scan"),
        pytest.param((token_expired().at(STATUS),), id="expired token at the report"),
        pytest.param((reset().at(LISTING),), id="reset at the listing"),
        pytest.param((latency(0.5).at(TOKEN),), id="slow login"),
    ],
)
def test_a_passing_fault_is_not_noticed(place: EdgeWorld, faults: tuple[WireFault, ...]) -> None:
    place.office.mutate("replace")
    place.office.faults.add(*faults)
    place.run(full=True, page_size=10, tries=4)
    place.assert_converged()


@pytest.mark.parametrize(
    ("operator", "repaired"),
    [
        pytest.param("delete_object", False, id="object deleted"),
        pytest.param("flip_object", False, id="object flipped"),
        pytest.param("truncate_object", False, id="object truncated"),
        pytest.param("stale_checksum", False, id="stale checksum"),
        pytest.param("wrong_size", True, id="wrong size"),
    ],
)
def test_a_new_photo_that_is_broken_at_the_head_office_is_tried_until_it_is_mended(
    place: EdgeWorld, operator: str, repaired: bool
) -> None:
    changed = place.office.mutate("replace")
    place.office.mutate(operator, photo_id=changed.photo_id)
    place.run()
    held = place.photos()
    if not repaired:
        assert str(changed.photo_id) not in held or held[str(changed.photo_id)].md5 is None
        done: Any = place.run()
        assert done.left.tried >= 1, "it is tried again although nothing is new"
    place.office.mutate("replace", product_id=changed.product_id)
    place.run()
    place.run(full=True)
    place.assert_converged()


@pytest.mark.parametrize("hours", [-3, 3], ids=["slow clock", "fast clock"])
def test_a_head_office_whose_clock_is_wrong_loses_nothing(place: EdgeWorld, hours: int) -> None:
    place.run()
    place.office.clock.move(hours * 3600)
    try:
        place.office.mutate("replace")
        place.run()
        if hours < 0:
            # Its clock went back below the cursor: only a full listing finds what was stamped with it.
            place.run(full=True)
        place.assert_converged()
    finally:
        place.office.clock.move(-hours * 3600)


def test_reports_that_could_not_be_sent_are_sent_by_the_next_run(place: EdgeWorld) -> None:
    changed = place.office.mutate("replace")
    place.office.faults.add(server_error(500).at(STATUS).for_good())
    failed = place.run()
    assert failed.sent.numbers["report/kept"] >= 1
    assert failed.summary.images_updated == 1, "the synchronisation is not disturbed"
    place.office.faults.clear()
    assert place.run().sent.numbers["report/kept"] == 0
    assert str(changed.photo_id) in {report.photo_id for report in place.office.reports() if report.status == "synced"}


def test_photos_of_products_that_the_store_does_not_have_wait_for_them(place: EdgeWorld) -> None:
    place.rows("CREATE TABLE product (id uuid PRIMARY KEY)")
    place.rows("INSERT INTO product SELECT DISTINCT product_id FROM product_photo")
    place.rows("ALTER TABLE product_photo ADD FOREIGN KEY (product_id) REFERENCES product (id) ON DELETE CASCADE")
    changed = place.office.mutate("add")
    waiting = place.run()
    assert waiting.left.failed == 0
    assert str(changed.photo_id) not in place.photos()
    place.rows(f"INSERT INTO product VALUES ('{changed.product_id}')")
    assert place.run().summary.images_added == 1
    place.assert_converged()
