"""Settings are read once for all who ask, and anew as soon as anything that they come from is another."""

from pathlib import Path

import pytest
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from imagesync_pipelines.settings import SettingsError, load_settings


class Toys(BaseSettings):
    """Settings of nobody."""

    model_config = SettingsConfigDict(env_prefix="TOYS_", extra="ignore")

    number: int = Field(1, description="how many")


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of variables."""
    monkeypatch.setenv("IMAGESYNC_ENV_FILE", str(tmp_path / ".env"))
    return tmp_path / ".env"


def test_whoever_asks_again_gets_what_was_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("TOYS_NUMBER=2\n")
    read = load_settings(Toys)
    assert read.number == 2
    assert load_settings(Toys) is read
    assert load_settings(Toys, number=5).number == 5
    assert load_settings(Toys) is read
    file.write_text("TOYS_NUMBER=33\n")
    assert load_settings(Toys).number == 33
    monkeypatch.setenv("TOYS_NUMBER", "4")
    assert load_settings(Toys).number == 4
    monkeypatch.delenv("TOYS_NUMBER")
    file.unlink()
    assert load_settings(Toys).number == 1


def test_a_file_of_that_name_in_another_folder_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMAGESYNC_ENV_FILE", raising=False)
    for number in (7, 8):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / ".env").write_text(f"TOYS_NUMBER={number}\n")
        monkeypatch.chdir(folder)
        assert load_settings(Toys).number == number


def test_what_is_wrong_is_said_every_time(file: Path) -> None:
    file.write_text("TOYS_NUMBER=many\n")
    for _ in range(2):
        with pytest.raises(SettingsError, match="TOYS_NUMBER"):
            load_settings(Toys)
