"""Proves that listings change as they are told to, and that their pictures are on the image host."""

import pytest

from imagesync_pipelines.sandbox.amazon.listings import ListingError
from imagesync_pipelines.sandbox.amazon.server import AmazonSandbox
from imagesync_pipelines.sandbox.mutation import MutationError

pytestmark = pytest.mark.slow


@pytest.fixture
def asin(amazon: AmazonSandbox) -> str:
    """A listing with MAIN, PT01 and more."""
    return next(
        listing.asin
        for listing in amazon.listings
        if {"MAIN", "PT01"} <= {image.variant for image in listing.images} and len(listing.images) > 3
    )


def test_a_new_main_has_a_new_id_and_stands_first(amazon: AmazonSandbox, asin: str) -> None:
    before = amazon.shelf.one(asin, "US")
    after = amazon.mutate("new_image", asin)
    assert after.images[0].variant == "MAIN"
    assert after.picture("MAIN").id != before.picture("MAIN").id
    assert after.images[1:] == before.images[1:]
    assert amazon.fetch(after.picture("MAIN").url()).status == 200
    # Amazon keeps what was uploaded once.
    assert amazon.fetch(before.picture("MAIN").url()).status == 200


def test_a_new_slot_is_filled(amazon: AmazonSandbox, asin: str) -> None:
    amazon.mutate("remove_image", asin, variant="MAIN")
    assert amazon.mutate("new_image", asin).images[0].variant == "MAIN"
    assert amazon.mutate("new_image", asin, variant="SWCH").images[-1].variant == "SWCH"


def test_pictures_swap_their_slots(amazon: AmazonSandbox, asin: str) -> None:
    before = amazon.shelf.one(asin, "US")
    after = amazon.mutate("swap", asin)
    assert after.picture("MAIN") == before.picture("PT01")
    assert after.picture("PT01") == before.picture("MAIN")
    assert after.images[2:] == before.images[2:]


def test_an_image_and_all_images_are_removed(amazon: AmazonSandbox, asin: str) -> None:
    after = amazon.mutate("remove_image", asin, variant="PT01")
    assert "PT01" not in {image.variant for image in after.images}
    assert amazon.mutate("remove_images", asin).images == ()


def test_a_child_may_show_the_picture_of_another(amazon: AmazonSandbox, asin: str) -> None:
    other = next(one for one in amazon.listings if one.asin != asin and one.images and one.images[0].variant == "MAIN")
    after = amazon.mutate("share_image", asin, variant="PT01", source=other.asin)
    assert after.picture("PT01") == other.picture("MAIN")


def test_a_listing_goes_and_a_picture_goes(amazon: AmazonSandbox, asin: str) -> None:
    listing = amazon.mutate("hide_image", asin)
    assert amazon.fetch(listing.picture("MAIN").url()).status == 404
    amazon.mutate("delete", asin)
    assert asin not in {one.asin for one in amazon.listings}


@pytest.mark.parametrize(
    ("operator", "arguments", "complaint"),
    [
        ("burn", {}, "no operator is called burn; there are delete"),
        ("swap", {"third": "PT02"}, "swap: "),
        ("remove_image", {"variant": "PT99"}, "has no image PT99"),
        ("new_image", {"marketplace": "CA"}, "is not listed in CA"),
    ],
)
def test_a_wrong_change_is_named(
    amazon: AmazonSandbox, asin: str, operator: str, arguments: dict[str, str], complaint: str
) -> None:
    with pytest.raises((MutationError, ListingError), match=complaint):
        amazon.mutate(operator, asin, **arguments)
