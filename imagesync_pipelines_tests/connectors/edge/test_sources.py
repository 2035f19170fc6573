"""Photos out of a real bucket: bytes, missing objects, refused keys, a server that is not there."""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from unittest.mock import Mock

import pytest
from botocore.exceptions import ClientError
from botocore.handlers import add_expect_header
from pydantic import SecretStr

from imagesync_pipelines.connectors.edge import downloads
from imagesync_pipelines.connectors.edge.downloads import DownloadFault, Downloads, fetch_photo, from_bucket
from imagesync_pipelines.connectors.edge.errors import BucketUnfitError, ObjectMissingError
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.storage.objects import S3Place, s3_client
from imagesync_pipelines.upstream.errors import CredentialsError, UnavailableError, UpstreamError
from imagesync_pipelines_tests.connectors.edge.photos import photo, picture, settings_of
from imagesync_pipelines_tests.object_stores import SERVERS

SETTINGS = EdgeSettings(tries=1)


# Segments that are empty or dots, slashes at the ends, blanks, control characters, and what addresses and paths use.
KEYS = (
    *("products/a/primary.jpg", "a.jpg", "a b.jpg", " a.jpg", "a.jpg ", "a+b.jpg", "a%20b.jpg", "a%2Fb.jpg", "a%.jpg"),
    *("a?b.jpg", "a#b.jpg", "a&b=c.jpg", "a;b.jpg", "a:b.jpg", "a@b.jpg", "a!b.jpg", "a$b.jpg", "a'b.jpg", "a(b).jpg"),
    *("a*b.jpg", "a,b.jpg", "a=b.jpg", "a~b.jpg", "a_b-c.jpg", "a[b].jpg", "a{b}.jpg", "a|b.jpg", "a^b.jpg", "a`b.jpg"),
    *('a"b.jpg', "a<b>.jpg", "a\\b.jpg", "фото.jpg", "café.jpg", "cafe\u0301.jpg", "写真/一.jpg", "📷.jpg"),
    *("/a.jpg", "a.jpg/", "//a.jpg", "a//b.jpg", "a///b.jpg", "./a.jpg", "../a.jpg", "a/./b.jpg", "a/../b.jpg", "a/."),
    *("a/..", ".", "..", "...", ".a.jpg", "a..jpg", "a/.b/c.jpg", "a\tb.jpg", "a\nb.jpg", "a\rb.jpg", "a\x01b.jpg"),
    *("a\x7fb.jpg", "a\u0085b.jpg", "a\u200bb.jpg", "a\u00a0b.jpg", "a\ufeffb.jpg", "k" * 200 + ".jpg"),
)


@pytest.fixture(scope="module", params=SERVERS)
def bucket(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Place]:
    """A bucket with the photo of product 1 in it."""
    with SERVERS[request.param](tmp_path_factory.mktemp("objects")) as place:
        s3_client(place).put_object(Bucket=place.bucket, Key=photo(1).object_key, Body=picture(1))
        yield place


def test_every_object_key_is_asked_for_byte_for_byte_or_gets_its_reason(bucket: S3Place) -> None:
    """What a server takes is read whole, and is no other key's; what it does not take is that photo's reason alone."""
    client, kept = s3_client(bucket), set[str]()
    # rclone answers some keys without reading them: botocore would wait a second for each to be asked for its body.
    client.meta.events.unregister("before-call.s3", add_expect_header)
    fetching = Downloads(from_bucket(bucket, SETTINGS), settings_of())
    assert len(KEYS) >= 60
    bodies = {key: picture(number) for number, key in enumerate(KEYS)}
    for key, body in bodies.items():
        with suppress(ClientError):
            client.put_object(Bucket=bucket.bucket, Key=key, Body=body)
    # What rclone has on its disk it looks up anew after two seconds, and does not find all that it took.
    time.sleep(2.2)
    for key, body in bodies.items():
        # To rclone a.jpg/ is the file a.jpg, and so it is one key less.
        with suppress(ClientError):
            if client.get_object(Bucket=bucket.bucket, Key=key)["Body"].read() == body:
                kept.add(key)
    assert len(kept) >= 45
    for number, (key, body) in enumerate(bodies.items()):
        found = fetch_photo(photo(number, body, object_key=key), fetching)
        if key in kept:
            assert (found.body, found.reason) == (body, ""), key
        else:
            assert found.body is None, key
            assert found.reason, key


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("NoSuchKey", ObjectMissingError, "no such object"),
        ("InvalidArgument", UnavailableError, "cannot look for this object"),
        ("NoSuchBucket", BucketUnfitError, "there is no such bucket"),
        ("PermanentRedirect", BucketUnfitError, "IMAGESYNC_S3_REGION"),
        ("AuthorizationHeaderMalformed", BucketUnfitError, "IMAGESYNC_S3_REGION"),
        ("RequestTimeTooSkewed", BucketUnfitError, "clock"),
        ("InvalidAccessKeyId", CredentialsError, "IMAGESYNC_S3_ACCESS_KEY"),
        ("SignatureDoesNotMatch", CredentialsError, "IMAGESYNC_S3_SECRET_KEY"),
        ("ExpiredToken", CredentialsError, "expired"),
        ("AccessDenied", UnavailableError, "what they may do"),
        ("SlowDown", UnavailableError, "SlowDown"),
        ("404", UnavailableError, "404"),
    ],
)
def test_only_the_stores_own_word_says_that_an_object_is_missing(
    monkeypatch: pytest.MonkeyPatch, code: str, kind: type[UpstreamError], said: str
) -> None:
    client = Mock(**{"get_object.side_effect": ClientError({"Error": {"Code": code}}, "GetObject")})
    monkeypatch.setattr(downloads, "s3_client", lambda place: client)
    place = S3Place("http://127.0.0.1:1", "k" * 20, SecretStr("s" * 40), "us-east-1", "photos")
    with pytest.raises(kind, match=said) as error, from_bucket(place, SETTINGS)(photo(1), 0, ""):
        raise AssertionError("it was opened")
    assert type(error.value) is kind


def test_a_bucket_that_is_not_there_ends_the_run_and_marks_no_photo(bucket: S3Place) -> None:
    source = from_bucket(replace(bucket, bucket="mistyped"), SETTINGS)
    with pytest.raises(BucketUnfitError, match="'mistyped': there is no such bucket"):
        fetch_photo(photo(1), Downloads(source, settings_of()))


def test_a_photo_comes_from_the_bucket_and_is_proven(bucket: S3Place) -> None:
    found = fetch_photo(photo(1), Downloads(from_bucket(bucket, SETTINGS), settings_of()))
    assert (found.body, found.fault, found.received) == (picture(1), None, len(picture(1)))
    # obstore's own buffer, of which nothing is copied: boto3 was not asked.
    assert isinstance(found.body, memoryview)
    assert type(found.body.obj).__module__.startswith("obstore")


def test_an_object_that_was_replaced_is_a_mismatch(bucket: S3Place) -> None:
    listed = photo(1, b"what was listed")
    found = fetch_photo(listed, Downloads(from_bucket(bucket, SETTINGS), settings_of()))
    assert (found.fault, found.body) == (DownloadFault.MISMATCH, None)


@pytest.mark.parametrize("key", ["products/none/primary.jpg", ""])
def test_a_missing_object_is_named_and_no_proof_that_the_photo_is_gone(bucket: S3Place, key: str) -> None:
    with pytest.raises(ObjectMissingError), from_bucket(bucket, SETTINGS)(photo(1, object_key=key), 0, ""):
        raise AssertionError("it was opened")


def test_refused_keys_end_the_run_and_are_not_shown(bucket: S3Place, request: pytest.FixtureRequest) -> None:
    if "moto" in request.node.name:
        pytest.skip("moto takes any keys")
    wrong = replace(bucket, secret_key=SecretStr("0123456789abcdef0123"))
    with pytest.raises(CredentialsError) as error, from_bucket(wrong, SETTINGS)(photo(1), 0, ""):
        raise AssertionError("it was opened")
    assert "0123456789abcdef0123" not in str(error.value)


def test_a_bucket_that_is_not_there_is_unavailable(bucket: S3Place) -> None:
    away = replace(bucket, endpoint_url="http://127.0.0.1:1")
    with pytest.raises(UnavailableError), from_bucket(away, SETTINGS)(photo(1), 0, ""):
        raise AssertionError("it was opened")
