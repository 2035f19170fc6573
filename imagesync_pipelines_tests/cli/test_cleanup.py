"""`imagesync cleanup`: count and bytes, the dry run that removes nothing, and what a run uses stays."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from PIL import Image

from imagesync_pipelines.cli.installation import cleanup
from imagesync_pipelines.defs.cleanup import ages_of
from imagesync_pipelines.imaging.validation import check_image
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.contents import Contents
from imagesync_pipelines.storage.installation import Locations

LONG_AGO = datetime.now(UTC) - timedelta(days=3)


@pytest.fixture
def environment(locations: Locations, database_url: str, tmp_path: Path) -> dict[str, str]:
    """An installation with two pictures of three days ago, one of them in use, and one of today."""
    engine = sa.create_engine(database_url)
    old = Contents(engine, locations.storage_root, lambda: LONG_AGO)
    for source, contents, hold in (
        ("old", old, timedelta(minutes=1)),
        ("in use", old, timedelta(days=9)),
        ("today", Contents(engine, locations.storage_root), timedelta(minutes=1)),
    ):
        body = picture(source)
        contents.put(source, body, check_image(body), hold)
    engine.dispose()
    return {"IMAGESYNC_HOME": str(locations.home), "IMAGESYNC_DATABASE_URL": database_url}


def picture(name: str) -> bytes:
    """A picture that is another for every name."""
    buffer = io.BytesIO()
    Image.new("RGB", (len(name) * 10, 20), "red").save(buffer, "PNG")
    return buffer.getvalue()


def kept(environment: dict[str, str]) -> set[str]:
    engine = sa.create_engine(environment["IMAGESYNC_DATABASE_URL"])
    with engine.connect() as connection:
        sources = set(connection.scalars(sa.text("SELECT source FROM imagesync.image_content")))
    engine.dispose()
    return sources


@pytest.mark.parametrize(("pictures", "undo", "kept"), [(90, 30, 90), (7, 30, 30)])
def test_pictures_are_kept_as_long_as_they_can_be_brought_back(pictures: int, undo: int, kept: int) -> None:
    settings = Settings(_env_file=None, keep_pictures_days=pictures, undo_days=undo)  # type: ignore[call-arg]
    assert ages_of(settings).pictures == timedelta(days=kept)


def test_a_dry_run_counts_and_removes_nothing(environment: dict[str, str]) -> None:
    done = CliRunner().invoke(cleanup, ["--hours", "24", "--dry-run"], env=environment)
    assert done.exit_code == 0, done.output
    size = len(picture("old"))
    assert f"1 files would be removed, {size} bytes (0.0 MB)" in done.output
    assert "1 file stays: a run is using it" in done.output
    assert kept(environment) == {"old", "in use", "today"}


def test_what_is_old_is_removed_and_what_a_run_uses_stays(environment: dict[str, str]) -> None:
    done = CliRunner().invoke(cleanup, ["--hours", "24"], env=environment)
    assert f"1 files removed, {len(picture('old'))} bytes" in done.output
    assert kept(environment) == {"in use", "today"}
    again = CliRunner().invoke(cleanup, ["--hours", "24"], env=environment)
    assert "0 files removed, 0 bytes" in again.output


def test_without_hours_every_kind_is_cleaned_up_and_the_total_is_told(
    environment: dict[str, str], locations: Locations
) -> None:
    more = {
        **environment,
        "IMAGESYNC_DAGSTER_URL": locations.dagster_url,
        "IMAGESYNC_KEEP_PICTURES_DAYS": "1",
        "IMAGESYNC_UNDO_DAYS": "1",
    }
    done = CliRunner().invoke(cleanup, ["--dry-run"], env=more)
    assert done.exit_code == 0, done.output
    assert "pictures: 1 would be removed, 0.0 MB; 1 old ones stay, they are needed" in done.output
    assert done.output.splitlines()[-1] == "1 would be removed, 0.0 MB"
    assert kept(environment) == {"old", "in use", "today"}
    done = CliRunner().invoke(cleanup, [], env=more)
    assert done.output.splitlines()[-1] == "1 removed, 0.0 MB"
    assert kept(environment) == {"in use", "today"}


@pytest.mark.parametrize("options", [["--hours", "-1"], ["--hours", "day"]], ids=["negative", "no number"])
def test_how_old_has_to_be_said(options: list[str]) -> None:
    done = CliRunner().invoke(cleanup, options)
    assert done.exit_code == 2
    assert "--hours" in done.output
