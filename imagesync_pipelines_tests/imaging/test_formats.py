"""Which file serves which purpose: large enough first, then PNG before JPEG before the original, never a flip."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.imaging.formats import Candidate, Purpose, Role, choose, is_showable, kind_of

OLD, NEW = datetime(2023, 5, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)


def file(url: str, kind: str, role: Role = Role.EXPORT, width: int = 0, height: int = 0, **more: object) -> Candidate:
    return Candidate(url, kind, role, width, height, **more)  # type: ignore[arg-type]


PSD = file("original.psd", "psd", Role.ORIGINAL)
JPEG_ORIGINAL = file("original.jpg", "jpeg", Role.ORIGINAL)
PNG_200 = file("200.png", "png", width=300, height=200)
PNG_1500 = file("1500.png", "png", width=2000, height=1500)
SMALL = file("k.jpg", "jpeg", Role.SMALL, 1920, 1280)
LARGE = file("g.jpg", "jpeg", Role.LARGE, 1920, 1280)
TIFF = file("full.tif", "tiff", width=7016, height=4961)
UNMEASURED = file("unknown.png", "png")

CASES = {
    "trap 8: a 200-pixel PNG is no main image": ([PSD, PNG_200, SMALL, LARGE, TIFF], Purpose.DETAIL, "g.jpg"),
    "a PNG wins when it is large enough": ([PNG_1500, LARGE], Purpose.DETAIL, "1500.png"),
    "trap 8: equal pixels, detail takes the better quality": ([SMALL, LARGE], Purpose.DETAIL, "g.jpg"),
    "trap 8: equal pixels, a list takes the lighter file": ([LARGE, SMALL], Purpose.LIST, "k.jpg"),
    "an original JPEG before a small PNG": ([JPEG_ORIGINAL, PNG_200], Purpose.DETAIL, "original.jpg"),
    "a large export before an original of unknown size": ([JPEG_ORIGINAL, LARGE], Purpose.DETAIL, "g.jpg"),
    "only the original": ([JPEG_ORIGINAL], Purpose.DETAIL, "original.jpg"),
    "nothing is large enough": ([PSD, PNG_200], Purpose.DETAIL, "200.png"),
    "trap 8: never a PSD": ([PSD], Purpose.DETAIL, None),
    "trap 8: never a TIFF": ([TIFF], Purpose.LIST, None),
    "no files at all": ([], Purpose.DETAIL, None),
    "an export of unknown size as the last resort": ([UNMEASURED], Purpose.DETAIL, "unknown.png"),
    "the newest of equals": (
        [file("old", "jpeg", Role.LARGE, 9, 900, created=OLD), file("new", "jpeg", Role.LARGE, 9, 900, created=NEW)],
        Purpose.DETAIL,
        "new",
    ),
    "the highest id of equals": (
        [file("a", "png", width=9, height=900, id=11), file("b", "png", width=9, height=900, id=7)],
        Purpose.DETAIL,
        "a",
    ),
    "thumbnail: nearest to 200 pixels": ([LARGE, PNG_200, PNG_1500], Purpose.THUMBNAIL, "200.png"),
    "trap 8: a panorama has a thumbnail": (
        [LARGE, file("wide.png", "png", width=586, height=200)],
        Purpose.THUMBNAIL,
        "wide.png",
    ),
    "thumbnail: a portrait by its long side": (
        [LARGE, file("tall.png", "png", width=107, height=200)],
        Purpose.THUMBNAIL,
        "tall.png",
    ),
    "thumbnail: no PNG, the light JPEG": ([LARGE, SMALL], Purpose.THUMBNAIL, "k.jpg"),
    "thumbnail: nothing measured": ([JPEG_ORIGINAL, UNMEASURED, PSD], Purpose.THUMBNAIL, None),
    "download: an original that opens everywhere": ([JPEG_ORIGINAL, TIFF, LARGE], Purpose.DOWNLOAD, "original.jpg"),
    "download: the TIFF of a PSD": ([PSD, TIFF, LARGE], Purpose.DOWNLOAD, "full.tif"),
    "download: the PSD when there is no TIFF": ([PSD, LARGE], Purpose.DOWNLOAD, "original.psd"),
    "download: the largest export without an original": ([PNG_200, LARGE], Purpose.DOWNLOAD, "g.jpg"),
    "download: nothing": ([file("", "jpeg")], Purpose.DOWNLOAD, None),
}


@pytest.mark.parametrize(("files", "purpose", "expected"), CASES.values(), ids=CASES.keys())
def test_the_file_for_a_purpose(files: list[Candidate], purpose: Purpose, expected: str | None) -> None:
    choice = choose(files, purpose)
    assert (choice.candidate.url if choice else None) == expected
    if choice:
        assert 0 < len(choice.because) <= 255


def test_the_least_height_is_the_callers() -> None:
    choice = choose([PNG_200, LARGE], Purpose.DETAIL, min_height=200)
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
    st.sampled_from(["", "a", "b", "c"]),
    st.sampled_from(["png", "jpeg", "tiff", "psd", "webp"]),
    st.sampled_from(Role),
    st.sampled_from([0, 107, 300, 1920]),
    st.sampled_from([0, 200, 1280]),
    st.none(),
    st.sampled_from([None, OLD, NEW]),
    st.integers(0, 3),
)


@given(st.lists(candidates, max_size=8), st.sampled_from(Purpose), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_the_files(files: list, purpose: Purpose, random: object) -> None:
    shuffled = list(files)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = choose(files, purpose), choose(shuffled, purpose)
    assert (first and first.because, first and first.candidate.url) == (
        second and second.because,
        second and second.candidate.url,
    )


@given(st.lists(candidates, max_size=8))
def test_a_page_gets_a_file_exactly_when_a_browser_can_show_one(files: list[Candidate]) -> None:
    showable = any(is_showable(one.kind, one.url) for one in files)
    choice = choose(files, Purpose.DETAIL)
    assert (choice is not None) is showable
    assert choice is None or is_showable(choice.candidate.kind, choice.candidate.url)
