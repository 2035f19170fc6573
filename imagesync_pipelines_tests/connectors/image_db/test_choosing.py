"""The files of a record: candidates with their roles, and what is chosen among them."""

from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagesync_pipelines.connectors.image_db.choosing import Chosen, choose_files, parse_time
from imagesync_pipelines.connectors.image_db.records import read_page
from imagesync_pipelines.imaging.formats import WEB_KINDS, Candidate, Role, kind_of, page_file_of, thumbnail_of
from imagesync_pipelines_tests.connectors.image_db.made_up import MEDIA, export, page, record


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-02-01T10:00:00+00:00", datetime(2024, 2, 1, 10, tzinfo=UTC)),
        ("2024-02-01T10:00:00Z", datetime(2024, 2, 1, 10, tzinfo=UTC)),
        ("2024-02-01T10:00:00", datetime(2024, 2, 1, 10, tzinfo=UTC)),
        ("yesterday", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
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


def test_neither_a_psd_nor_a_tiff_is_shown() -> None:
    raw = record(5, exports=[export("tiff", 1, (7016, 4961))], format="psd")
    chosen = choose_files(raw["original_file"], raw["exported_files"], 600)
    assert (chosen.image_url, chosen.thumbnail_url) == (None, None)
    assert chosen.picture_url == raw["original_file"]["file_url"]


def files_of(raw: dict) -> list[Candidate]:
    """The files of a record that a browser can show, read without haste: what the rule of choice is asked with."""
    original, roles = raw["original_file"], {"jpg_k": Role.SMALL, "jpg_g": Role.LARGE}
    url = original.get("file_url") or ""
    found = [Candidate(url, kind_of(original["format"], url), Role.ORIGINAL)]
    for one in raw["exported_files"]:
        word, url = (one["type"] or "").lower(), one["image_url"] or ""
        kind = "jpeg" if word in roles else kind_of(word, url)
        width, height = one["resolution"] or (0, 0)
        role, made = roles.get(word, Role.EXPORT), parse_time(one["created"])
        found.append(Candidate(url, kind, role, width, height, made, one["id"]))
    return [one for one in found if one.url and one.kind in WEB_KINDS]


def test_eleven_exports_with_identical_pngs_give_the_newest() -> None:
    times = [f"2024-02-01T10:{minute:02}:00+00:00" for minute in range(6)]
    exports = [export("png", 20 - at, (300, 200), created=time) for at, time in enumerate(times)]
    exports += [export("jpg_g", 40, (1920, 1280)), export("jpg_k", 41, (1920, 1280)), export("tiff", 42, (7016, 4961))]
    raw = record(exports=exports)
    chosen = choose_files(raw["original_file"], raw["exported_files"], 600)
    assert (chosen.thumbnail_url, chosen.image_url) == (MEDIA + "png-15", MEDIA + "jpg_g-40")


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
    files = files_of(orjson.loads(found.canonical))
    detail, thumbnail = page_file_of(files, 600), thumbnail_of(files)
    assert chosen.image_url == (detail.candidate.url if detail else None)
    assert chosen.chosen_because == (detail.because if detail else "")
    assert chosen.thumbnail_url == (thumbnail.url if thumbnail else None)
    assert chosen.picture_url or detail is None
