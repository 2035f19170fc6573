"""Proves that the bucket is a real object store for signed calls, and that faults can stand in front of it."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from imagesync_pipelines.sandbox import faults
from imagesync_pipelines.storage.objects import error_code, s3_client
from imagesync_pipelines_tests.sandbox import mishaps
from imagesync_pipelines_tests.sandbox.head_office.callers import Caller

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bucket(read_original: Caller) -> Any:
    """An edge's own client on the bucket."""
    return s3_client(read_original.sandbox.s3)


@pytest.fixture
def key(read_original: Caller) -> str:
    """The key of a listed photo; the bucket has no faults."""
    read_original.sandbox.s3_faults.clear()
    return str(min(photo["object_key"] for photo in read_original.everything().values()))


def get(bucket: Any, caller: Caller, key: str, **wanted: str) -> bytes:
    content: bytes = bucket.get_object(Bucket=caller.sandbox.s3.bucket, Key=key, **wanted)["Body"].read()
    return content


def test_an_edge_that_may_read_the_bucket_gets_the_listed_bytes(read_original: Caller, bucket: Any) -> None:
    photos = list(read_original.everything().values())[:10]
    assert len(photos) == 10
    for photo in photos:
        content = get(bucket, read_original, photo["object_key"])
        assert hashlib.md5(content, usedforsecurity=False).hexdigest() == photo["checksum"]


def test_keys_with_letters_of_any_script_are_signed_and_passed_on(read_original: Caller, bucket: Any) -> None:
    name = "products/odd name é +%20 宮.jpg"
    bucket.put_object(Bucket=read_original.sandbox.s3.bucket, Key=name, Body=b"abcdef")
    assert get(bucket, read_original, name) == b"abcdef"
    assert get(bucket, read_original, name, Range="bytes=1-2") == b"bc"
    assert bucket.head_object(Bucket=read_original.sandbox.s3.bucket, Key=name)["ContentLength"] == 6
    bucket.delete_object(Bucket=read_original.sandbox.s3.bucket, Key=name)
    with pytest.raises(ClientError) as raised:
        get(bucket, read_original, name)
    assert error_code(raised.value) == "NoSuchKey"


def test_wrong_keys_are_refused(read_original: Caller, key: str) -> None:
    place = read_original.sandbox.s3
    stranger = s3_client(replace(place, access_key="x" * 24))
    with pytest.raises(ClientError) as raised:
        get(stranger, read_original, key)
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_an_object_store_that_is_down_is_felt_by_head_office_and_by_the_edge(
    read_original: Caller, bucket: Any, key: str
) -> None:
    photo = next(one for one in read_original.everything().values() if one["object_key"] == key)
    read_original.sandbox.s3_faults.add(faults.reset().for_good())
    with pytest.raises(BotoCoreError):
        get(bucket, read_original, key)
    answer = read_original.download(photo["id"])
    assert answer.status_code == 500
    assert answer.json()["detail"].startswith("Failed to download image: ")
    assert "NoSuchKey" not in answer.text
    read_original.sandbox.s3_faults.clear()
    assert get(bucket, read_original, key)
    assert read_original.download(photo["id"]).status_code == 200


def test_a_policy_may_refuse_one_object(read_original: Caller, bucket: Any, key: str) -> None:
    read_original.sandbox.s3_faults.add(mishaps.forbidden().at("object store", key))
    with pytest.raises(ClientError) as raised:
        get(bucket, read_original, key)
    assert error_code(raised.value) == "AccessDenied"


def test_bytes_may_be_altered_on_the_way(read_original: Caller, bucket: Any, key: str) -> None:
    right = get(bucket, read_original, key)
    read_original.sandbox.s3_faults.add(faults.altered())
    wrong = get(bucket, read_original, key)
    assert wrong != right
    assert len(wrong) == len(right)


def test_the_ledger_of_the_bucket_is_its_own(read_original: Caller, bucket: Any, key: str) -> None:
    read_original.sandbox.ledger.clear()
    read_original.sandbox.s3_ledger.clear()
    get(bucket, read_original, key)
    assert [call.part for call in read_original.sandbox.s3_ledger.calls()] == [key]
    assert read_original.sandbox.ledger.count() == 0
