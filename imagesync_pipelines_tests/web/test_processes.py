"""Several processes on one port: all answer and know the same, one that ends is replaced, and none is left behind."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlencode

import psutil
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.connectors.edge.store import open_store, write_with_bytes
from imagesync_pipelines.connectors.edge.store_schema import create_or_check
from imagesync_pipelines.storage.wrong_logins import BY_PAIR
from imagesync_pipelines.web.catalogue import access
from imagesync_pipelines.web.head_office import accounts
from imagesync_pipelines.web.head_office.office import HeadOffice, HeadOfficeSettings
from imagesync_pipelines.web.head_office.tables import create_tables
from imagesync_pipelines.web.head_office.tokens import hash_password
from imagesync_pipelines_tests.cli.terminals import COMMAND, environment_of
from imagesync_pipelines_tests.connectors.edge.photos import START, photo, picture
from imagesync_pipelines_tests.web.catalogue.world import open_world

SECONDS = 120
PASSWORD = "a long password"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def until(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Service:
    """A service of two processes, by the first one and its port; `health` is answered as long as one of them works."""

    def __init__(self, first: psutil.Process, port: int, health: str) -> None:
        self.first, self.port, self.health = first, port, health

    @property
    def workers(self) -> list[psutil.Process]:
        """The processes that answer; beside them multiprocessing has one of its own."""
        return [one for one in self.first.children(recursive=True) if "spawn_main" in _command(one)]

    def works(self) -> bool:
        """Whether it answers."""
        try:
            return self._connected().getresponse().status == 200
        except OSError:
            return False

    def answers_by(self, worker: psutil.Process) -> bool:
        """Whether one of the processes answers."""
        try:
            self.to(worker).close()
        except OSError:
            return False
        return True

    def to(self, worker: psutil.Process) -> http.client.HTTPConnection:
        """A connection to one of the processes, while the other one is asleep for a moment."""
        others = [one for one in self.workers if one != worker]
        for one in others:
            one.suspend()
        try:
            connection = self._connected()
            connection.getresponse().read()
        finally:
            for one in others:
                one.resume()
        return connection

    def _connected(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        connection.request("GET", self.health)
        return connection


def _command(process: psutil.Process) -> str:
    """How it was started; nothing of one that is no more."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@contextmanager
def started(folder: Path, health: str, *words: str, **variables: str) -> Iterator[Service]:
    """A service by its command, in a home of its own."""
    port = free_port()
    environment = environment_of(None, {"IMAGESYNC_HOME": str(folder / "home"), **variables})
    process = subprocess.Popen([*COMMAND, *words, "--port", str(port)], cwd=folder, env=environment)
    service = Service(psutil.Process(process.pid), port, health)
    try:
        until(lambda: len(service.workers) == 2)
        for worker in service.workers:
            until(partial(service.answers_by, worker))
        yield service
    finally:
        for one in [*service.first.children(recursive=True), service.first] if service.first.is_running() else []:
            one.kill()
        process.wait()


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: str = "", **headers: str
) -> tuple[int, str, Mapping[str, str]]:
    """Status, text and headers of an answer."""
    connection.request(method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.read().decode(), dict(answer.headers)


def one_is_replaced_and_all_end(service: Service, how: signal.Signals) -> None:
    """One that is killed is replaced, and all end with the first one."""
    ended = service.workers[0]
    ended.kill()
    until(lambda: len([one for one in service.workers if one.pid != ended.pid]) == 2)
    until(service.works)
    left = service.workers
    os.kill(service.first.pid, how)
    assert psutil.wait_procs(left, timeout=SECONDS)[1] == []
    until(lambda: not service.works())


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_one_of_the_photo_servers_that_ends_is_replaced_and_all_end_with_the_first(
    tmp_path: Path, database_url: str, how: signal.Signals
) -> None:
    database = open_store(database_url)
    create_or_check(database)
    with database.engine.begin() as connection:
        write_with_bytes(connection, database.table, [(photo(1), picture(1))], START)
    database.engine.dispose()
    stores = tmp_path / "accounts.toml"
    stores.write_text(
        '[edge.head_office]\nurl = "http://127.0.0.1:1"\nusername = "x"\npassword = "env:X"\n'
        f'[edge.stores.one]\nstore_id = "{photo(1).photo_id}"\ndsn = "env:ONE"\n'
    )
    variables = {"IMAGESYNC_ACCOUNTS": str(stores), "X": "x", "ONE": database_url, "EDGE_PHOTO_PROCESSES": "2"}
    path = f"/photos/{photo(1).photo_id}"
    with started(tmp_path, path, "edge", "serve", "--store", "one", **variables) as service:
        one_is_replaced_and_all_end(service, how)


@pytest.mark.slow
def test_what_one_process_of_the_head_office_knows_the_other_knows(tmp_path: Path, database_url: str) -> None:
    engine = sa.create_engine(database_url)
    create_tables(engine)
    office = HeadOffice(
        engine, None, "", HeadOfficeSettings(), SecretStr("s" * 32), lambda: datetime.now(UTC)
    )  # only its accounts
    accounts.add_account(office, "edge", hash_password(PASSWORD), all_stores=True)
    engine.dispose()
    variables = {"HO_DATABASE_URL": database_url, "HO_PROCESSES": "2"}
    with started(tmp_path, "/openapi.json", "head-office", "serve", **variables) as service:
        one, other = (service.to(worker) for worker in service.workers)

        def post(to: http.client.HTTPConnection, path: str, **values: str) -> tuple[int, dict[str, str]]:
            status, text, _ = ask(
                to, "POST", f"/api/v1/token/{path}", json.dumps(values), Content_Type="application/json"
            )
            return status, json.loads(text)

        status, pair = post(one, "", username="edge", password=PASSWORD)
        assert status == 200
        health = "/api/v1/sync/health/"
        assert ask(other, "GET", health, Authorization=f"Bearer {pair['access']}")[0] == 200
        # A token that was used up at the one is used up at the other, and ends those that came of it.
        status, renewed = post(one, "refresh/", refresh=pair["refresh"])
        assert status == 200
        assert post(other, "refresh/", refresh=pair["refresh"])[0] == 401
        assert ask(one, "GET", health, Authorization=f"Bearer {renewed['access']}")[0] == 401
        # Wrong passwords are counted together.
        for nth in range(BY_PAIR.at_once):
            assert post((one, other)[nth % 2], "", username="edge", password="wrong")[0] == 401
        assert [post(to, "", username="edge", password=PASSWORD)[0] for to in (one, other)] == [429, 429]
        one_is_replaced_and_all_end(service, signal.SIGTERM)


@pytest.mark.slow
def test_what_one_process_of_the_catalogue_knows_the_other_knows(tmp_path: Path, database: sa.Engine) -> None:
    access.set_user(database, "anna", access.UserRole.ADMIN, PASSWORD)
    key, _ = access.add_key(database, "shop", {access.KeyScope.READ, access.KeyScope.EXPORT})
    world = open_world(database, tmp_path)
    image = world.image(world.product("100"), image_url="https://127.0.0.1:1/nobody.jpg")
    url = database.url.render_as_string(hide_password=False)
    variables = {"IMAGESYNC_DATABASE_URL": url, "CATALOGUE_PROCESSES": "2", "CATALOGUE_RATE_LIMIT": "4"}
    with started(tmp_path, "/healthz", "serve", **variables) as service:
        one, other = (service.to(worker) for worker in service.workers)
        _, page, headers = ask(one, "GET", "/login")
        token = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
        form = urlencode({"name": "anna", "password": PASSWORD, "csrf": token})
        status, _, headers = ask(other, "POST", "/login", form, Cookie=headers["set-cookie"].split(";")[0], **FORM)
        assert status == 303
        session = headers["set-cookie"].split(";")[0]
        assert [ask(to, "GET", "/admin/quarantine", Cookie=session)[0] for to in (one, other)] == [200, 200]
        # The calls of a key, and what it may have already.
        tags = []
        for to in (one, other, one, other):
            status, _, headers = ask(to, "GET", "/api/v1/exports/csv", Authorization=f"Bearer {key}")
            assert status == 200
            tags.append(headers["etag"])
        assert len(set(tags)) == 1
        assert ask(one, "GET", "/api/v1/exports/csv", Authorization=f"Bearer {key}")[0] == 429
        # Both count in the same numbers.
        for to in (one, other, other):
            assert ask(to, "GET", f"/media/{image}/thumb")[0] == 200
        for to in (one, other):
            assert 'imagesync_smaller_copies_total{outcome="failed"} 3.0' in ask(to, "GET", "/metrics")[1]
        # Who logs out at the one is out at the other.
        _, page, _ = ask(one, "GET", "/admin/quarantine", Cookie=session)
        token = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
        assert ask(one, "POST", "/logout", urlencode({"csrf": token}), Cookie=session, **FORM)[0] == 303
        assert ask(other, "GET", "/admin/quarantine", Cookie=session)[0] == 303
        one_is_replaced_and_all_end(service, signal.SIGTERM)
