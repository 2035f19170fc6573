"""The pure rules: sizes of requests, names, what is recognised, owners' images, portions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.connectors.moysklad.accounts import Mode, Ownership
from imagesync_pipelines.connectors.moysklad.client.answers import encoded_size, list_body
from imagesync_pipelines.connectors.moysklad.model import ImageRow, Managed, NewImage
from imagesync_pipelines.connectors.moysklad.planning import earlier_calls
from imagesync_pipelines.connectors.moysklad.rules import (
    MOST_IMAGE_BYTES,
    Slot,
    answered,
    beyond_the_most,
    choose_images,
    identity,
    image_of,
    known_by_id,
    merged,
    pop_same,
    row_keys,
    seen_of,
    sent_name,
    shown_by,
    size_limit,
    staying,
    too_large,
)
from imagesync_pipelines.connectors.moysklad.writing import MOST_REQUEST_BYTES, packed


def row(image_id: str, filename: str = "a.jpg", size: int = 10) -> ImageRow:
    return ImageRow(image_id, filename, size, "")


@pytest.mark.parametrize(("mode", "count"), [(Mode.OFF, 0), (Mode.FIRST, 1), (Mode.ALL, 10)])
def test_a_mode_says_how_many_images_an_account_gets(mode: Mode, count: int) -> None:
    images = [row(str(number)) for number in range(12)]
    assert choose_images(images, mode) == tuple(images[:count])


@pytest.mark.parametrize(
    ("setting", "learned", "limit"),
    [(10, None, 10_000_000), (10, 3_000_000, 3_000_000), (2, 3_000_000, 2_000_000), (15, None, MOST_IMAGE_BYTES)],
)
def test_the_smallest_of_setting_server_and_request_limits_an_image(
    setting: float, learned: int | None, limit: int
) -> None:
    assert size_limit(setting, learned) == limit
    assert encoded_size("Я" * 251 + ".jpg", limit) < MOST_REQUEST_BYTES


def test_an_image_that_is_too_large_is_told_with_its_size_and_the_limit() -> None:
    assert too_large("Плед.jpg", 12_340_000, 10_000_000) == (
        "Image file too large, skipping: Плед.jpg (12.3 MB, limit 10 MB)"
    )


@pytest.mark.parametrize(
    ("filename", "image_format", "sent"),
    [
        ("Плед.JPG", "JPEG", "Плед.JPG"),
        ("", "PNG", "id.png"),
        ("без расширения", "PNG", "без расширения.png"),
        (".jpg", "JPEG", ".jpg.jpg"),
        ("Я" * 300 + ".jpg", "JPEG", "Я" * 251 + ".jpg"),
        ("../x.png", "PNG", "../x.png"),
    ],
    ids=["as it is", "no name", "no extension", "only an extension", "too long", "a path"],
)
def test_a_name_is_sent_with_an_extension_and_at_most_255_characters(
    filename: str, image_format: str, sent: str
) -> None:
    assert sent_name(filename, "id", image_format) == sent


@given(st.text(max_size=300), st.sampled_from(["JPEG", "PNG", ""]))
def test_a_name_that_was_sent_would_be_sent_unchanged(filename: str, image_format: str) -> None:
    once = sent_name(filename, "id", image_format)
    assert len(once) <= 255
    assert sent_name(once, "other", "GIF") == once


@given(st.lists(st.tuples(st.text(min_size=1, max_size=40), st.integers(0, 50)), min_size=1, max_size=5))
def test_the_size_of_a_request_is_what_is_really_sent(images: list[tuple[str, int]]) -> None:
    body = list_body("http://x", "product", "1", [NewImage(name, b"\0" * size) for name, size in images])
    assert len(body) == 2 - 1 + sum(encoded_size(name, size) for name, size in images)


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 5)), max_size=12), st.integers(0, 20))
def test_portions_keep_everything_in_order_and_fit_as_far_as_one_thing_does(
    sizes: list[tuple[int, int]], first: int
) -> None:
    portions = packed(sizes, first, 100)
    assert [place for portion in portions for place in portion] == list(range(len(sizes)))
    for portion in portions:
        before = first + sum(sizes[place][1] for place in range(portion[0]))
        assert len(portion) == 1 or before + sum(sizes[place][0] for place in portion) <= 100


def test_the_same_image_twice_has_two_keys_and_owners_images_have_keys_of_their_own() -> None:
    images = [Managed("a", "1", "", 0), Managed("a~3", "2", "", 0), Managed("", "7", "", 0), Managed("", "7", "", 0)]
    assert row_keys("product:x", images) == [
        "product:x#a#0",
        "product:x#a#1",
        "product:x#child/7#0",
        "product:x#child/7#1",
    ]
    assert (identity("a", 3), image_of("a~3"), image_of("a")) == ("a~3", "a", "a")


KNOWN = Managed("a", "1", "a.jpg", 10)


def new(source: str, sha256: str, filename: str = "a.jpg", size: int = 10) -> Managed:
    return Managed(source, "", filename, size, sha256)


@pytest.mark.parametrize(
    ("rows", "known", "sources"),
    [
        ([row("1")], [KNOWN], ["a"]),
        ([row("9")], [KNOWN], [""]),
        ([row("1"), row("1")], [KNOWN], ["a", ""]),
        ([row("9"), row("1", "b.jpg", 11)], [KNOWN], ["", "a"]),
    ],
    ids=["by id", "same name and size", "used once", "order of the account"],
)
def test_images_are_known_by_id_and_never_by_name_and_size(
    rows: list[ImageRow], known: list[Managed], sources: list[str]
) -> None:
    found = shown_by(rows, known_by_id(rows, known))
    assert [image.source for image in found] == sources
    assert [image.id for image in found] == [one.id for one in rows]


@pytest.mark.parametrize(
    ("rows", "sent", "sources"),
    [
        ([row("1"), row("8"), row("9")], [KNOWN, new("b", "x"), new("c", "y")], ["a", "b", "c"]),
        ([row("8", "renamed.jpg", 11)], [new("b", "x")], ["b"]),
        ([row("8", "c.jpg")], [new("b", "x"), new("c", "y", "c.jpg")], ["c"]),
        ([row("1"), row("8", "c.jpg")], [KNOWN, new("b", "x"), new("c", "y", "c.jpg")], ["a", "c"]),
        ([row("8")], [new("b", "x"), new("b", "x")], ["b"]),
        ([row("8")], [new("b", "x"), new("c", "y")], None),
        ([row("8", "renamed.jpg")], [new("b", "x"), new("c", "y")], None),
        ([row("8"), row("9")], [new("b", "x")], None),
        ([row("8"), row("1")], [KNOWN, new("b", "x")], ["b", "a"]),
    ],
    ids=[
        "in order", "renamed", "one left out", "beside what was there", "the same twice", "which one", "nobody knows",
        "one too many", "another order",
    ],
)  # fmt: skip
def test_the_answer_to_a_write_gives_ids_to_what_was_sent_or_does_not_tell(
    rows: list[ImageRow], sent: list[Managed], sources: list[str] | None
) -> None:
    found = answered(rows, sent)
    assert (None if found is None else [image.source for image in found]) == sources
    assert found is None or [image.id for image in found] == [one.id for one in rows]


@pytest.mark.parametrize(
    ("sha256", "filename", "by_name", "source"),
    [
        ("x", "b.jpg", False, "b"),
        ("x", "a.jpg", False, "a"),
        ("x", "c.jpg", False, "a"),
        ("x", "c.jpg", True, None),
        ("y", "a.jpg", False, None),
        ("", "a.jpg", False, None),
    ],
)
def test_bytes_make_a_picture_and_a_name_only_chooses_among_equal_ones(
    sha256: str, filename: str, by_name: bool, source: str | None
) -> None:
    images = [new("a", "x"), new("b", "x", "b.jpg")]
    found = pop_same(images, sha256, filename, by_name=by_name)
    assert (found and found.source) == source
    assert len(images) == (2 if source is None else 1)


def test_a_mirror_keeps_the_whole_list_and_a_managed_account_counts_its_owners_images() -> None:
    images = [KNOWN, Managed("", "7", "своё.jpg", 5)]
    assert seen_of(images, Ownership.MIRROR) == (tuple(images), (), 0)
    assert seen_of(images, Ownership.MANAGED) == ((KNOWN,), (), 1)


@given(st.lists(st.booleans(), max_size=10), st.integers(0, 10))
def test_owners_images_keep_their_places_where_the_list_is_long_enough(theirs: list[bool], ours: int) -> None:
    there = [Managed("" if own else "x", str(place), "", 0) for place, own in enumerate(theirs)]
    slots = merged([Slot(str(place), Managed("y", "", "", 0)) for place in range(ours)], staying(there, ()))
    names = [slot.keep for slot in slots if not slot.key]
    assert names == [image.id for image in there if not image.source]
    assert [slot.key for slot in slots if slot.key] == [str(place) for place in range(ours)]
    for place, slot in enumerate(slots):
        assert slot.key or place <= int(slot.keep)
    excess = beyond_the_most(slots)
    assert len(slots) - len(excess) <= 10
    assert all(not slot.keep for slot in excess)


def test_what_a_plan_judged_leaves_and_what_was_added_since_stays_in_its_place() -> None:
    there = [Managed("", "1", "", 0), KNOWN, Managed("", "7", "", 0), Managed("", "1", "", 0)]
    assert staying(there, ["1"]) == [(2, there[2]), (3, there[3])]
    assert [place for place, _ in staying(there, ())] == [0, 2, 3]


@pytest.mark.parametrize(("there", "wanted", "calls"), [(10, 10, 32), (0, 10, 22), (3, 0, 0)])
def test_the_earlier_way_is_counted_as_the_contract_does(there: int, wanted: int, calls: int) -> None:
    assert earlier_calls(there, wanted) == calls
