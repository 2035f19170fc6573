"""A whole run that keeps its plans and pictures in a bucket, with the settings of the object store alone."""

from pathlib import Path

import pytest

from imagesync_pipelines.defs import runs
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.objects import s3_client
from imagesync_pipelines_tests.conformance.folder import made
from imagesync_pipelines_tests.object_stores import SERVERS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("store", SERVERS)
def test_what_a_run_keeps_is_in_the_bucket_and_a_mistyped_one_is_a_line_before_any_run(
    server: EmbeddedServer, tmp_path: Path, store: str
) -> None:
    with SERVERS[store](tmp_path / "objects") as place, made(server, tmp_path / "site") as site:
        site.environment.update(
            {
                "IMAGESYNC_STORAGE_URL": "s3://mistyped/kept",
                "IMAGESYNC_S3_ENDPOINT_URL": place.endpoint_url,
                "IMAGESYNC_S3_ACCESS_KEY": place.access_key,
                "IMAGESYNC_S3_SECRET_KEY": place.secret_key.get_secret_value(),
            }
        )
        with pytest.raises(StorageError, match=r"^IMAGESYNC_STORAGE_URL: The bucket 'mistyped'.*no such bucket"):
            site.sync()
        site.environment["IMAGESYNC_STORAGE_URL"] = f"s3://{place.bucket}/kept"
        done = site.sync()
        assert done.status is runs.Status.COMPLETED, done
        site.assert_right()
        again = site.sync()
        site.assert_quiet(again)
        listed = s3_client(place).list_objects_v2(Bucket=place.bucket, Prefix="kept/")["Contents"]
        kinds = {one["Key"].split("/")[1] for one in listed}
        assert {"content", "plans"} <= kinds
