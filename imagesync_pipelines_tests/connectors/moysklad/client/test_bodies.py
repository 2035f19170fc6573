"""What is sent has the size that was reckoned, fits the limits, and says what it means."""

import base64
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.connectors.moysklad.client.answers import (
    MOST_FILTER_BYTES,
    MOST_VALUES,
    bulk_body,
    either,
    element_at,
    encoded_size,
    filter_portions,
    list_body,
)
from imagesync_pipelines.connectors.moysklad.model import KeptImage, NewImage, Part
from imagesync_pipelines.connectors.moysklad.writing import NAMED_BYTES
from imagesync_pipelines_tests.connectors.moysklad.rows import URL

PARTS = st.one_of(
    st.builds(KeptImage, st.uuids().map(str)),
    st.builds(NewImage, st.text(st.characters(exclude_categories=["Cs"]), max_size=255), st.binary(max_size=50)),
)


@given(parts=st.lists(PARTS, max_size=10))
def test_a_body_has_the_size_that_was_reckoned(parts: list[Part]) -> None:
    named = len(list_body(URL, "variant", "v1", [KeptImage(str(UUID(int=0)))])) - len("[]")
    sizes = [
        encoded_size(part.filename, len(part.content)) if isinstance(part, NewImage) else named + len(",")
        for part in parts
    ]
    assert len(list_body(URL, "variant", "v1", parts)) == max(2, 1 + sum(sizes))
    assert named <= NAMED_BYTES


@given(parts=st.lists(PARTS, min_size=1, max_size=5), data=st.data())
def test_a_column_of_the_body_names_its_element(parts: list[Part], data: st.DataObject) -> None:
    text = list_body(URL, "variant", "v1", parts).decode()
    column = data.draw(st.integers(0, len(text) + 1))
    begins = [len(list_body(URL, "variant", "v1", parts[:index]).decode()) + (index > 0) for index in range(len(parts))]
    ends = [len(list_body(URL, "variant", "v1", parts[: index + 1]).decode()) - 1 for index in range(len(parts))]
    inside = [index for index in range(len(parts)) if begins[index] <= column <= ends[index]]
    assert element_at(URL, "variant", "v1", parts, column) == (inside[0] if inside else None)


def test_a_kept_image_is_named_by_the_very_accounts_address_and_a_new_one_brings_its_bytes() -> None:
    kept, new = orjson.loads(list_body(URL, "product", "p1", [KeptImage("i1"), NewImage("птица.png", b"bytes")]))
    href = f"{URL}/entity/product/p1/images/i1"
    assert kept == {"meta": {"href": href, "type": "image", "mediaType": "application/json"}}
    assert new["filename"] == "птица.png"
    assert base64.b64decode(new["content"]) == b"bytes"


def test_a_bulk_body_names_every_entity_and_sets_its_whole_list() -> None:
    one, other = orjson.loads(bulk_body(URL, "bundle", {"b1": [NewImage("a.png", b"x")], "b2": []}))
    assert one["meta"]["href"] == f"{URL}/entity/bundle/b1"
    assert one["images"] == [{"filename": "a.png", "content": "eA=="}]
    assert (other["meta"]["type"], other["images"]) == ("bundle", [])


def test_a_filter_escapes_what_would_end_a_value() -> None:
    assert either("code", ["a;b", "c\\d"]) == r"code=a\;b;code=c\\d"


@pytest.mark.parametrize("values", [["x" * 22] * 400, ["ё" * 200] * 20, ["z" * 9000, "a"], []])
def test_values_are_divided_into_filters_that_fit(values: list[str]) -> None:
    portions = list(filter_portions("externalCode", values))
    assert [value for portion in portions for value in portion] == values
    for portion in portions:
        assert len(portion) <= MOST_VALUES
        assert len(portion) == 1 or len(either("externalCode", portion).encode()) <= MOST_FILTER_BYTES
