"""Proves that made-up listings come from their seed alone and have the figures of the contract's section 6.4."""

from collections import Counter

import pytest

from imagesync_pipelines.sandbox.amazon.listings import AmazonListing, ListingError, Shelf, demo_listings, make_listings
from imagesync_pipelines.sandbox.amazon.pictures import Background
from imagesync_pipelines_tests.sandbox.amazon.making import in_marketplace, poor_listings

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def many() -> tuple[AmazonListing, ...]:
    return make_listings(2_000, seed=5)


def test_the_same_seed_gives_the_same_listings() -> None:
    assert make_listings(50, seed=7) == make_listings(50, seed=7)
    assert make_listings(50, seed=7) != make_listings(50, seed=8)


def test_there_are_exactly_so_many_listings_and_no_asin_is_there_twice(many: tuple[AmazonListing, ...]) -> None:
    assert len({listing.asin for listing in many}) == len(many) == 2_000
    assert make_listings(0) == ()
    assert len(make_listings(1)) == 1


def test_images_per_listing_are_as_in_the_contract(many: tuple[AmazonListing, ...]) -> None:
    children = [listing for listing in many if not listing.is_parent]
    counts = Counter(len(listing.images) for listing in children)
    assert {number for number, _ in counts.most_common(2)} == {4, 8}
    assert set(counts) == set(range(10))
    with_main = sum(any(image.variant == "MAIN" for image in listing.images) for listing in children)
    assert 0.93 <= with_main / len(children) <= 1
    slots = Counter(image.variant for listing in children for image in listing.images)
    assert 0 < slots["SWCH"] < 0.06 * len(children)
    assert any({"PT07"} <= variants and "PT06" not in variants for variants in map(_variants, children))


def _variants(listing: AmazonListing) -> set[str | None]:
    return {image.variant for image in listing.images}


def test_no_listing_shows_a_picture_or_a_slot_twice(many: tuple[AmazonListing, ...]) -> None:
    assert sum(len(listing.images) for listing in many) > 100
    for listing in many:
        assert len({image.picture.id for image in listing.images}) == len(listing.images)
        assert len(_variants(listing)) == len(listing.images)


def test_pictures_are_shared_as_in_the_contract(many: tuple[AmazonListing, ...]) -> None:
    children = [listing for listing in many if not listing.is_parent]
    shown = Counter(Counter(image.picture.id for one in children for image in one.images).values())
    ids = sum(shown.values())
    assert 0.6 < shown[1] / ids < 0.72
    assert 0.09 < shown[2] / ids < 0.15
    assert 16 < max(shown) <= 23


def test_a_shared_picture_stands_in_different_slots(many: tuple[AmazonListing, ...]) -> None:
    slots: dict[str, set[str | None]] = {}
    for listing in many:
        for image in listing.images:
            slots.setdefault(image.picture.id, set()).add(image.variant)
    assert any(len(found) > 1 for found in slots.values())


def test_every_fifth_id_holds_a_plus_or_a_minus(many: tuple[AmazonListing, ...]) -> None:
    ids = {image.picture.id for listing in many for image in listing.images}
    assert {len(one) for one in ids} == {11}
    assert 0.19 < sum("+" in one or "-" in one for one in ids) / len(ids) < 0.25
    # What a pattern without these characters would take for one picture.
    cut = Counter(one[:2] for one in ids if one[2] in "+-")
    assert max(cut.values()) > 10


def test_parents_are_one_in_seven_and_few_children_name_theirs(many: tuple[AmazonListing, ...]) -> None:
    parents = [listing for listing in many if listing.is_parent]
    assert len(parents) == -(-2_000 // 7)
    assert 0.2 < sum(not listing.images for listing in parents) / len(parents) < 0.5
    assert all(listing.upc is None for listing in parents)
    children = [listing for listing in many if not listing.is_parent]
    naming = [listing for listing in children if listing.parent_asin is not None]
    assert 0.05 < len(naming) / len(children) < 0.15
    assert {listing.parent_asin for listing in naming} <= {listing.asin for listing in parents}
    assert any(listing.package_asin for listing in children)


def test_a_number_of_images_is_kept_by_every_listing() -> None:
    listings = make_listings(30, images=7, longest=600)
    assert len(listings) == 30
    for listing in listings:
        assert [image.variant for image in listing.images] == ["MAIN", *(f"PT0{nth}" for nth in range(1, 7))]
        assert max(max(image.picture.width, image.picture.height) for image in listing.images) <= 600


def test_the_demo_has_the_counts_of_the_real_file() -> None:
    listings = [listing for listing in demo_listings() if listing.images]
    assert Counter(len(listing.images) for listing in listings) == {8: 11, 4: 5}
    ids = [image.picture.id for listing in listings for image in listing.images]
    assert (len(ids), len(set(ids))) == (108, 12)
    assert all(listing.images[0].variant == "MAIN" for listing in listings)


def test_another_marketplace_shows_the_same_pictures_with_another_main() -> None:
    here = make_listings(20, seed=2)
    there = in_marketplace(here, "CA")
    for one, other in zip(here, there, strict=True):
        assert {image.picture for image in one.images} == {image.picture for image in other.images}
        assert other.suggested_sku == f"AMZN-CA-{one.asin}"
    several = [pair for pair in zip(here, there, strict=True) if len(pair[0].images) > 1]
    assert several
    assert all(one.images[0].picture != other.images[0].picture for one, other in several)


def test_poor_listings_have_what_their_name_says() -> None:
    poor = poor_listings()
    small = poor["small_main"].picture("MAIN")
    assert max(small.width, small.height) < 500
    assert poor["grey_main"].picture("MAIN").background is Background.GREY
    assert poor["undecodable"].picture("PT01").undecodable
    assert poor["twins"].picture("PT01").look == poor["twins"].picture("PT02").look
    assert poor["twins"].picture("PT01").id != poor["twins"].picture("PT02").id
    with pytest.raises(ListingError, match="no image MAIN"):
        poor["no_main"].picture("MAIN")
    assert poor_listings() == poor


def test_a_shelf_gives_what_was_put_on_it() -> None:
    shelf = Shelf()
    shelf.put(*make_listings(5))
    listing = shelf.all("US")[1]
    assert shelf.one(listing.asin, "US") == listing
    assert shelf.all("CA") == ()
    with pytest.raises(ListingError, match="not listed in CA"):
        shelf.one(listing.asin, "CA")
    with pytest.raises(ListingError, match="has no picture nothing"):
        shelf.hide("nothing")
