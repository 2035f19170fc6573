"""A mapping file is read in each of its shapes; what is wrong in it is set aside, any other file is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.connectors.plytix import mapping
from imagesync_pipelines.connectors.plytix.errors import MappingError
from imagesync_pipelines.connectors.plytix.mapping import read_mapping
from imagesync_pipelines.connectors.plytix.model import ImagesChosen, ItemImage, ListingsRead
from imagesync_pipelines.connectors.plytix.rules import choose_listings

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["amazon_asin", "suggested_sku", "marketplace", "item_classification", "amazon_parent_asin", "amazon_images",
          "amazon_image_main", "_raw_images"]  # fmt: skip
LINK = "https://m.media-amazon.com/images/I/{}.jpg"
ASIN = "B07X8Z63ZL"


def read(document: object) -> ListingsRead:
    return read_mapping(json.dumps(document).encode(), "mapping.json")


def entry(**fields: object) -> dict[str, Any]:
    return {"amazon_asin": ASIN, "marketplace": "US", **fields}


def only(**fields: object) -> ListingsRead:
    return read({"matched": [entry(**fields)]})


def test_the_shape_with_a_list_of_images() -> None:
    images = [
        {"variant": "MAIN", "link": LINK.format("91mainaaaaL"), "height": 1707, "width": 2560},
        {"variant": "PT01", "link": LINK.format("91ptaaaaaaL")},
    ]
    file = read(
        {
            "metadata": {"source_export": "x", "style_filter": None, "mapping_date": "2025-12-23", "marketplace": "US"},
            "matched": [entry(suggested_sku=f"AMZN-US-{ASIN}", amazon_parent_asin="B077QMJFG9", amazon_images=images)],
            "unmatched_amazon": [
                {"amazon_asin": "B077QMJFG9", "item_classification": "VARIATION_PARENT", "amazon_images": images[:1]}
            ],
            "unmatched_plytix": [{"sku": "MCA", "reason": "no such item"}],
            "statistics": {},
        }
    )
    child, parent = file.items
    assert (file.shape, file.entries, file.set_aside) == ("list", 2, ())
    assert child.images == (
        ItemImage("MAIN", LINK.format("91mainaaaaL"), 2560, 1707),
        ItemImage("PT01", LINK.format("91ptaaaaaaL")),
    )
    assert (child.sku, child.is_parent, child.parent_asin) == (f"AMZN-US-{ASIN}", False, "B077QMJFG9")
    assert (parent.sku, parent.is_parent) == ("AMZN-US-B077QMJFG9", True)


def test_the_shape_with_a_column_per_image() -> None:
    columns = {f"amazon_image_variant_{number}": None for number in range(1, 9)}
    columns |= {
        "amazon_image_main": LINK.format("61mainaaaaL"),
        "amazon_image_variant_3": LINK.format("51pt03aaaaL"),
        "amazon_image_swatch": LINK.format("51swatchaaL"),
    }
    unmatched = {"suggested_sku": "AMZN-US-B01JCVLMJU", "amazon_asin": "B01JCVLMJU", "reason": "No match"}
    file = read({"matched": [entry(**columns)], "unmatched_amazon": [unmatched]})
    assert (file.shape, file.entries) == ("flat", 2)
    assert [image.variant for image in file.items[0].images] == ["MAIN", "PT03", "SWCH"]
    assert file.items[1].images == ()


def test_the_export_it_is_made_from() -> None:
    variant = {
        "amazon_asin": ASIN,
        "item_classification": "BASE_PRODUCT",
        "amazon_image_main": LINK.format("61mainaaaaL"),
        "amazon_image_variant_1": LINK.format("51pt01aaaaL"),
        "_raw_images": {
            "MAIN": {"link": LINK.format("61mainaaaaL"), "height": 1200},
            "PT09": {"link": LINK.format("51pt09aaaaL"), "height": 900},
            "PT02": None,
        },
    }
    file = read({"metadata": {"style": "S", "marketplace_id": "A2EUQ1WTGCTBG2"}, "variants": [variant]})
    assert (file.shape, file.items[0].marketplace, file.items[0].sku) == ("export + flat", "CA", f"AMZN-CA-{ASIN}")
    assert [(image.variant, image.height) for image in file.items[0].images] == [
        ("MAIN", 1200), ("PT09", 900), ("PT01", None),
    ]  # fmt: skip


def test_a_file_without_any_image_says_so() -> None:
    assert only().shape == "no images"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b'{"matched": [{"amazon_asin": "B07', r"no JSON, or cut off \(33 bytes\)"),
        (b"\xff\xfe\x00", "no JSON, or cut off"),
        (b"<html></html>", "no JSON, or cut off"),
        (b"[]", "no mapping file: an object"),
        (b'"matched"', "no mapping file: an object"),
        (b'{"products": []}', "no mapping file: an object"),
        (b'{"matched": {"a": 1}}', "`matched` is not a list"),
        (b'{"matched": []}', "it lists no product"),
        (b'{"matched": null, "unmatched_amazon": []}', "it lists no product"),
        (b'{"matched": [1, {}]}', r"none of its 2 entries can be used; the first, matched\[0\]: not an object"),
    ],
)  # fmt: skip
def test_what_is_no_mapping_file_is_refused_in_one_sentence(body: bytes, said: str) -> None:
    with pytest.raises(MappingError, match=rf"^mapping.json: .*{said}"):
        read_mapping(body, "mapping.json")


def test_a_byte_order_mark_does_no_harm() -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"matched": [entry()]}).encode()
    assert read_mapping(body, "mapping.json").entries == 1


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (None, "not an object"),
        ("B07X8Z63ZL", "not an object"),
        ({}, "neither amazon_asin nor suggested_sku"),
        ({"amazon_asin": None, "suggested_sku": None}, "neither amazon_asin nor suggested_sku"),
        ({"amazon_asin": "short"}, "'SHORT' is no ASIN"),
        ({"amazon_asin": {"a": 1}}, "amazon_asin: "),
        ({"amazon_asin": ASIN, "suggested_sku": "MCA0032-M-13"}, "is no product of Amazon"),
        ({"amazon_asin": ASIN, "suggested_sku": "AMZN-US-B000000001"}, "does not belong to B07X8Z63ZL"),
        ({"suggested_sku": f"AMZN-US-{ASIN}", "marketplace": "CA"}, "does not belong to B07X8Z63ZL in CA"),
        ({"amazon_asin": ASIN, "marketplace": "Atlantis"}, "marketplace 'Atlantis' is unknown"),
    ],
)
def test_an_entry_that_cannot_be_used_is_set_aside_and_the_others_are_read(bad: object, said: str) -> None:
    file = read({"matched": [bad, entry()]})
    assert [item.asin for item in file.items] == [ASIN]
    assert file.set_aside[0].where == "matched[0]"
    assert said in file.set_aside[0].reason


@pytest.mark.parametrize(
    ("fields", "sku"),
    [
        ({"amazon_asin": ASIN, "marketplace": "DE"}, f"AMZN-DE-{ASIN}"),
        ({"amazon_asin": f" {ASIN.lower()} "}, f"AMZN-MX-{ASIN}"),
        ({"amazon_asin": 1234567890, "marketplace": "A1F83G8C2ARO7P"}, "AMZN-UK-1234567890"),
        ({"suggested_sku": f"AMZN-CA-{ASIN}"}, f"AMZN-CA-{ASIN}"),
        ({"suggested_sku": f"AMZN-CA-{ASIN}", "amazon_asin": ASIN, "marketplace": None}, f"AMZN-CA-{ASIN}"),
    ],
)
def test_the_products_sku_is_made_where_the_file_does_not_name_it(fields: dict[str, object], sku: str) -> None:
    assert read({"metadata": {"marketplace": "MX"}, "matched": [fields]}).items[0].sku == sku


def test_an_entry_over_which_a_library_stumbles_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    real = mapping.read_details

    def stumbling(adapter: Any, raw: Any, details: Any) -> Any:
        if raw.get("amazon_asin") == "B000000009":
            raise KeyError("gave up")
        return real(adapter, raw, details)

    monkeypatch.setattr(mapping, "read_details", stumbling)
    file = read({"matched": [entry() | {"amazon_asin": "B000000009"}, entry()]})
    assert len(file.items) == 1
    assert [(one.where, one.reason) for one in file.set_aside] == [("matched[0]", "KeyError: 'gave up'")]


def test_nobodys_metadata_is_as_good_as_none() -> None:
    assert read({"metadata": "v1", "matched": [entry()]}).items[0].marketplace == "US"


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (None, "not an object"),
        ("https://x", "not an object"),
        ({"variant": "MAIN"}, "link: missing"),
        ({"variant": "MAIN", "link": None}, "link: not a text"),
        ({"variant": "MAIN", "link": ""}, "link: "),
        ({"variant": "MAIN", "link": LINK.format("x" * 4000)}, "at most 4000 characters"),
    ],
)
def test_an_image_that_cannot_be_read_is_set_aside_and_the_others_are_taken(image: object, said: str) -> None:
    file = only(amazon_images=[image, {"variant": None, "link": LINK.format("51goodaaaaL")}])
    assert file.items[0].images == (ItemImage(None, LINK.format("51goodaaaaL")),)
    assert file.set_aside[0].where == f"AMZN-US-{ASIN}"
    assert said in file.set_aside[0].reason


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("width", value) for value in (float("nan"), "", "1500.5", 1500.5, "1500 px", "wide", [], {"a": 1})),
        ("height", float("nan")),
        ("variant", 7),
    ],
)
def test_a_detail_that_cannot_be_read_costs_no_picture_and_is_told(field: str, value: object) -> None:
    image = {"variant": "PT01", "width": 900, "height": 700} | {"link": LINK.format("51goodaaaaL"), field: value}
    file = only(amazon_images=[image])
    expected = ItemImage("PT01", image["link"], 900, 700)._replace(**{field: None})
    assert (file.items[0].images, file.set_aside) == ((expected,), ())
    (told,) = file.warnings
    assert f"AMZN-US-{ASIN}: {field} {value!r}" in told


@pytest.mark.parametrize("field", ["item_classification", "amazon_parent_asin"])
def test_a_detail_of_an_entry_that_cannot_be_read_costs_no_picture(field: str) -> None:
    file = only(**{field: ["x"]}, amazon_image_main=LINK.format("51goodaaaaL"))
    assert len(file.items[0].images) == 1
    assert f"{field} ['x']" in file.warnings[0]


@pytest.mark.parametrize("nothing", [None, "", " ", float("nan")])
def test_nothing_in_the_column_of_an_image_means_no_picture(nothing: object) -> None:
    link = LINK.format("51goodaaaaL")
    file = only(
        amazon_images=nothing, amazon_image_main=link, amazon_image_variant_8=nothing, _raw_images={"MAIN": nothing}
    )
    assert [image.variant for image in file.items[0].images] == ["MAIN"]
    assert (file.set_aside, file.warnings) == ((), ())


@pytest.mark.parametrize("nothing", ["nan", "None", " NULL ", "<NA>", "n/a"])
def test_a_text_that_says_nothing_means_no_picture_in_a_flat_column(nothing: str) -> None:
    file = only(amazon_image_main=LINK.format("51goodaaaaL"), amazon_image_variant_8=nothing)
    assert [image.variant for image in file.items[0].images] == ["MAIN"]
    assert (file.set_aside, file.warnings) == ((), ())


def test_images_that_are_no_list_are_set_aside() -> None:
    assert only(amazon_images={"MAIN": "x"}).set_aside[0].reason == "amazon_images is not a list"


def test_a_size_that_is_none_is_unknown() -> None:
    file = only(amazon_images=[{"variant": "MAIN", "link": LINK.format("51goodaaaaL"), "width": 0, "height": "75"}])
    assert (file.items[0].images[0].width, file.items[0].images[0].height) == (None, 75)


def test_columns_beside_a_list_are_not_read_twice() -> None:
    link = LINK.format("51goodaaaaL")
    file = only(amazon_images=[{"variant": "MAIN", "link": link}], amazon_image_main=link)
    assert (file.shape, len(file.items[0].images)) == ("list", 1)


def test_an_empty_list_leaves_the_columns() -> None:
    assert only(amazon_images=[], amazon_image_main=LINK.format("51goodaaaaL")).shape == "flat"


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), JSON, st.booleans())
def test_whatever_an_entry_holds_the_others_are_read(bad: dict[str, Any], metadata: object, lawful: bool) -> None:
    mixed = {**entry(), **bad} if lawful else bad
    file = read({"metadata": metadata, "matched": [mixed, entry()]})
    listings, _ = choose_listings(file.items)
    assert ASIN in {item.asin for item in file.items}
    assert all(listing.sku.startswith("AMZN-") for listing in listings)
    assert ImagesChosen(source="a.json", listings=listings).model_dump_json().isascii()
