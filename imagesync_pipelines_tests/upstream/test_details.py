"""What only describes is left out where it cannot be read; everything else that is wrong is still an error."""

from typing import NotRequired

import pytest
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from imagesync_pipelines.upstream.details import details_told, read_details


class _Size(TypedDict):
    width: NotRequired[int | None]


class _Picture(TypedDict):
    link: str
    title: NotRequired[str]
    sizes: NotRequired[list[_Size]]


PICTURE = TypeAdapter(_Picture)
DETAILS = {"title", "width"}


def test_details_are_left_out_at_any_depth_and_told_and_what_was_given_stays_as_it_is() -> None:
    raw = {"link": "a", "title": 7, "sizes": [{"width": 5}, {"width": "1500 px"}]}
    read, left_out = read_details(PICTURE, raw, DETAILS)
    assert read == {"link": "a", "sizes": [{"width": 5}, {}]}
    assert left_out == ("title 7", "sizes.1.width '1500 px'")
    assert raw == {"link": "a", "title": 7, "sizes": [{"width": 5}, {"width": "1500 px"}]}


def test_what_can_be_read_is_told_nothing_of() -> None:
    assert read_details(PICTURE, {"link": "a"}, DETAILS) == ({"link": "a"}, ())
    assert details_told("x", []) == []


@pytest.mark.parametrize("raw", [{"title": 7}, {"link": 5, "title": 7}, "x", None, {"link": "a", "sizes": 7}])
def test_anything_else_that_cannot_be_read_is_an_error(raw: object) -> None:
    with pytest.raises(ValidationError):
        read_details(PICTURE, raw, DETAILS)


def test_a_warning_names_the_first_and_how_many_there_are() -> None:
    (told,) = details_told("a.json", [("A", "width 'x'"), ("B", "title 7")])
    assert told.startswith("a.json: 2 details of images cannot be read")
    assert told.endswith("the first, A: width 'x'.")
