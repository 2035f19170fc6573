"""A connection that sends half a request, or takes nothing of its answer, does not keep its place."""

import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from imagesync_pipelines.sandbox import server as sandbox
from imagesync_pipelines.web import service
from imagesync_pipelines.web.timeouts import LEAST_RATE, Timeouts, timed

# Longer than a busy machine leaves a good client waiting.
SHORT = Timeouts(2, 2, 2)
LARGE = 32 * 1024 * 1024
HALVES = {
    "nothing": b"",
    "half a line": b"GET / HT",
    "headers without end": b"GET / HTTP/1.1\r\nHost: here\r\nX-A: b",
    "half of the second": b"GET / HTTP/1.1\r\nHost: here\r\n\r\nGET / HTTP/1.1\r\nHo",
    "half a body": b"POST /body HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\nhalf",
    "half a chunk": b"POST /body HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nhalf",
    "body that nobody reads": b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\nhalf",
    "answer that is not read": b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n",
}


async def body(request: Request) -> Response:
    """Read the body."""
    return PlainTextResponse(str(len(await request.body())))


@pytest.fixture(params=[H11Protocol, HttpToolsProtocol])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[uvicorn.Server, int]]:
    """A server with short limits, and its port."""
    app = Starlette(
        routes=[
            Route("/", lambda _: PlainTextResponse("ok"), methods=["GET", "POST"]),
            Route("/body", body, methods=["POST"]),
            Route("/large", lambda _: Response(bytes(LARGE))),
        ]
    )
    listener = sandbox.bind()
    protocol = timed(request.param, SHORT)
    quiet: dict[str, Any] = {"log_level": "critical", "access_log": False}
    # The rest that uvicorn gives an idle connection is five seconds otherwise.
    started = uvicorn.Server(uvicorn.Config(app, http=protocol, lifespan="off", timeout_keep_alive=2, **quiet))
    thread = threading.Thread(target=started.run, args=([listener],), daemon=True)
    thread.start()
    yield started, listener.getsockname()[1]
    started.should_exit = True
    thread.join()
    listener.close()


def test_every_place_is_free_again(server: tuple[uvicorn.Server, int]) -> None:
    started, port = server
    held = []
    for sent in HALVES.values():
        for _ in range(3):
            one = socket.create_connection(("127.0.0.1", port))
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.sendall(sent)
            held.append(one)
    assert requests.get(f"http://127.0.0.1:{port}/", timeout=20).text == "ok"
    # They are all open here: it is the server that let them go.
    deadline = time.monotonic() + 60
    left = (started.server_state.connections, started.server_state.tasks)
    while any(left) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == (set(), set())
    assert requests.post(f"http://127.0.0.1:{port}/body", data=bytes(300_000), timeout=20).text == "300000"
    for one in held:
        one.close()


def test_everything_that_is_served_has_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the two places that start a server: the services, and every stand-in of the sandbox."""
    configs: list[uvicorn.Config] = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, *_: configs.append(self.config))
    service.serve(Starlette(), "127.0.0.1", 0)
    configs.append(sandbox._config(Starlette()))
    assert [getattr(config.http, "timeouts", None) for config in configs] == [Timeouts(), Timeouts()]


def watched(**changes: Any) -> Any:
    """A connection that nothing moves but the test."""
    of_uvicorn = {"loop": None, "timeout_keep_alive_task": None, "cycle": None}
    connection: Any = type("Connection", (timed(H11Protocol, Timeouts(10, 10, 10)),), {"__init__": lambda self: None})()
    loop = SimpleNamespace(time=lambda: 0.0, call_later=lambda *_: None)
    transport = SimpleNamespace(get_write_buffer_size=lambda: connection.left, abort=None)
    parts = {"loop": loop, "transport": transport, "flow": SimpleNamespace(read_paused=False), "left": 0}
    for name, value in {**of_uvicorn, **parts, **changes}.items():
        setattr(connection, name, value)
    connection.begin()
    return connection


def request(**changes: Any) -> Any:
    """A request whose body is not whole yet."""
    return SimpleNamespace(
        **{"response_complete": False, "more_body": True, "waiting_for_100_continue": False, **changes}
    )


@pytest.mark.parametrize(
    ("changes", "is_cut"),
    [
        ({}, True),
        ({"timeout_keep_alive_task": object()}, False),
        ({"cycle": request()}, True),
        ({"cycle": request(more_body=False)}, False),
        ({"cycle": request(waiting_for_100_continue=True)}, False),
        ({"cycle": request(), "flow": SimpleNamespace(read_paused=True)}, False),
        ({"cycle": request(response_complete=True)}, True),
        ({"cycle": request(more_body=False), "left": 100}, True),
        ({"cycle": request(response_complete=True), "timeout_keep_alive_task": object(), "left": 1}, True),
    ],
    ids=["no request", "idle between two", "half a body", "the application works", "waits for our word",
         "the application does not read", "rest of a body that is refused", "answer not taken",
         "end of an answer not taken"],
)  # fmt: skip
def test_only_the_other_side_is_waited_for(changes: dict[str, Any], is_cut: bool) -> None:
    connection = watched(**changes)
    looks = [connection.is_too_slow(float(second)) for second in range(13)]
    assert (any(looks[:10]), any(looks)) == (False, is_cut)


def test_who_is_slow_but_goes_on_is_served() -> None:
    sending = watched(cycle=request())
    for second in range(1, 100):
        sending.received += LEAST_RATE
        assert not sending.is_too_slow(float(second)), second
    dripping = watched(cycle=request())
    assert not dripping.is_too_slow(1.0)
    dripping.received += 10
    assert dripping.is_too_slow(11.0)
    reading = watched(cycle=request(more_body=False), left=10**9)
    for second in range(1, 100):
        reading.left -= LEAST_RATE
        assert not reading.is_too_slow(float(second)), second
    asking = watched()
    for second in range(100):
        asking.cycle = request(response_complete=True)
        assert not asking.is_too_slow(float(second)), second
