"""Object stores: the settings that name one, the embedded one, and what happens when it is not there."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa
from botocore.exceptions import ClientError
from pydantic import SecretStr

from imagesync_pipelines.settings import Settings, SettingsError
from imagesync_pipelines.storage.contents import Content, Contents
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.files import check_root, open_root, remove_folder, write_whole
from imagesync_pipelines.storage.installation import open_locations
from imagesync_pipelines.storage.objects import (
    S3Place,
    check_bucket,
    embedded_s3,
    error_code,
    lacks_object,
    s3_client,
    s3_place,
)
from imagesync_pipelines_tests.object_stores import SERVERS, settings_at


def rclones(folder: Path) -> list[psutil.Process]:
    """The servers over this folder that this process started; other tests may have their own."""
    children = psutil.Process(os.getpid()).children()
    return [one for one in children if one.name() == "rclone" and str(folder) in one.cmdline()]


def test_no_endpoint_means_the_embedded_store() -> None:
    assert s3_place(Settings()) is None


def test_an_endpoint_is_taken_with_its_keys() -> None:
    settings = Settings(s3_endpoint_url="https://minio.example.com", s3_access_key="key", s3_secret_key="secret")
    place = s3_place(settings)
    assert place == S3Place("https://minio.example.com", "key", SecretStr("secret"), "us-east-1", "product-images")
    assert "secret'" not in repr(place)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"s3_access_key": "key"}, "both are needed"),
        ({"s3_secret_key": "secret"}, "both are needed"),
        ({"s3_access_key": "key", "s3_secret_key": "secret", "environment": "production"}, "plain http"),
    ],
    ids=["no secret", "no key", "plain http in production"],
)
def test_an_endpoint_that_cannot_be_used_is_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        s3_place(Settings(s3_endpoint_url="http://minio.example.com", **given))  # type: ignore[arg-type]


def test_production_reaches_a_store_in_a_private_network_by_plain_http() -> None:
    given = {"s3_endpoint_url": "http://s3:9000", "s3_access_key": "key", "s3_secret_key": "secret"}
    place = s3_place(Settings(**given, environment="production", s3_private_network=True))  # type: ignore[arg-type]
    assert place is not None
    assert place.endpoint_url == "http://s3:9000"


def test_the_embedded_store_keeps_objects_over_a_restart_and_stops_its_process(tmp_path: Path) -> None:
    for body in (None, b"first"):
        with embedded_s3(tmp_path) as place:
            client = s3_client(place)
            if body is None:
                client.put_object(Bucket=place.bucket, Key="a/b.jpg", Body=b"first", ContentType="image/jpeg")
            else:
                assert client.get_object(Bucket=place.bucket, Key="a/b.jpg")["Body"].read() == body
            client.close()
            assert len(rclones(tmp_path)) == 1
        assert rclones(tmp_path) == []


def test_the_embedded_store_refuses_other_keys_and_shows_none_on_its_command_line(tmp_path: Path) -> None:
    with embedded_s3(tmp_path) as place:
        (process,) = rclones(tmp_path)
        assert not any(place.secret_key.get_secret_value() in part for part in process.cmdline())
        assert place.endpoint_url.startswith("http://127.0.0.1:")
        wrong = s3_client(S3Place(place.endpoint_url, place.access_key, SecretStr("x" * 40), "us-east-1", place.bucket))
        with pytest.raises(ClientError) as refused:
            wrong.get_object(Bucket=place.bucket, Key="a")
        assert error_code(refused.value) == "SignatureDoesNotMatch"
        with pytest.raises(StorageError, match=r"bucket 'product-images': it refuses; check IMAGESYNC_S3_ACCESS_KEY"):
            check_bucket(wrong, place.bucket)


def test_the_embedded_store_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from imagesync_pipelines.storage.objects import embedded_s3\n"
        "with embedded_s3(Path(sys.argv[1])): print('up', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"up\n"
    started = psutil.Process(owner.pid).children(recursive=True)
    assert "rclone" in {one.name() for one in started}
    owner.kill()
    owner.communicate()
    assert psutil.wait_procs(started, timeout=10)[1] == []


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with (
            pytest.raises(StorageError, match="address already in use"),
            embedded_s3(tmp_path, port=taken.getsockname()[1]),
        ):
            pass
    assert rclones(tmp_path) == []


def test_a_store_that_does_not_answer_is_said_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = S3Place(f"http://127.0.0.1:{free.getsockname()[1]}", "k" * 20, SecretStr("s" * 20), "us-east-1", "b")
    with pytest.raises(StorageError, match="does not answer"):
        check_bucket(s3_client(place), "b")


@pytest.mark.parametrize("server", SERVERS)
def test_only_a_missing_object_is_one_and_a_mistyped_bucket_is_told_and_never_made(server: str, tmp_path: Path) -> None:
    with SERVERS[server](tmp_path) as place:
        client = s3_client(place)
        check_bucket(client, place.bucket)
        for call in (client.get_object, client.head_object):
            for bucket, missing in ((place.bucket, True), ("mistyped", False)):
                with pytest.raises(ClientError) as refused:
                    call(Bucket=bucket, Key="none.jpg")
                assert lacks_object(client, bucket, refused.value) is missing
        settings = settings_at(place, home=tmp_path / "home", database_url="postgresql://nobody@127.0.0.1:1/none")
        for check in (
            lambda: check_bucket(client, "mistyped"),
            lambda: open_locations(settings.model_copy(update={"storage_url": "s3://mistyped/kept"})),
        ):
            with pytest.raises(StorageError, match=r"'mistyped'.*there is no such bucket; correct its name") as told:
                check()
            assert "\n" not in str(told.value)
        root = open_root("s3://mistyped/kept", settings)
        with pytest.raises(OSError, match=r"."):
            write_whole(root / "a" / "b.jpg", b"picture")
        contents = Contents(sa.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none"), root)
        with pytest.raises(StorageError, match="there is no such bucket"):
            contents.read(Content("jpeg", 1, 1, "0" * 64, "own:0", 1))
        assert "mistyped" not in {one["Name"] for one in client.list_buckets()["Buckets"]}


@pytest.mark.parametrize("server", SERVERS)
def test_the_storage_root_in_a_bucket_uses_the_settings_of_the_store(server: str, tmp_path: Path) -> None:
    with SERVERS[server](tmp_path) as place:
        root = open_root(f"s3://{place.bucket}/kept", settings_at(place))
        check_root(root)
        write_whole(root / "plans" / "1" / "rows.parquet", b"rows")
        assert (root / "plans" / "1" / "rows.parquet").read_bytes() == b"rows"
        remove_folder(root / "plans")
        assert not (root / "plans" / "1" / "rows.parquet").exists()
        with pytest.raises(StorageError, match=r"it cannot be used now|does not answer"):
            check_root(open_root("s3://any/kept", settings_at(replace(place, endpoint_url="http://127.0.0.1:1"))))


def test_what_a_second_server_over_the_same_folder_wrote_is_seen(tmp_path: Path) -> None:
    with embedded_s3(tmp_path) as first, embedded_s3(tmp_path) as second:
        writer, reader = s3_client(second), s3_client(first)
        with pytest.raises(ClientError, match="NoSuchKey"):
            reader.get_object(Bucket=first.bucket, Key="new/a.jpg")
        writer.put_object(Bucket=first.bucket, Key="new/a.jpg", Body=b"new")
        # botocore has no waiter for GET; HEAD asks the same listing.
        reader.get_waiter("object_exists").wait(
            Bucket=first.bucket, Key="new/a.jpg", WaiterConfig={"Delay": 1, "MaxAttempts": 6}
        )
