"""A store that reads its photos from the head office's bucket: an odd key costs one photo, a mistyped bucket none."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.defs import runs
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.edge_installations import edge_world, head_office

pytestmark = pytest.mark.slow


def test_an_object_key_that_nobody_can_read_is_one_photos_reason_and_a_mistyped_bucket_is_no_photos(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    with (
        head_office(server, tmp_path / "office", photos=6) as office,
        edge_world(server, tmp_path / "place", office) as world,
    ):
        place = office.s3
        world.environment.update(
            {
                "EDGE_BYTES_FROM": "s3",
                "IMAGESYNC_S3_ENDPOINT_URL": place.endpoint_url,
                "IMAGESYNC_S3_ACCESS_KEY": place.access_key,
                "IMAGESYNC_S3_SECRET_KEY": place.secret_key.get_secret_value(),
                "IMAGESYNC_S3_BUCKET": "mistyped",
            }
        )
        stopped = world.sync(full=True)
        assert stopped.status is runs.Status.FAILED
        assert "'mistyped': there is no such bucket" in stopped.error
        assert {photo.status for photo in world.photos().values()} == {"pending"}

        odd = min(world.listed())
        with office.office.engine.begin() as connection:
            statement = "UPDATE head_office.photo SET object_key = 'products//../a.jpg' WHERE id = CAST(:id AS uuid)"
            connection.execute(sa.text(statement), {"id": odd})
        world.environment["IMAGESYNC_S3_BUCKET"] = place.bucket
        done = world.sync(full=True)
        assert done.status is runs.Status.PARTIAL, done
        photos = world.photos()
        assert {key for key, photo in photos.items() if photo.status != "synced"} == {odd}
        assert "it cannot look for this object" in photos[odd].error
