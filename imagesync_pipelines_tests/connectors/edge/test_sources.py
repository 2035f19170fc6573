"""Photos out of a real bucket: bytes, missing objects, refused keys, a server that is not there."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import SecretStr

from imagesync_pipelines.connectors.edge.downloads import DownloadFault, Downloads, fetch_photo, from_bucket
from imagesync_pipelines.connectors.edge.errors import ObjectMissingError
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.storage.objects import S3Place, embedded_s3, s3_client
from imagesync_pipelines.upstream.errors import CredentialsError, UnavailableError
from imagesync_pipelines_tests.connectors.edge.photos import photo, picture, settings_of

SETTINGS = EdgeSettings(tries=1)


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Place]:
    """A bucket with the photo of product 1 in it."""
    folder: Path = tmp_path_factory.mktemp("objects")
    with embedded_s3(folder) as place:
        s3_client(place).put_object(Bucket=place.bucket, Key=photo(1).object_key, Body=picture(1))
        yield place


def test_a_photo_comes_from_the_bucket_and_is_proven(bucket: S3Place) -> None:
    found = fetch_photo(photo(1), Downloads(from_bucket(bucket, SETTINGS), settings_of()))
    assert (found.body, found.fault, found.received) == (picture(1), None, len(picture(1)))


def test_an_object_that_was_replaced_is_a_mismatch(bucket: S3Place) -> None:
    listed = photo(1, b"what was listed")
    found = fetch_photo(listed, Downloads(from_bucket(bucket, SETTINGS), settings_of()))
    assert (found.fault, found.body) == (DownloadFault.MISMATCH, None)


@pytest.mark.parametrize("key", ["products/none/primary.jpg", ""])
def test_a_missing_object_is_named_and_no_proof_that_the_photo_is_gone(bucket: S3Place, key: str) -> None:
    with pytest.raises(ObjectMissingError), from_bucket(bucket, SETTINGS)(photo(1, object_key=key), 0, ""):
        raise AssertionError("it was opened")


def test_refused_keys_end_the_run_and_are_not_shown(bucket: S3Place) -> None:
    wrong = replace(bucket, secret_key=SecretStr("0123456789abcdef0123"))
    with pytest.raises(CredentialsError) as error, from_bucket(wrong, SETTINGS)(photo(1), 0, ""):
        raise AssertionError("it was opened")
    assert "0123456789abcdef0123" not in str(error.value)


def test_a_bucket_that_is_not_there_is_unavailable(bucket: S3Place) -> None:
    away = replace(bucket, endpoint_url="http://127.0.0.1:1")
    with pytest.raises(UnavailableError), from_bucket(away, SETTINGS)(photo(1), 0, ""):
        raise AssertionError("it was opened")
