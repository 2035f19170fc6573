"""The connector's settings have names of their own, and a wrong one is said with its name."""

import pytest

from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.settings import load_settings


@pytest.fixture(autouse=True)
def _none_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in MoyskladSettings.model_fields:
        monkeypatch.delenv(f"MOYSKLAD_{name.upper()}", raising=False)


def test_the_defaults_are_those_of_the_docs() -> None:
    settings = load_settings(MoyskladSettings)
    assert (settings.download_timeout, settings.pace_share, settings.cleanup_schedule) == (60, 1, "0 3 * * *")
