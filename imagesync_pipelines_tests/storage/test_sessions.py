"""A pooler of transactions is refused at every door, a pooler of sessions and a proxy that passes bytes on are not."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge.store import open_store
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.database import engine_of
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.errors import TransactionPoolerError
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.storage.sessions import refuse_pooler_of_transactions
from imagesync_pipelines.web.head_office.office import open_head_office
from imagesync_pipelines_tests.poolers import pgbouncer, through


def looked_at(url: str) -> list[str]:
    """What is said of a URL, nothing when it is taken; and the statements that it took."""
    engine, statements = engine_of(url), []
    sa.event.listen(engine, "before_cursor_execute", lambda *call: statements.append(call[2]))
    try:
        refuse_pooler_of_transactions(engine, "SOME_URL")
    except TransactionPoolerError as error:
        return [str(error)]
    finally:
        engine.dispose()
    return statements


@contextmanager
def busy(url: str) -> Iterator[None]:
    """Other programs use the pooler all the time."""
    stop = threading.Event()

    def work() -> None:
        engine = engine_of(url)
        while not stop.is_set():
            with suppress(sa.exc.DBAPIError), engine.begin() as connection:
                connection.exec_driver_sql("SELECT pg_sleep(0.001)")
        engine.dispose()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("settings", [(), ("server_round_robin = 1",), ("default_pool_size = 2",)], ids=str)
def test_a_pooler_of_transactions_is_seen_also_while_others_use_it(
    server: EmbeddedServer, database_url: str, settings: tuple[str, ...]
) -> None:
    with pgbouncer(server, "transaction", *settings) as pooler:
        url = through(database_url, pooler)
        said = looked_at(url)
        with busy(url):
            assert [looked_at(url) for _ in range(10)] == [said] * 10
    assert said[0].startswith("SOME_URL leads through a pooler of transactions")
    assert "pool_mode = session" in said[0]


def test_a_pooler_of_sessions_is_taken_also_while_others_use_it(server: EmbeddedServer, database_url: str) -> None:
    with pgbouncer(server, "session") as pooler:
        url = through(database_url, pooler)
        with busy(url):
            assert {len(looked_at(url)) > 1 for _ in range(10)} == {True}


def test_postgresql_itself_is_asked_once(database_url: str) -> None:
    assert looked_at(database_url) == ["SELECT pg_backend_pid() -- 0"]


def test_a_proxy_that_passes_bytes_on_is_as_good_as_the_server(database_url: str) -> None:
    with passing_on(Path(sa.make_url(database_url).query["host"]) / ".s.PGSQL.5432") as proxy:
        assert looked_at(through(database_url, proxy)) == ["SELECT pg_backend_pid() -- 0"]


@pytest.mark.parametrize("door", ["IMAGESYNC_DATABASE_URL", "HO_DATABASE_URL", "The dsn of this store"])
def test_every_door_is_closed_to_a_pooler_of_transactions(
    server: EmbeddedServer, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    with pgbouncer(server, "transaction") as pooler:
        url = through(database_url, pooler)
        monkeypatch.setenv("HO_DATABASE_URL", url)
        opening: dict[str, Callable[[], AbstractContextManager[object]]] = {
            "IMAGESYNC_DATABASE_URL": lambda: open_installation(Settings(home=tmp_path, database_url=url)),
            "HO_DATABASE_URL": open_head_office,
            "The dsn of this store": lambda: nullcontext(open_store(url)),
        }
        with pytest.raises(TransactionPoolerError, match=rf"^{door} leads through a pooler"), opening[door]():
            pytest.fail("it was taken")


@contextmanager
def passing_on(target: Path) -> Iterator[str]:
    """A proxy in front of a Unix socket, which knows nothing of PostgreSQL, as HAProxy is one."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while body := source.recv(65536):
                sink.sendall(body)
            sink.shutdown(socket.SHUT_WR)

    def serve() -> None:
        with suppress(OSError):
            while True:
                client, server = listening.accept()[0], socket.socket(socket.AF_UNIX)
                server.connect(str(target))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)
