"""When a part is down, or two writers meet: clear answers, nothing half done, no stamp that a reader could miss."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import psutil
import pytest
import requests
import sqlalchemy as sa
from botocore.exceptions import ReadTimeoutError
from pydantic import SecretStr

from imagesync_pipelines.sandbox.server import bind, running
from imagesync_pipelines.storage.objects import S3Place, s3_client
from imagesync_pipelines.web.head_office import accounts
from imagesync_pipelines.web.head_office.app import build_app
from imagesync_pipelines.web.head_office.catalogue import changing
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.reading import CHUNK_BYTES
from imagesync_pipelines.web.head_office.tables import photo, product
from imagesync_pipelines_tests.web.head_office import operators
from imagesync_pipelines_tests.web.head_office.serving import PHOTOS, USERNAME, Client, Shop, served

pytestmark = pytest.mark.slow


@pytest.fixture
def photo_id(office: HeadOffice, shop: Shop) -> UUID:
    accounts.grant(office, USERNAME, shop.store)
    return operators.put_photo(office, shop.product, b"picture", filename="a.jpg")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_a_download_says_503_when_the_object_store_is_down(office: HeadOffice, shop: Shop, photo_id: UUID) -> None:
    place = S3Place(f"http://127.0.0.1:{free_port()}", "k" * 20, SecretStr("s" * 40), "us-east-1", office.bucket)
    with served(replace(office, s3=s3_client(place), place=place)) as client:
        client.store = shop.store
        answer = client.download(photo_id)
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "5"
        assert answer.json()["message"] == "The object store does not answer; try again"
        assert client.page()["total"] == 1


class BreakingBody:
    """An object whose connection breaks after its first half."""

    def __init__(self, length: int) -> None:
        self.length, self.closed = length, False

    def iter_chunks(self, _: int) -> Iterator[bytes]:
        yield b"x" * (self.length // 2)
        raise ReadTimeoutError(endpoint_url="http://store")

    def read(self) -> bytes:
        raise ReadTimeoutError(endpoint_url="http://store")

    def close(self) -> None:
        self.closed = True


class BreakingStore:
    """An object store that answers every GET with a body that breaks."""

    def __init__(self, length: int) -> None:
        self.body = BreakingBody(length)

    def get_object(self, **_: object) -> dict[str, object]:
        return {"Body": self.body, "ContentLength": self.body.length}


def test_a_large_photo_that_breaks_off_is_never_whole_for_the_reader(
    office: HeadOffice, shop: Shop, photo_id: UUID
) -> None:
    store = BreakingStore(10 * CHUNK_BYTES)
    with served(replace(office, s3=store, place=None)) as client:
        client.store = shop.store
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            client.download(photo_id)
    assert store.body.closed


def test_a_small_photo_that_breaks_off_is_a_503(office: HeadOffice, shop: Shop, photo_id: UUID) -> None:
    store = BreakingStore(1000)
    with served(replace(office, s3=store, place=None)) as client:
        client.store = shop.store
        assert client.download(photo_id).status_code == 503
    assert store.body.closed


def test_everything_says_503_when_the_database_is_down(office: HeadOffice, service: Client) -> None:
    gone = sa.create_engine(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/x")
    listener = bind()
    with running((build_app(replace(office, engine=gone)), listener)):
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}", uuid4(), service.access)
        answers = [
            client.get(PHOTOS, store_id=client.store),
            client.download(uuid4()),
            client.post("/api/v1/token/", {"username": USERNAME, "password": "x"}),
            client.get("/readyz"),
        ]
        assert client.get("/healthz").text == "ok"
    assert service.get("/readyz").text == "ok"
    for answer in answers:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert answer.json()["message"] == "The database does not answer; try again"


def test_a_change_that_fails_leaves_no_trace(office: HeadOffice, shop: Shop, photo_id: UUID) -> None:
    def rows() -> list[sa.Row]:
        with office.engine.connect() as connection:
            return list(connection.execute(sa.select(photo).where(photo.c.product_id == shop.product)))

    before = rows()
    with contextlib.suppress(KeyboardInterrupt), changing(office, product.c.id == shop.product) as (connection, _):
        connection.execute(photo.delete().where(photo.c.id == photo_id))
        raise KeyboardInterrupt
    assert rows() == before


def test_a_later_stamp_is_never_committed_before_an_earlier_one(office: HeadOffice, shop: Shop, photo_id: UUID) -> None:
    other = operators.add_product(office, shop.brand, "other", "Other")
    second = threading.Thread(target=operators.put_photo, args=(office, other, b"x"), kwargs={"filename": "b.jpg"})
    with changing(office, product.c.id == shop.product) as (changing_it, stamp):
        changing_it.execute(photo.update().where(photo.c.id == photo_id).values(updated_at=stamp))
        second.start()
        time.sleep(0.5)
        with office.engine.connect() as connection:
            listed = connection.execute(sa.select(photo.c.id).where(photo.c.product_id == other)).all()
        assert listed == []
    second.join()
    with office.engine.connect() as connection:
        stamps = connection.scalars(
            sa.select(photo.c.updated_at)
            .where(photo.c.product_id.in_([shop.product, other]))
            .order_by(photo.c.updated_at)
        ).all()
    assert stamps[0] == stamp


def test_the_serve_command_answers_and_stops_with_everything_it_started(database_url: str, tmp_path: Path) -> None:
    port = free_port()
    environment = {**os.environ, "HO_DATABASE_URL": database_url, "IMAGESYNC_HOME": str(tmp_path / "home")}
    program = "from imagesync_pipelines.cli.main import root; root()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "head-office", "serve", "--port", str(port)], env=environment, cwd=tmp_path
    )
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                answer = requests.get(url + PHOTOS, timeout=5)
                break
            except requests.ConnectionError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
        assert answer.status_code == 401
        children = psutil.Process(process.pid).children(recursive=True)
        assert "rclone" in {one.name() for one in children}
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        assert psutil.wait_procs(children, timeout=10)[1] == []
    finally:
        process.kill()
        process.wait()
