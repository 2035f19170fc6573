"""Which file serves which purpose: large enough first, then PNG before JPEG before the original, never a flip."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.imaging.formats import Candidate, Role, kind_of, page_file_of, thumbnail_of

OLD, NEW = datetime(2023, 5, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)


def file(url: str, kind: str, role: Role = Role.EXPORT, width: int = 0, height: int = 0, **more: object) -> Candidate:
    return Candidate(url, kind, role, width, height, **more)  # type: ignore[arg-type]


JPEG_ORIGINAL = file("original.jpg", "jpeg", Role.ORIGINAL)
PNG_200 = file("200.png", "png", width=300, height=200)
PNG_1500 = file("1500.png", "png", width=2000, height=1500)
SMALL = file("k.jpg", "jpeg", Role.SMALL, 1920, 1280)
LARGE = file("g.jpg", "jpeg", Role.LARGE, 1920, 1280)
UNMEASURED = file("unknown.png", "png")

PAGES = {
    "trap 8: a 200-pixel PNG is no main image": ([PNG_200, SMALL, LARGE], "g.jpg"),
    "a PNG wins when it is large enough": ([PNG_1500, LARGE], "1500.png"),
    "trap 8: equal pixels, the better quality": ([SMALL, LARGE], "g.jpg"),
    "an original JPEG before a small PNG": ([JPEG_ORIGINAL, PNG_200], "original.jpg"),
    "a large export before an original of unknown size": ([JPEG_ORIGINAL, LARGE], "g.jpg"),
    "only the original": ([JPEG_ORIGINAL], "original.jpg"),
    "nothing is large enough": ([PNG_200], "200.png"),
    "no files at all": ([], None),
    "an export of unknown size as the last resort": ([UNMEASURED], "unknown.png"),
    "the newest of equals": (
        [file("old", "jpeg", Role.LARGE, 9, 900, created=OLD), file("new", "jpeg", Role.LARGE, 9, 900, created=NEW)],
        "new",
    ),
    "the highest id of equals": (
        [file("a", "png", width=9, height=900, id=11), file("b", "png", width=9, height=900, id=7)],
        "a",
    ),
}
THUMBNAILS = {
    "nearest to 200 pixels": ([LARGE, PNG_200, PNG_1500], "200.png"),
    "trap 8: a panorama has a thumbnail": ([LARGE, file("wide.png", "png", width=586, height=200)], "wide.png"),
    "a portrait by its long side": ([LARGE, file("tall.png", "png", width=107, height=200)], "tall.png"),
    "no PNG, the light JPEG": ([LARGE, SMALL], "k.jpg"),
    "nothing measured": ([JPEG_ORIGINAL, UNMEASURED], None),
}


@pytest.mark.parametrize(("files", "expected"), PAGES.values(), ids=PAGES.keys())
def test_the_file_for_a_page(files: list[Candidate], expected: str | None) -> None:
    choice = page_file_of(files, 600)
    assert (choice.candidate.url if choice else None) == expected
    if choice:
        assert 0 < len(choice.because) <= 255


@pytest.mark.parametrize(("files", "expected"), THUMBNAILS.values(), ids=THUMBNAILS.keys())
def test_the_file_for_a_thumbnail(files: list[Candidate], expected: str | None) -> None:
    thumbnail = thumbnail_of(files)
    assert (thumbnail.url if thumbnail else None) == expected


def test_the_least_height_is_the_callers() -> None:
    choice = page_file_of([PNG_200, LARGE], 200)
    assert choice is not None
    assert (choice.candidate.url, choice.because) == (
        "200.png",
        "PNG 300x200 (export) is the preferred file of at least 200 pixels height",
    )


@pytest.mark.parametrize(
    ("name", "url", "expected"),
    [
        ("jpeg", "https://h/a.jpg", "jpeg"),
        ("JPG", "", "jpeg"),
        ("psd", "https://h/a.jpg", "psd"),
        ("tif", "", "tiff"),
        (None, "https://h/a.JPG?x=1", "jpeg"),
        ("", "https://h/a.b/c.png", "png"),
        (None, "", ""),
        (" png ", "", "png"),
    ],
)
def test_the_kind_is_the_systems_word_else_the_extension(name: str | None, url: str, expected: str) -> None:
    assert kind_of(name, url) == expected


candidates = st.builds(
    Candidate,
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["png", "jpeg", "webp"]),
    st.sampled_from(Role),
    st.sampled_from([0, 107, 300, 1920]),
    st.sampled_from([0, 200, 1280]),
    st.sampled_from([None, OLD, NEW]),
    st.integers(0, 3),
)


@given(st.lists(candidates, max_size=8), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_files(files: list, random: object) -> None:
    shuffled = list(files)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert page_file_of(files, 600) == page_file_of(shuffled, 600)
    assert thumbnail_of(files) == thumbnail_of(shuffled)


@given(st.lists(candidates, max_size=8))
def test_a_page_gets_a_file_exactly_when_there_is_one(files: list[Candidate]) -> None:
    choice = page_file_of(files, 600)
    assert (choice is not None) is bool(files)
    assert choice is None or choice.candidate in files
