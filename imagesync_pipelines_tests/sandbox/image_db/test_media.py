"""Proves that the media host serves real pictures of the listed size, without credentials, and 404 for what is gone."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
import requests
from PIL import Image

from imagesync_pipelines.sandbox.image_db.pictures import MediaPicture, draw
from imagesync_pipelines.sandbox.image_db.server import Sandbox, image_db_sandbox

FORMATS = {"png": "PNG", "jpg_k": "JPEG", "jpg_g": "JPEG", "tiff": "TIFF"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with image_db_sandbox(records=60) as running:
        yield running


def results(sandbox: Sandbox) -> list[dict[str, Any]]:
    url = sandbox.url + "all-files-and-articles/"
    found: list[dict[str, Any]] = requests.get(url, auth=(sandbox.username, sandbox.password), timeout=5).json()[
        "results"
    ]
    return found


def fetch(url: str) -> requests.Response:
    return requests.get(url, timeout=20)


def test_every_kind_of_file_decodes_at_its_listed_size(sandbox: Sandbox) -> None:
    seen = set()
    for record in results(sandbox):
        for export in record["exported_files"]:
            if export["image_url"] is None or (export["type"] == "tiff" and "tiff" in seen):
                continue
            seen.add(export["type"])
            answer = fetch(export["image_url"])
            assert answer.status_code == 200
            assert int(answer.headers["content-length"]) == len(answer.content)
            image = Image.open(BytesIO(answer.content))
            image.load()
            assert (image.format, list(image.size)) == (FORMATS[export["type"]], export["resolution"])
    assert seen == set(FORMATS)


@pytest.mark.parametrize(("file_format", "expected"), [("psd", "PSD"), ("jpeg", "JPEG")])
def test_originals_decode_with_the_pixels_of_the_tiff(sandbox: Sandbox, file_format: str, expected: str) -> None:
    record = next(
        record
        for record in sandbox.catalogue.records()
        if record["original_file"]["format"] == file_format
        and any(export["type"] == "tiff" for export in record["exported_files"])
    )
    name = record["original_file"]["file_url"].rsplit("/", 1)[1]
    image = Image.open(BytesIO(fetch(sandbox.media_url + name).content))
    image.load()
    full = next(export["resolution"] for export in record["exported_files"] if export["type"] == "tiff")
    assert (image.format, list(image.size)) == (expected, full)


def test_pictures_of_two_records_differ_and_files_of_one_record_look_alike() -> None:
    def colours(number: int, kind: str) -> list[tuple[int, int, int]]:
        content, _ = draw(MediaPicture("803721", number, kind, 300, 400))
        picture = Image.open(BytesIO(content)).convert("RGB")
        return [picture.getpixel(place) for place in ((3, 3), (150, 260))]  # type: ignore[misc]

    assert colours(1, "png") != colours(2, "png")
    for one, other in zip(colours(1, "png"), colours(1, "jpg_g"), strict=True):
        assert all(abs(left - right) < 12 for left, right in zip(one, other, strict=True))


def test_the_two_jpegs_differ_in_quality_only() -> None:
    small, large = (draw(MediaPicture("803721", 1, kind, 960, 1280))[0] for kind in ("jpg_k", "jpg_g"))
    assert len(small) < len(large)
    assert Image.open(BytesIO(small)).size == Image.open(BytesIO(large)).size


@pytest.mark.parametrize("kind", ["png", "jpg_k", "psd", "tiff"])
@pytest.mark.parametrize("size", [(1, 1), (127, 3), (128, 2), (129, 200), (3000, 50)])
def test_a_picture_of_any_size_can_be_drawn(kind: str, size: tuple[int, int]) -> None:
    image = Image.open(BytesIO(draw(MediaPicture("Nr. 1 ü", 7, kind, *size))[0]))
    image.load()
    assert image.size == size


def test_nobody_asks_for_credentials_and_the_ledger_sees_whether_some_came(sandbox: Sandbox) -> None:
    url = results(sandbox)[0]["original_file"]["file_url"]
    sandbox.ledger.clear()
    assert fetch(url).status_code == 200
    assert requests.get(url, auth=("somebody", "secret"), timeout=20).status_code == 200
    assert [call.with_credentials for call in sandbox.ledger.calls("media")] == [False, True]


def test_a_re_exported_url_is_gone_and_the_new_one_is_there(sandbox: Sandbox) -> None:
    record = next(record for record in results(sandbox) if len(record["exported_files"]) >= 4)
    file_id = record["original_file"]["file_id"]
    before = [export["image_url"] for export in record["exported_files"] if export["type"] == "png"]
    assert fetch(before[0]).status_code == 200
    sandbox.mutate("re_export", file_id=file_id)
    assert fetch(before[0]).status_code == 404
    after = next(one for one in results(sandbox) if one["original_file"]["file_id"] == file_id)
    assert all(
        fetch(export["image_url"]).status_code == 200 for export in after["exported_files"] if export["image_url"]
    )
    assert fetch(after["original_file"]["file_url"]).status_code == 200


def test_an_unknown_name_is_a_404_page(sandbox: Sandbox) -> None:
    answer = fetch(sandbox.media_url + "nothing.png")
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
