"""Every process finds the same locations, from the settings or from what its parent hands it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.database import open_database
from imagesync_pipelines.storage.embedded import stop_server
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.installation import Locations, dagster_yaml, open_locations

CHILD = """
import json
from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.installation import open_locations
locations = open_locations(load_settings(Settings))
print(json.dumps([locations.database_url, locations.dagster_url, str(locations.storage_root), locations.environment()]))
"""
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home, not below pytest's folder: that one is closed to the user that stands in for root."""
    folder = Path(tempfile.mkdtemp(prefix="imagesync-tests-"))
    yield folder / "home"
    stop_server(folder / "home")
    shutil.rmtree(folder)


def _as_a_child_sees_it(locations: Locations, elsewhere: Path) -> list[object]:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | locations.environment()
    done = subprocess.run(
        [sys.executable, "-c", CHILD], env=environment, cwd=elsewhere, check=True, capture_output=True, text=True
    )
    assert "XDG_RUNTIME_DIR" not in done.stderr
    return json.loads(done.stdout)


def _as_seen_here(locations: Locations) -> list[object]:
    return [locations.database_url, locations.dagster_url, str(locations.storage_root), locations.environment()]


def test_a_child_in_another_folder_reaches_the_same_embedded_house(home: Path, tmp_path: Path) -> None:
    locations = open_locations(Settings(home=home))
    open_database(locations.database_url).dispose()
    assert _as_a_child_sees_it(locations, tmp_path) == _as_seen_here(locations)
    assert Path(locations.environment()["IMAGESYNC_HOME"]).is_absolute()
    assert (locations.dagster_home / "dagster.yaml").read_text() == dagster_yaml()
    with sa.create_engine(locations.dagster_url).connect() as connection:
        assert connection.execute(sa.text("SELECT current_database()")).scalar() == "dagster"


@pytest.mark.slow
def test_several_processes_may_open_and_migrate_a_fresh_house_at_once(home: Path, tmp_path: Path) -> None:
    code = (
        CHILD
        + "from imagesync_pipelines.storage.database import open_database\nopen_database(locations.database_url)\n"
    )
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment["IMAGESYNC_HOME"] = str(home)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(3)
    ]
    said = [(child.communicate(), child.returncode) for child in children]
    assert [(code, errors) for (_, errors), code in said if code] == []
    assert len({out for (out, _), _ in said}) == 1


def test_a_child_reaches_the_same_house_on_a_database_of_ours(locations: Locations, tmp_path: Path) -> None:
    assert _as_a_child_sees_it(locations, tmp_path) == _as_seen_here(locations)
    assert not (locations.home / "postgres").exists()


def test_dagster_shares_our_database_when_it_has_none_of_its_own(database_url: str, tmp_path: Path) -> None:
    bare = database_url.replace("postgresql+psycopg://", "postgres://")
    locations = open_locations(Settings(home=tmp_path / "home", database_url=bare))
    assert locations.database_url == database_url
    assert locations.dagster_url == database_url.replace("+psycopg:", "+psycopg2:")


def test_passwords_are_not_in_what_is_printed_of_a_house(tmp_path: Path) -> None:
    locations = open_locations(Settings(home=tmp_path / "home", database_url="postgresql://u:canary@h/d"))
    assert "canary" in locations.database_url
    assert "canary" not in repr(locations)


def test_a_relative_home_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.chdir(tmp_path)
    locations = open_locations(Settings(home=Path("here"), database_url=database_url))
    assert locations.home == tmp_path / "here"
    assert locations.dagster_home == tmp_path / "here" / "dagster"
    assert str(locations.storage_root) == str(tmp_path / "here" / "storage")


def test_the_copy_of_dagster_yaml_follows_the_one_in_the_repository(locations: Locations, database_url: str) -> None:
    assert dagster_yaml() == (REPOSITORY / "dagster.yaml").read_text()
    copy = locations.dagster_home / "dagster.yaml"
    copy.write_text("old: true\n")
    open_locations(Settings(home=locations.home, database_url=database_url))
    assert copy.read_text() == dagster_yaml()
    assert sorted(path.name for path in locations.dagster_home.iterdir()) == ["dagster.yaml", "workspace.yaml"]


def test_another_store_is_taken_and_handed_on(database_url: str, tmp_path: Path) -> None:
    locations = open_locations(
        Settings(home=tmp_path / "home", database_url=database_url, storage_url="memory://bucket/prefix")
    )
    (locations.storage_root / "x" / "y").write_bytes(b"body")
    assert (locations.storage_root / "x" / "y").read_bytes() == b"body"
    assert locations.environment()["IMAGESYNC_STORAGE_URL"] == "memory://bucket/prefix"


def test_a_store_that_cannot_be_used_is_said_so(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="IMAGESYNC_STORAGE_URL: nonsense://bucket cannot be used"):
        open_locations(Settings(home=tmp_path / "home", database_url=database_url, storage_url="nonsense://bucket"))
