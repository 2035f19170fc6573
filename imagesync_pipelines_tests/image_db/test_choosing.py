"""The files of a record: candidates with their roles, and what is chosen among them."""

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.image_db.choosing import Chosen, candidates_of, choose_files, parse_time
from imagesync_pipelines.image_db.records import read_page
from imagesync_pipelines.imaging.formats import Purpose, Role, choose
from imagesync_pipelines_tests.image_db.made_up import MEDIA, export, page, placeholder, record


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-01T10:00:00+00:00", datetime(2024, 2, 1, 10, tzinfo=UTC)),
        ("2024-02-01T10:00:00Z", datetime(2024, 2, 1, 10, tzinfo=UTC)),
        ("2024-02-01T10:00:00", datetime(2024, 2, 1, 10, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_moments_are_read_and_nonsense_is_no_moment(text: str | None, expected: datetime | None) -> None:
    assert parse_time(text) == expected


def test_everything_that_a_product_image_shows_is_chosen_once_per_record() -> None:
    raw = record(5, exports=[export("jpg_k", 1, (10, 20)), export("jpg_g", 2, (800, 700))], format="psd")
    assert choose_files(raw["original_file"], raw["exported_files"], 600) == Chosen(
        image_url=MEDIA + "jpg_g-2",
        thumbnail_url=MEDIA + "jpg_k-1",
        chosen_because="JPEG 800x700 (large export) is the preferred file of at least 600 pixels height",
        width=800,
        height=700,
        image_format="jpeg",
        newest_export=datetime(2024, 2, 1, 10, 0, 0, 123456, UTC),
        picture_url=MEDIA + "jpg_k-1",
    )


def test_a_higher_least_height_gives_another_file() -> None:
    raw = record(5, exports=[export("png", 1, (700, 700)), export("jpg_g", 2, (1900, 1280))], format="psd")
    urls = [choose_files(raw["original_file"], raw["exported_files"], height).image_url for height in (600, 800)]
    assert urls == [MEDIA + "png-1", MEDIA + "jpg_g-2"]


def test_the_files_of_a_record_are_candidates_with_their_role_and_placeholders_are_none() -> None:
    exports = [export("jpg_k", 1, (10, 20)), export("JPG_G", 2), export("png", 3, None), placeholder()]
    found = candidates_of(record(5, exports=exports, format="JPEG", file_url=MEDIA + "a.jpg"))
    assert [(one.kind, one.role, one.width, one.height) for one in found] == [
        ("jpeg", Role.ORIGINAL, 0, 0),
        ("jpeg", Role.SMALL, 10, 20),
        ("jpeg", Role.LARGE, 300, 200),
        ("png", Role.EXPORT, 0, 0),
    ]


def test_eleven_exports_with_identical_pngs_give_the_newest() -> None:
    times = [f"2024-02-01T10:{minute:02}:00+00:00" for minute in range(6)]
    exports = [export("png", 20 - at, (300, 200), created=time) for at, time in enumerate(times)]
    exports += [export("jpg_g", 40, (1920, 1280)), export("jpg_k", 41, (1920, 1280)), export("tiff", 42, (7016, 4961))]
    candidates = candidates_of(record(exports=exports))
    thumbnail, detail = choose(candidates, Purpose.THUMBNAIL), choose(candidates, Purpose.DETAIL)
    assert thumbnail is not None
    assert detail is not None
    assert (thumbnail.candidate.url, detail.candidate.url) == (MEDIA + "png-15", MEDIA + "jpg_g-40")


KINDS = ["png", "jpg_k", "jpg_g", "tiff", "psd", "webp", "", None]


@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from([None, (300, 200)]), st.booleans()), max_size=4),
    st.sampled_from(["psd", "jpeg", "", None]),
    st.sampled_from([None, "", MEDIA + "a.jpg", MEDIA + "a.psd"]),
)
def test_a_record_shows_exactly_what_the_rule_chooses_and_a_person_sees_some_file(
    exports: list, word: str | None, url: str | None
) -> None:
    made = [
        export(kind or "x", 1, size, type=kind, image_url=MEDIA + "x.png" if has_url else None)
        for kind, size, has_url in exports
    ]
    found = read_page(page(record(exports=made, format=word, file_url=url))).records[0]
    chosen = found.chosen
    choice = choose(candidates_of(orjson.loads(found.canonical)), Purpose.DETAIL)
    assert chosen.image_url == (choice.candidate.url if choice else None)
    assert chosen.picture_url or choice is None
