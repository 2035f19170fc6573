"""`imagesync export`: a file replaced whole, or standard output; every format."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from imagesync_pipelines.cli.main import root
from imagesync_pipelines.products.exports import Format, export
from imagesync_pipelines.storage.installation import Locations
from imagesync_pipelines_tests.web.catalogue.world import open_world


@pytest.fixture
def environment(locations: Locations, database: sa.Engine, database_url: str, tmp_path: Path) -> dict[str, str]:
    """An installation with one picture."""
    world = open_world(database, tmp_path)
    world.image(world.product("803721", "Grüße"))
    return {"IMAGESYNC_HOME": str(locations.home), "IMAGESYNC_DATABASE_URL": database_url}


def test_every_format_is_written_to_a_file_or_to_standard_output(
    environment: dict[str, str], database: sa.Engine, tmp_path: Path
) -> None:
    for one in Format:
        wanted = b"".join(export(database, one))
        done = CliRunner().invoke(root, ["export", one.value], env=environment)
        assert (done.exit_code, done.stdout_bytes) == (0, wanted), done.output
    path = tmp_path / "new folder" / "images with blanks #1.csv"
    done = CliRunner().invoke(root, ["export", "csv", "--to", str(path)], env=environment)
    assert done.exit_code == 0, done.output
    assert path.read_bytes() == b"".join(export(database, Format.CSV))
    assert f"{path.stat().st_size:,} bytes" in done.stderr


def test_a_format_that_there_is_not_is_a_wrong_option(environment: dict[str, str]) -> None:
    done = CliRunner().invoke(root, ["export", "xlsx"], env=environment)
    assert (done.exit_code, "parquet" in done.output) == (2, True)
