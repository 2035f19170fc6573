"""Opening the catalogue over an installation: its settings, its secret."""

import pytest
import sqlalchemy as sa

from imagesync_pipelines.settings import Settings, SettingsError
from imagesync_pipelines.storage.installation import Installation, Locations
from imagesync_pipelines.web.catalogue.state import SECRET_FILE, open_catalogue


def no_runs(limit: int, connector: str | None) -> list:
    return []


def test_in_development_the_secret_is_made_once_and_kept(locations: Locations, database: sa.Engine) -> None:
    place = Installation(Settings(), locations, database)
    first = open_catalogue(place, no_runs)
    assert open_catalogue(place, no_runs).session_secret == first.session_secret
    assert (locations.home / SECRET_FILE).read_text() == first.session_secret.get_secret_value()
    assert (first.engine, first.storage, first.settings.port) == (database, place.storage, 8830)
    assert first.clock().tzinfo is not None


def test_in_production_a_secret_is_asked_for(
    locations: Locations, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Installation(Settings(environment="production"), locations, database)
    with pytest.raises(SettingsError, match="CATALOGUE_SESSION_SECRET: needed in production"):
        open_catalogue(place, no_runs)
    monkeypatch.setenv("CATALOGUE_SESSION_SECRET", "x" * 31)
    with pytest.raises(SettingsError, match="CATALOGUE_SESSION_SECRET"):
        open_catalogue(place, no_runs)
    monkeypatch.setenv("CATALOGUE_SESSION_SECRET", "x" * 32)
    assert open_catalogue(place, no_runs).session_secret.get_secret_value() == "x" * 32
    assert not (locations.home / SECRET_FILE).exists()


def test_what_is_opened_shows_no_secret(locations: Locations, database: sa.Engine) -> None:
    opened = open_catalogue(Installation(Settings(), locations, database), no_runs)
    assert opened.session_secret.get_secret_value() not in repr(opened)
