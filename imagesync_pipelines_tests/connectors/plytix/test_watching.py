"""The folder of mapping files: what lies in it, what is new, what is still being written; a folder and real S3."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagesync_pipelines.connectors.plytix.sources import FoundFile, mapping_files, mapping_path, news
from imagesync_pipelines.settings import Settings, SettingsError
from imagesync_pipelines.storage.objects import embedded_s3

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of an object store."""
    with embedded_s3(tmp_path_factory.mktemp("s3")) as place:
        yield Settings(
            s3_endpoint_url=place.endpoint_url, s3_access_key=place.access_key, s3_secret_key=place.secret_key
        )


def put(path: Path, text: str, minute: int) -> None:
    path.write_text(text)
    written = (NOON + timedelta(minutes=minute)).timestamp()
    os.utime(path, (written, written))


def test_mapping_files_come_oldest_first_and_nothing_else_does(tmp_path: Path) -> None:
    put(tmp_path / "a.json", "{}", 2)
    put(tmp_path / "b.json", "{}", 1)
    put(tmp_path / ".half.json", "{}", 0)
    put(tmp_path / "report.txt", "", 0)
    (tmp_path / "old").mkdir()
    put(tmp_path / "old" / "c.json", "{}", 0)
    files = mapping_files(str(tmp_path), Settings())
    assert [Path(file.path).name for file in files] == ["b.json", "a.json"]
    assert files[0].modified == NOON + timedelta(minutes=1)


def test_a_file_that_is_replaced_gets_another_mark_and_an_untouched_one_does_not(tmp_path: Path) -> None:
    put(tmp_path / "a.json", "{}", 1)
    first = mapping_files(str(tmp_path), Settings())
    assert mapping_files(str(tmp_path), Settings()) == first
    put(tmp_path / "a.json", "[]", 2)
    assert mapping_files(str(tmp_path), Settings())[0].mark != first[0].mark


def test_a_new_file_in_s3_is_seen_by_a_process_that_has_looked_before(bucket: Settings) -> None:
    folder = "s3://product-images/mappings"
    mapping_path(f"{folder}/a.json", bucket).write_text("{}")
    before = mapping_files(folder, bucket)
    assert [file.path for file in before] == [f"{folder}/a.json"]
    mapping_path(f"{folder}/b.json", bucket).write_text("{}")
    mapping_path(f"{folder}/a.json", bucket).write_text('{"matched": []}')
    after = {file.path: file.mark for file in mapping_files(folder, bucket)}
    assert after.keys() == {f"{folder}/a.json", f"{folder}/b.json"}
    assert after[before[0].path] != before[0].mark
    assert mapping_path(f"{folder}/a.json", bucket).read_text() == '{"matched": []}'


@pytest.mark.parametrize(
    ("folder", "settings"),
    [
        pytest.param("nowhere", {}, id="no such folder"),
        pytest.param("gopher://host/x", {}, id="no such scheme"),
        pytest.param(
            "s3://product-images/mappings",
            {"s3_endpoint_url": "http://127.0.0.1:9", "s3_access_key": "some-key", "s3_secret_key": "some-secret"},
            id="no such store",
        ),
    ],
)
def test_a_folder_that_cannot_be_read_is_one_clear_error(folder: str, settings: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match=folder):
        mapping_files(folder, Settings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "age", "is_news"),
    [
        pytest.param({}, 60, True, id="never seen"),
        pytest.param({"a.json": "1"}, 60, False, id="as it was seen"),
        pytest.param({"a.json": "0"}, 60, True, id="changed"),
        pytest.param({"b.json": "1"}, 60, True, id="another was seen"),
        pytest.param({}, 1, False, id="somebody may still be writing it"),
        pytest.param({}, -60, True, id="its clock is ahead of ours"),
    ],
)
def test_news_are_files_that_are_new_or_changed_and_at_rest(seen: dict[str, str], age: int, is_news: bool) -> None:
    file = FoundFile("a.json", NOON - timedelta(seconds=age), "1")
    assert news([file], seen, NOON) == ([file] if is_news else [])
