"""A cursor comes back as it went, and no text that somebody makes up is more than refused."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.web.catalogue.queries import CursorError, decode_cursor, encode_cursor

IDS = st.integers(-(2**63), 2**63 - 1)
NO_NUL = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))


@given(sku=NO_NUL, last=IDS)
def test_a_cursor_comes_back_as_it_went(sku: str, last: int) -> None:
    text = encode_cursor([sku, last])
    assert decode_cursor(text, (str, int)) == [sku, last]
    assert text.replace("-", "").replace("_", "").isalnum()


@given(moment=st.datetimes(timezones=st.just(UTC)), last=IDS)
def test_a_moment_comes_back_as_it_went(moment: datetime, last: int) -> None:
    assert decode_cursor(encode_cursor([moment, last]), (datetime, int)) == [moment, last]


@pytest.mark.parametrize("text", ["2026-11-21T12:00:00", "yesterday", 1, None])
def test_a_moment_without_a_time_zone_is_refused(text: object) -> None:
    with pytest.raises(CursorError, match="begin again"):
        decode_cursor(encode_cursor([text, 1]), (datetime, int))  # type: ignore[list-item]


@given(text=st.text())
def test_made_up_text_is_refused(text: str) -> None:
    with pytest.raises(CursorError):
        decode_cursor(text, (str, int))


@pytest.mark.parametrize(
    "values",
    [
        ["a"],
        ["a", 1, 2],
        [1, "a"],
        ["a", True],
        ["a", 1.5],
        ["a\0", 1],
        ["a", 2**63],
        ["a", -(2**63) - 1],
        ["\ud800", 1],
    ],
    ids=[
        *("too few", "too many", "turned round", "a truth", "a fraction", "a NUL"),
        *("beyond all columns", "below all columns", "half a character"),
    ],
)
def test_a_cursor_of_another_list_is_refused(values: list) -> None:
    with pytest.raises(CursorError, match="begin again"):
        decode_cursor(encode_cursor(values), (str, int))
