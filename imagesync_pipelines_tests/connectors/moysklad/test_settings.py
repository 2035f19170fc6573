"""The connector's settings have names of their own, and a wrong one is said with its name."""

import pytest

from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.settings import SettingsError, load_settings


@pytest.fixture(autouse=True)
def _none_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MoyskladSettings.model_fields:
        monkeypatch.delenv(f"MOYSKLAD_{name.upper()}", raising=False)


def test_the_defaults_are_the_missions() -> None:
    settings = load_settings(MoyskladSettings)
    assert (settings.download_timeout, settings.pace_share, settings.cleanup_schedule) == (60, 1, "0 3 * * *")


@pytest.mark.parametrize(
    ("name", "value"),
    [("WORKERS", "6"), ("PACE_SHARE", "0"), ("FULL_SCHEDULE", "daily"), ("DOWNLOAD_TIMEOUT", "0"), ("TRIES", "x")],
)
def test_a_wrong_value_is_said_with_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"MOYSKLAD_{name}", value)
    with pytest.raises(SettingsError, match=f"^MOYSKLAD_{name}: "):
        load_settings(MoyskladSettings)
