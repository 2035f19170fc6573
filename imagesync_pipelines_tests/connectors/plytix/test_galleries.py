"""One gallery: which pictures of ours it shows, and that a merge keeps our order and everybody else's places."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.connectors.plytix.gallery import (
    IN_GALLERY,
    IN_GALLERY_AND_THUMBNAIL,
    merged,
    picture_key,
    rows_of,
)
from imagesync_pipelines_tests.connectors.plytix.worlds import known, product

A, B, C = "A.jpg", "B.jpg", "C.jpg"


@pytest.mark.parametrize(
    ("gallery", "ours", "leaving", "expected"),
    [
        pytest.param([], ["a", "b"], [], ["a", "b"], id="an empty gallery is filled"),
        pytest.param(["x"], ["a", "b"], [], ["x", "a", "b"], id="without a place of ours they follow what is there"),
        pytest.param(["b", "x", "a"], ["a", "b"], [], ["a", "x", "b"], id="ours change places, the other one stays"),
        pytest.param(["x", "a", "y"], ["a", "b"], [], ["x", "a", "b", "y"], id="a new one follows our last place"),
        pytest.param(["x", "a", "y"], ["b"], ["a"], ["x", "b", "y"], id="a new one takes the place of a leaving one"),
        pytest.param(["a", "x", "b"], ["b"], ["a"], ["b", "x"], id="a place too many is closed"),
        pytest.param(["a", "x"], [], ["a"], ["x"], id="what leaves leaves nothing behind"),
        pytest.param(["a", "b"], ["a", "b"], [], ["a", "b"], id="what is right stays"),
    ],
)
def test_galleries_are_merged(gallery: list[str], ours: list[str], leaving: list[str], expected: list[str]) -> None:
    assert merged(gallery, ours, leaving) == expected


_ids = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(_ids, _ids, st.sets(st.sampled_from("abcdefgh")))
def test_a_merge_keeps_our_order_and_everything_of_others(gallery: list[str], ours: list[str], gone: set[str]) -> None:
    leaving = gone - set(ours)
    result = merged(gallery, ours, leaving)
    others = [one for one in gallery if one not in set(ours) | leaving]
    assert [one for one in result if one in set(ours)] == ours
    assert [one for one in result if one not in set(ours)] == others
    assert merged(result, ours, leaving) == result


def test_rows_are_in_place_whatever_others_put_between_them() -> None:
    rows = rows_of(product("S", "x", "a", "y", "b"), [A, C, B], known(a=A, b=B), with_left=False)
    assert [(picture_key(row.key), row.position) for row in rows] == [(A, 1), (B, 3)]


def test_rows_out_of_order_have_each_other_s_places() -> None:
    rows = rows_of(product("S", "b", "a"), [A, B], known(a=A, b=B), with_left=False)
    assert [(picture_key(row.key), row.position) for row in rows] == [(B, 1), (A, 2)]


def test_the_thumbnail_is_told_by_the_fingerprint() -> None:
    rows = rows_of(product("S", "a", "b", thumbnail="b"), [A, B], known(a=A, b=B), with_left=False)
    assert [row.fingerprint for row in rows] == [IN_GALLERY, IN_GALLERY_AND_THUMBNAIL]


def test_an_unwanted_picture_is_a_row_only_when_we_put_it_there() -> None:
    shown = product("S", "a", "b")
    ours = known([("S", B), ("OTHER", A)], a=A, b=B)
    assert [row.key for row in rows_of(shown, [], ours, with_left=True)] == [f"S/{B}"]
    assert rows_of(shown, [], ours, with_left=False) == []
