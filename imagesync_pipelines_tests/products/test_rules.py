"""The rules of showing images: priority, order, primary, alt text, article numbers and their fallback."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.products.primaries import name_of, primary_flags
from imagesync_pipelines.products.rules import Shown, alt_text, choose_primary, display_order, priority

OLD, NEW = datetime(2023, 5, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("image_type", "is_front", "expected"),
    [
        ("Produktfoto", True, 1),
        ("PRODUKTFOTO", True, 1),
        (" produktfoto ", False, 2),
        ("Szene", True, 3),
        ("Markt-Messe-Shop", True, 3),
        ("Markt-Messe-Shop", False, 4),
        ("Illustration", False, 4),
        ("Detailfoto", False, 4),
        ("", False, 4),
    ],
)
def test_priority(image_type: str, is_front: bool, expected: int) -> None:
    assert priority(image_type, is_front) == expected


ORDERED = {
    "by priority first": [Shown("9", 1, None), Shown("1", 2, NEW)],
    "the newest export first": [Shown("9", 1, NEW), Shown("1", 1, OLD)],
    "an image without exports last": [Shown("9", 1, OLD), Shown("1", 1, None)],
    "a person's order before all of it": [
        Shown("9", 4, None, place=0),
        Shown("1", 4, None, place=3),
        Shown("2", 1, NEW),
    ],
    "then the file_id as a number": [Shown("9", 1, NEW), Shown("10", 1, NEW)],
    "moments of different offsets are compared as moments": [
        Shown("9", 1, datetime(2024, 2, 1, 1, tzinfo=UTC)),
        Shown("1", 1, datetime(2024, 2, 1, 2, tzinfo=timezone(timedelta(hours=2)))),
    ],
}


@pytest.mark.parametrize("images", ORDERED.values(), ids=ORDERED.keys())
def test_display_order(images: list[Shown]) -> None:
    wrong_way_round = images[::-1]
    assert sorted(wrong_way_round, key=display_order) == images


PRIMARIES = {
    "trap 10: the front photo wins": ([Shown("1", 2, NEW), Shown("2", 1, OLD)], None, "2"),
    "without a front one is still primary": ([Shown("1", 4, None)], None, "1"),
    "trap 10: a person's choice comes first": ([Shown("1", 1, NEW), Shown("2", 4, None)], "2", "2"),
    "a pin whose image is gone is dormant": ([Shown("1", 1, NEW), Shown("2", 4, None)], "3", "1"),
}


@pytest.mark.parametrize(("images", "pin", "expected"), PRIMARIES.values(), ids=PRIMARIES.keys())
def test_the_primary_image(images: list[Shown], pin: str | None, expected: str) -> None:
    pinned = ("image_db", pin) if pin else None
    assert choose_primary(images, pinned) == ("image_db", expected)


def test_without_images_there_is_no_primary() -> None:
    assert choose_primary([], ("image_db", "3")) is None


names = st.tuples(st.sampled_from(["folder", "image_db"]), st.integers(1, 99).map(str))
moments = st.sampled_from([None, OLD, NEW])
shown = st.builds(
    lambda name, priority, newest: Shown(name[1], priority, newest, name[0]), names, st.integers(1, 4), moments
)
some_images = st.lists(shown, min_size=1, max_size=12, unique_by=lambda image: image.name)


@given(some_images, st.none() | names, st.randoms(use_true_random=False))
def test_exactly_one_image_is_primary_and_the_same_every_night(images: list, pin: Any, random: object) -> None:
    chosen = choose_primary(images, pin)
    assert sum(image.name == chosen for image in images) == 1
    random.shuffle(images)  # type: ignore[attr-defined]
    assert choose_primary(images, pin) == chosen
    if pin in {image.name for image in images}:
        assert chosen == pin


@given(
    st.dictionaries(st.integers(1, 4), some_images),
    st.dictionaries(st.integers(1, 5), names),
    st.dictionaries(st.integers(1, 5), st.lists(names, max_size=4, unique=True)),
)
def test_in_columns_the_same_images_are_primary(
    of: dict[int, list[Shown]], pins: dict[int, tuple[str, str]], orders: dict[int, list[tuple[str, str]]]
) -> None:
    rows = [(product, *image[:4]) for product, images in of.items() for image in images]
    placed = {
        product: [
            one._replace(place=orders[product].index(one.name) if one.name in orders.get(product, []) else None)
            for one in images
        ]
        for product, images in of.items()
    }
    frame = pd.DataFrame(rows, columns=["product_id", "external_id", "priority", "newest_export", "source"]).astype(
        {"product_id": "int64", "priority": "int64", "newest_export": "datetime64[us, UTC]"}
    )
    flags = primary_flags(frame, pins, {product: [name_of(*one) for one in order] for product, order in orders.items()})
    assert [tuple(row) for row in frame.loc[flags, ["product_id", "source", "external_id"]].to_numpy()] == [
        (product, *choice)
        for product, images in placed.items()
        if (choice := choose_primary(images, pins.get(product)))
    ]


@pytest.mark.parametrize(
    ("name", "image_type", "expected"),
    [
        ("Engel", "Produktfoto", "Engel - Produktfoto"),
        ("  Engel \n groß ", "Szene", "Engel groß - Szene"),
        ("", "Szene", "Szene"),
        ("Engel", "", "Engel"),
        ("", "", ""),
        ("x" * 300, "Szene", "x" * 246 + "… - Szene"),
        ("x" * 300, "", "x" * 254 + "…"),
        ("x" * 247, "Szene", "x" * 247 + " - Szene"),
    ],
)
def test_alt_text(name: str, image_type: str, expected: str) -> None:
    assert alt_text(name, image_type) == expected


@given(st.text(max_size=600), st.text(max_size=50))
def test_an_alt_text_always_fits_and_keeps_its_type(name: str, image_type: str) -> None:
    text = alt_text(name, image_type)
    assert len(text) <= 255
    assert text.endswith(" ".join(image_type.split()))
