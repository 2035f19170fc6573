"""Connections are kept, but not for more requests or longer than МойСклад bears."""

import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.connectors.moysklad.accounts import MoyskladAccount, TokenKind
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines_tests.connectors.moysklad.rows import list_json
from imagesync_pipelines_tests.upstream.servers import FakeTime

BODY = orjson.dumps(list_json([]))


class Counting(ThreadingHTTPServer):
    """Counts its connections, and keeps them open."""

    daemon_threads = True
    connections = 0


class Handler(BaseHTTPRequestHandler):
    """Answers every question with an empty list."""

    protocol_version = "HTTP/1.1"
    # Head and body are two pieces; without this the second waits for the client's word on the first.
    disable_nagle_algorithm = True
    server: Counting

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def counting() -> Iterator[Counting]:
    with Counting(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_connection_carries_a_hundred_requests_and_is_never_used_after_a_long_rest(
    database: sa.Engine, counting: Counting
) -> None:
    fake = FakeTime(1_800_000_000.0)
    timing = Timing(fake.clock, fake.sleep, lambda: 0.5, fake.clock)
    url = f"http://127.0.0.1:{counting.server_address[1]}"
    account = MoyskladAccount.model_construct(name="main", url=url, token=SecretStr("t"), token_kind=TokenKind.SOLUTION)
    with closing(MoyskladApi(account, MoyskladSettings(), database, timing=timing)) as api:
        for _ in range(100):
            list(api.assortment())
        assert counting.connections == 1
        list(api.assortment())
        assert counting.connections == 2
        fake.sleep(31)
        list(api.assortment())
        assert counting.connections == 3
