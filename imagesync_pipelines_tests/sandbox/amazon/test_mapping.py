"""Proves that mapping files have the shapes and counts of the contract's section 6, and an oddity where it is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from imagesync_pipelines.sandbox.amazon.listings import AmazonListing, make_listings
from imagesync_pipelines.sandbox.amazon.mapping import (
    FLAT_COLUMNS,
    FLAT_IMAGES,
    Shape,
    demo_mapping,
    mapping_file,
    write_mapping,
)
from imagesync_pipelines_tests.sandbox.amazon.oddities import ODDITIES, OddityError, odd_mapping

pytestmark = pytest.mark.slow

NTH = 2
IMPOSSIBLE = {
    (name, "flat")
    for name in (
        "late_variant",
        "no_link",
        "no_variant",
        "null_images",
        "null_variant",
        "repeated_entry",
        "swatch_by_its_old_name",
        "two_mains",
        "unknown_variant",
    )
}


@pytest.fixture(scope="module")
def listings() -> tuple[AmazonListing, ...]:
    return make_listings(21, seed=4, images=5, longest=1000)


def test_the_demo_has_the_shape_and_counts_of_a_real_file() -> None:
    mapping = demo_mapping()
    metadata = mapping["metadata"]
    assert set(mapping) == {"metadata", "matched", "unmatched_amazon"}
    assert (metadata["amazon_count"], metadata["matched_count"], metadata["unmatched_count"]) == (20, 16, 4)
    links = [entry[column] for entry in mapping["matched"] for column in FLAT_IMAGES if entry[column]]
    assert (len(mapping["matched"]), len(links), len(set(links))) == (16, 108, 12)
    assert sum(entry["amazon_image_main"] is not None for entry in mapping["matched"]) == 16
    assert all(link.startswith("https://m.media-amazon.com/images/I/") for link in links)
    assert json.dumps(mapping) == json.dumps(demo_mapping())
    assert not any(FLAT_IMAGES[0] in entry for entry in mapping["unmatched_amazon"])


def test_flat_files_have_a_column_per_slot_and_lose_the_parents(listings: tuple[AmazonListing, ...]) -> None:
    mapping = mapping_file(listings)
    children = [listing for listing in listings if not listing.is_parent]
    assert [entry["suggested_sku"] for entry in mapping["matched"]] == [one.suggested_sku for one in children]
    for entry, listing in zip(mapping["matched"], children, strict=True):
        shown = {image.variant: image.picture.url() for image in listing.images}
        assert {column: entry[column] for column in FLAT_IMAGES} == {
            column: shown.get(variant) for variant, column in FLAT_COLUMNS.items()
        }
    parents = [listing.asin for listing in listings if listing.is_parent]
    assert [entry["amazon_asin"] for entry in mapping["unmatched_amazon"]] == parents


def test_list_files_have_the_images_of_children_and_parents(listings: tuple[AmazonListing, ...]) -> None:
    mapping = mapping_file(listings, "list")
    entries = {entry["amazon_asin"]: entry for entry in mapping["matched"] + mapping["unmatched_amazon"]}
    for listing in listings:
        images = entries[listing.asin]["amazon_images"]
        assert [(image["variant"], image["link"]) for image in images] == [
            (image.variant, image.picture.url()) for image in listing.images
        ]
    kinds = {entry["item_classification"] for entry in mapping["unmatched_amazon"]}
    assert kinds == {"VARIATION_PARENT"}


def test_a_file_of_sizes_has_up_to_three_entries_per_picture_in_no_order(listings: tuple[AmazonListing, ...]) -> None:
    mapping = mapping_file(listings, "sizes")
    for entry in mapping["matched"]:
        by_slot: dict[str, list[dict[str, Any]]] = {}
        for image in entry["amazon_images"]:
            by_slot.setdefault(image["variant"], []).append(image)
        listing = next(one for one in listings if one.asin == entry["amazon_asin"])
        for variant, images in by_slot.items():
            largest = max(images, key=lambda image: image["width"] * image["height"])
            assert largest["link"] == listing.picture(variant).url()
            assert len(images) in (1, 3)
    assert any(entry["amazon_images"][0]["width"] < 500 for entry in mapping["matched"])


def test_an_export_has_parents_with_images_and_the_raw_ones_beside_them(listings: tuple[AmazonListing, ...]) -> None:
    export = mapping_file(listings, "export")
    assert len(export["variants"]) == len(listings) == export["metadata"]["item_count"]
    parent = next(entry for entry in export["variants"] if entry["item_classification"] == "VARIATION_PARENT")
    assert parent["_raw_images"]["MAIN"]["link"] == parent["amazon_image_main"]


def test_links_may_lead_to_another_host(listings: tuple[AmazonListing, ...]) -> None:
    mapping = mapping_file(listings, host="http://127.0.0.1:8809")
    assert mapping["matched"][0]["amazon_image_main"].startswith("http://127.0.0.1:8809/images/I/")


@pytest.mark.parametrize(
    ("name", "shape"),
    [(name, shape) for name in sorted(ODDITIES) for shape in ("flat", "list") if (name, shape) not in IMPOSSIBLE],
)
def test_an_oddity_befalls_its_product_and_no_other(
    listings: tuple[AmazonListing, ...], name: str, shape: Shape
) -> None:
    right, odd = mapping_file(listings, shape), odd_mapping(listings, shape, **{name: NTH})
    changed = [nth for nth, pair in enumerate(zip(right["matched"], odd["matched"], strict=True)) if pair[0] != pair[1]]
    assert changed == [NTH]
    assert json.loads(json.dumps(odd)) == odd


@pytest.mark.parametrize("name", sorted(name for name, _ in IMPOSSIBLE))
def test_columns_cannot_have_what_needs_a_list(listings: tuple[AmazonListing, ...], name: str) -> None:
    with pytest.raises(OddityError, match="list of images"):
        odd_mapping(listings, **{name: NTH})


def test_two_mains_are_two_pictures(listings: tuple[AmazonListing, ...]) -> None:
    images = odd_mapping(listings, "list", two_mains=0)["matched"][0]["amazon_images"]
    mains = [image["link"] for image in images if image["variant"] == "MAIN"]
    assert len(set(mains)) == 2


def test_a_picture_that_stands_twice_has_another_address(listings: tuple[AmazonListing, ...]) -> None:
    images = odd_mapping(listings, "list", same_twice=0)["matched"][0]["amazon_images"]
    assert images[-1]["link"] not in [image["link"] for image in images[:-1]]
    assert images[-1]["variant"] == "PT08"


def test_an_unknown_oddity_is_named() -> None:
    with pytest.raises(OddityError, match="no oddity is called wrong_day; there are foreign_url"):
        odd_mapping(make_listings(3), wrong_day=0)


def test_an_oddity_that_needs_two_pictures_says_so() -> None:
    with pytest.raises(OddityError, match="one picture only"):
        odd_mapping(make_listings(3, images=1), "list", two_mains=0)


def test_a_file_is_written_as_it_is_read(tmp_path: Path) -> None:
    write_mapping(demo_mapping(), tmp_path / "mapping.json")
    assert json.loads((tmp_path / "mapping.json").read_text(encoding="utf-8")) == demo_mapping()


def test_a_mapping_of_nothing_is_a_mapping() -> None:
    assert mapping_file(())["matched"] == []
