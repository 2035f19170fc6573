"""Which entries are one picture, which one is taken, in which order, under which name (contract amazon.md 2 to 4)."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.connectors.plytix.errors import BadImageUrlError
from imagesync_pipelines.connectors.plytix.model import AmazonItem, ImagesChosen, ItemImage, Listing
from imagesync_pipelines.connectors.plytix.rules import (
    canonical_variant,
    choose_listings,
    file_name,
    key_of_file_name,
    key_of_renamed_file,
    picture_of,
    variant_order,
)

HOST = "https://m.media-amazon.com/images/I"
IDS = st.text("ABCabc019+-", min_size=11, max_size=11)


def item(asin: str, *images: tuple[str | None, str, int, int] | tuple[str | None, str], **more: object) -> AmazonItem:
    fields = {"sku": f"AMZN-US-{asin}", "marketplace": "US", "is_parent": False, "parent_asin": ""} | more
    return AmazonItem(asin=asin, images=tuple(ItemImage(*image) for image in images), **fields)  # type: ignore[arg-type]


def listing(*images: tuple[str | None, str, int, int] | tuple[str | None, str]) -> Listing:
    return choose_listings([item("B000000001", *images)])[0][0]


def link(image_id: str, tokens: str = "") -> str:
    return f"{HOST}/{image_id}{tokens}.jpg"


@pytest.mark.parametrize(
    "address",
    [
        "https://m.media-amazon.com/images/I/91uohwV+k3L.jpg",
        "http://ecx.images-amazon.com/images/I/91uohwV+k3L.jpg",
        "https://g-ecx.images-amazon.com/images/I/91uohwV+k3L.jpg",
        "https://images-na.ssl-images-amazon.com/images/I/91uohwV+k3L._SL1500_.jpg",
        "https://images-eu.ssl-images-amazon.com/images/I/91uohwV%2Bk3L._AC_UF1000,1000_QL80_.jpg",
        "https://m.media-amazon.com/images/I/91uohwV+k3L._SX258_BO1,204,203,200_.jpg?v=2",
        "https://m.media-amazon.com/images/I/91uohwV%2bk3L._SL75_.JPG#top",
        "https://m.media-amazon.com/images/I/91uohwV+k3L._FMwebp_.jpg",
        "  https://M.Media-Amazon.com/images/I/91uohwV+k3L.jpg ",
        "https://m.media-amazon.com/images/W/MEDIAX-849526-T3/images/I/91uohwV+k3L.jpg",
        "https://m.media-amazon.com/images/W/WEBP-402378-T1/images/I/91uohwV%2Bk3L._AC_SL1500_.jpg",
        "https://m.media-amazon.cn/images/I/91uohwV+k3L.jpg",
        "https://media-amazon.cn/images/I/91uohwV+k3L.jpg",
    ],
)
def test_one_picture_has_one_key_whatever_its_address(address: str) -> None:
    picture = picture_of(address)
    assert (picture.key, picture.url) == ("91uohwV+k3L.jpg", f"{HOST}/91uohwV+k3L.jpg")
    assert picture.altered == ("_" in address)


def test_ids_that_differ_in_case_or_behind_a_plus_or_minus_are_different_pictures() -> None:
    ids = ["31+abcdefgL", "31-abcdefgL", "31+ABCDEFGL", "31+abcdefgS", "31abcdefghL"]
    assert len({picture_of(link(image_id)).key for image_id in ids}) == len(ids)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("", "not a URL"),
        ("null", "not a URL"),
        ("ftp://m.media-amazon.com/images/I/91uohwV+k3L.jpg", "not a URL"),
        ("http://[half/images/I/91uohwV+k3L.jpg", "not a URL"),
        ("https://example.com/images/I/91uohwV+k3L.jpg", "not on an image host"),
        ("https://m.media-amazon.com.evil.example/images/I/91uohwV+k3L.jpg", "not on an image host"),
        ("https://evilimages-amazon.com/images/I/91uohwV+k3L.jpg", "not on an image host"),
        ("https://evilmedia-amazon.cn/images/I/91uohwV+k3L.jpg", "not on an image host"),
        ("https://m.media-amazon.com/images/W/../images/G/91uohwV+k3L.jpg", "not the address of an image"),
        ("https://m.media-amazon.com/images/P/B000000001.01._SCLZZZZZZZ_.jpg", "a legacy address"),
        ("https://m.media-amazon.com/images/I/91uohwV k3L.jpg", "not the address of an image"),
        ("https://m.media-amazon.com/images/I/..%2F..%2Fsecret.jpg", "not the address of an image"),
        ("https://m.media-amazon.com/images/G/01/logo.png", "not the address of an image"),
        ("https://m.media-amazon.com/images/I/91uohwV+k3L", "not the address of an image"),
    ],
)
def test_what_addresses_no_picture_is_refused_with_the_reason(address: str, why: str) -> None:
    with pytest.raises(BadImageUrlError, match=why):
        picture_of(address)


@pytest.mark.parametrize(
    ("code", "canonical"),
    [
        ("MAIN", "MAIN"), (" main", "MAIN"), ("PT01", "PT01"), ("pt1", "PT01"), ("PT09", "PT09"), ("PT16", "PT16"),
        ("SWATCH", "SWCH"), ("SWCH", "SWCH"), ("TOPP", "TOPP"), (None, ""), ("", ""), ("M\0IN", ""), ("see main", ""),
    ],
)  # fmt: skip
def test_codes_of_variants_are_canonical(code: str | None, canonical: str) -> None:
    assert canonical_variant(code) == canonical


def test_variants_are_shown_in_amazons_order() -> None:
    expected = ["MAIN", "PT01", "PT02", "PT07", "PT10", "BACK", "TOPP", "", "SWCH"]
    shuffled = random.Random(1).sample(expected, len(expected))
    assert sorted(shuffled, key=variant_order) == expected


def test_the_largest_entry_of_a_variant_is_taken_wherever_it_stands() -> None:
    sizes = [
        ("MAIN", link("51DZzp3w3vL", "._SL75_"), 75, 50),
        ("MAIN", link("51DZzp3w3vL"), 500, 333),
        ("MAIN", link("91uohwV+k3L"), 2560, 1707),
        ("PT01", link("51otherp3vL"), 500, 333),
    ]
    for seed in range(6):
        shown = listing(*random.Random(seed).sample(sizes, len(sizes)))
        assert [image.key for image in shown.images] == ["91uohwV+k3L.jpg", "51otherp3vL.jpg"]
        assert (shown.images[0].width, shown.images[0].height, shown.slots) == (2560, 1707, 2)


def test_area_decides_and_not_height() -> None:
    shown = listing(("MAIN", link("51tallaaaaL"), 100, 600), ("MAIN", link("91wideaaaaL"), 2000, 500))
    assert shown.images[0].key == "91wideaaaaL.jpg"


def test_without_sizes_an_untouched_link_wins_and_then_the_larger_file() -> None:
    shown = listing(
        ("MAIN", link("91altered1L", "._SL75_")), ("MAIN", link("51copyaaaaL")), ("MAIN", link("71originalL"))
    )
    assert shown.images[0].key == "71originalL.jpg"


def test_the_size_of_an_altered_link_is_not_that_of_the_original() -> None:
    image = listing(("MAIN", link("51DZzp3w3vL", "._SL75_"), 75, 50)).images[0]
    assert (image.url, image.width, image.height) == (link("51DZzp3w3vL"), None, None)


def test_gaps_in_the_numbering_shift_nothing() -> None:
    shown = listing(*[(code, link(f"51image{code}"), 9, 9) for code in ("PT07", "SWCH", "MAIN", "PT05")])
    assert [(image.variant, image.position) for image in shown.images] == [
        ("MAIN", 1), ("PT05", 2), ("PT07", 3), ("SWCH", 4),
    ]  # fmt: skip


def test_an_image_without_a_code_is_never_the_thumbnail_and_none_is_dropped() -> None:
    shown = listing((None, link("51nocode01L"), 9, 9), (None, link("51nocode02L"), 9, 9), ("PT01", link("51ptaaaaa1L")))
    assert shown.main is None
    assert [image.variant for image in shown.images] == ["PT01", "", ""]


def test_a_picture_in_two_slots_is_shown_once_and_counted_twice() -> None:
    shown = listing(("PT01", link("51sameaaaaL"), 9, 9), ("MAIN", link("51sameaaaaL"), 9, 9))
    assert [image.variant for image in shown.images] == ["MAIN"]
    assert shown.slots == 2


def test_entries_of_one_product_are_joined_and_bad_images_set_aside() -> None:
    listings, set_aside = choose_listings(
        [
            item("B000000001", ("PT01", link("51ptaaaaa1L"))),
            item("B000000001", ("MAIN", link("51mainaaa1L")), ("PT02", "https://example.com/x.jpg")),
        ]
    )
    assert [image.variant for image in listings[0].images] == ["MAIN", "PT01"]
    assert set_aside == (("AMZN-US-B000000001", "not on an image host of Amazon", "https://example.com/x.jpg"),)


def test_a_link_that_no_table_could_hold_is_cleaned_before_it_is_told() -> None:
    _, set_aside = choose_listings([item("B000000001", ("MAIN", "https://x/\0\ud800\n" + "y" * 1000))])
    assert set_aside[0].url == "https://x/" + "y" * 490


def test_a_product_without_images_stays_a_listing() -> None:
    assert listing().images == ()


def test_a_product_that_another_names_as_parent_is_one() -> None:
    listings, _ = choose_listings(
        [
            item("B000000001", parent_asin="B000000009"),
            item("B000000009", parent_asin="B000000009"),
            item("B000000002", parent_asin="B000000002"),
            item("B000000009", sku="AMZN-CA-B000000009", marketplace="CA"),
        ]
    )
    assert {shown.sku: shown.is_parent for shown in listings} == {
        "AMZN-US-B000000001": False,
        "AMZN-US-B000000002": False,
        "AMZN-US-B000000009": True,
        "AMZN-CA-B000000009": False,
    }


def test_only_the_marketplaces_asked_for_are_taken() -> None:
    items = [item("B000000001"), item("B000000001", sku="AMZN-CA-B000000001", marketplace="CA")]
    assert [shown.sku for shown in choose_listings(items, ["CA"])[0]] == ["AMZN-CA-B000000001"]


@given(IDS)
def test_a_file_name_tells_its_picture_and_holds_nothing_that_plytix_minds(image_id: str) -> None:
    key = picture_of(link(image_id)).key
    name = file_name(key)
    assert key_of_file_name(name) == key
    assert "+" not in name
    assert name.endswith(".jpg")


@pytest.mark.parametrize(
    "name",
    ["rabbit.jpg", "amazon_.jpg", "amazon_61wixnPXtlL_aefee.jpg", "amazon_1_MAIN_61wixnPXtlL.jpg", "Amazon_x.png"],
)
def test_names_that_people_or_plytix_gave_are_not_ours(name: str) -> None:
    assert key_of_file_name(name) is None


@pytest.mark.parametrize(
    ("name", "key"),
    [
        pytest.param("amazon_61wixnPXtlL_aefee.jpg", "61wixnPXtlL.jpg", id="a suffix"),
        pytest.param("amazon_61_ixnPXtlL_3f.jpg", "61+ixnPXtlL.jpg", id="an id with +, a suffix"),
        pytest.param("amazon_61wixnPXtlL.jpg", None, id="no suffix"),
        pytest.param("amazon_61wixnPXtlL_.jpg", None, id="an empty suffix"),
        pytest.param("amazon_61wixnPXtlL_a-b.jpg", None, id="a suffix that Plytix does not give"),
        pytest.param("rabbit_aefee.png", None, id="somebody else's file"),
        pytest.param("amazon_61wixnPXtlL_aefee", None, id="no extension"),
    ],
)
def test_a_suffix_of_plytix_is_seen_behind_our_name(name: str, key: str | None) -> None:
    assert key_of_renamed_file(name) == key


def test_of_entries_of_one_picture_with_as_many_pixels_the_wider_one_is_taken_whatever_their_order() -> None:
    entries = [("MAIN", link("51mainaaa1L"), 1, 2), ("MAIN", link("51mainaaa1L"), 2, 1)]
    for images in (entries, entries[::-1]):
        assert [(image.width, image.height) for image in listing(*images).images] == [(2, 1)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["MAIN", "PT01", "PT02", "PT10", "SWCH", "TOPP", None]),
            IDS.map(link),
            st.integers(1, 3000),
            st.integers(1, 3000),
        ),
        max_size=8,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_entries_does_not_matter(
    images: list[tuple[str | None, str, int, int]], chance: random.Random
) -> None:
    shown = listing(*images)
    chance.shuffle(images)
    assert listing(*images) == shown
    assert [image.position for image in shown.images] == list(range(1, len(shown.images) + 1))
    assert len({image.key for image in shown.images}) == len(shown.images)
    chosen = ImagesChosen(source="a.json", listings=(shown,))
    assert ImagesChosen.model_validate_json(chosen.model_dump_json()) == chosen
