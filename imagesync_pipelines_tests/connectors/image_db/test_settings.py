"""The connector's settings: their names, one clear line per wrong value, secrets that stay secret."""

from pathlib import Path

import pytest

from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings, missing_variables
from imagesync_pipelines.settings import load_settings


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No .env of the checkout and no variable of the machine."""
    monkeypatch.chdir(tmp_path)
    for name in ImageDbSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_defaults_are_those_of_the_docs() -> None:
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


def test_env_file_is_read_anew_and_an_empty_variable_of_the_environment_wins_over_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = Path(".env")
    for password in ("wrong", "corrected"):
        file.write_text(f"IMAGE_API_USERNAME=reader\nIMAGE_API_PASSWORD={password}\nIMAGE_API_TIMEOUT=7\n")
        found = load_settings(ImageDbSettings).image_api_password
        assert found is not None
        assert found.get_secret_value() == password
    monkeypatch.setenv("IMAGE_API_PASSWORD", "")
    monkeypatch.setenv("image_api_timeout", "")
    settings = load_settings(ImageDbSettings)
    assert (settings.image_api_password, settings.image_api_username, settings.image_api_timeout) == (
        None,
        "reader",
        30,
    )


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
