"""The connector's settings have the contract's figures as defaults and refuse nonsense in one line."""

import pytest

from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.settings import SettingsError, load_settings


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = EdgeSettings(_env_file=None)
    assert (settings.page_size, settings.concurrency, settings.pace_ms) == (100, 5, 0)
    assert (settings.incremental_schedule, settings.full_schedule) == ("0 * * * *", "0 2 * * *")
    assert (settings.max_failure_share, settings.max_run_minutes, settings.max_storage_share) == (0.1, 60, 0.8)
    assert (settings.memory_budget, settings.max_photo) == (64 * 1024 * 1024, 50 * 1024 * 1024)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("EDGE_PAGE_SIZE", "0", "greater than or equal to 1"),
        ("EDGE_BYTES_FROM", "ftp", "'ho' or 's3'"),
        ("EDGE_FULL_SCHEDULE", "daily", "five fields"),
        ("EDGE_HEAD_OFFICE_TIMEZONE", "Mars/Base", "no time zone of this name"),
        ("EDGE_MISSING_PHOTO", "teapot", "'404', 'placeholder' or 'redirect'"),
    ],
)
def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"{name}: .*{said}"):
        load_settings(EdgeSettings)
