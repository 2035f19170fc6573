"""The connector's settings: names of the mission, one clear line per wrong value, secrets that stay secret."""

from pathlib import Path

import pytest

from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings, missing_variables
from imagesync_pipelines.settings import SettingsError, load_settings


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No .env of the checkout and no variable of the machine."""
    monkeypatch.chdir(tmp_path)
    for name in ImageDbSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_defaults_are_those_of_the_mission() -> None:
    settings = load_settings(ImageDbSettings)
    assert (settings.image_api_timeout, settings.image_api_cache_enabled, settings.image_api_cache_timeout) == (
        30,
        True,
        3600,
    )
    assert (settings.image_api_page_size, settings.image_api_concurrency, settings.image_db_schedule) == (
        100,
        4,
        "0 3 * * *",
    )


def test_values_come_from_the_environment_and_the_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGE_API_URL", "https://images.example.com/api/")
    monkeypatch.setenv("IMAGE_API_PASSWORD", "canary-7731")
    monkeypatch.setenv("IMAGE_API_TIMEOUT", "60")
    settings = load_settings(ImageDbSettings)
    assert settings.image_api_url == "https://images.example.com/api/"
    assert settings.image_api_timeout == 60
    assert "canary" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("IMAGE_API_TIMEOUT", "soon", "IMAGE_API_TIMEOUT: Input should be a valid number"),
        ("IMAGE_API_CONCURRENCY", "0", "IMAGE_API_CONCURRENCY: Input should be greater than or equal to 1"),
        ("IMAGE_DB_SCHEDULE", "daily", "IMAGE_DB_SCHEDULE: a schedule has five fields"),
        ("ERP_PARENTS_FILE", "parents.csv", "ERP_PARENTS_FILE and ERP_VARIANTS_FILE go together"),
    ],
)
def test_a_wrong_value_gives_one_line_naming_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, line: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(ImageDbSettings)
    assert line in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_variables(load_settings(ImageDbSettings)) == (
        "IMAGE_API_URL",
        "IMAGE_API_USERNAME",
        "IMAGE_API_PASSWORD",
        "ERP_DATABASE_URL (or ERP_PARENTS_FILE and ERP_VARIANTS_FILE)",
    )
    for name in ("IMAGE_API_URL", "IMAGE_API_USERNAME", "IMAGE_API_PASSWORD", "ERP_DATABASE_URL"):
        monkeypatch.setenv(name, "something")
    assert missing_variables(load_settings(ImageDbSettings)) == ()
