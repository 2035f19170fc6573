"""The connector's settings have the contract's figures as defaults and refuse nonsense in one line."""

import pytest

from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.settings import load_settings


def test_the_defaults_are_the_safe_ones() -> None:
    settings = PlytixSettings(_env_file=None)
    assert (settings.gallery_attribute, settings.strategy, settings.remove_missing) == ("amazon_images", "link", False)
    assert (settings.products_api, settings.pace_share) == ("v1", 0.8)


def test_patch_may_remove(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLYTIX_REMOVE_MISSING", "true")
    monkeypatch.setenv("PLYTIX_STRATEGY", "patch")
    assert load_settings(PlytixSettings).remove_missing
