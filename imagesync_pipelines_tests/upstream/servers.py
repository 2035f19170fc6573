"""A real server for the tests of upstream: it sends exactly the bytes a test wants, good or broken."""

import json as jsonlib
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagesync_pipelines.upstream.answers import Answer
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import ApiRequest, SessionPolicy, UpstreamSession

CERTIFICATE = Path(__file__).parent / "images_example.pem"


@dataclass(frozen=True)
class Request:
    """A request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Script = Callable[[Request, int], Iterable[bytes | float]]
"""Gives the pieces of the answer to a request and its number (from 1); a float is a pause in seconds."""


@dataclass
class Served:
    """A running server and what it was asked."""

    port: int
    requests: list[Request] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"


def http(status: int, body: bytes = b"", headers: dict[str, str] | None = None, *, length: bool = True) -> bytes:
    """Write a whole HTTP answer; the Content-Length is right unless the headers name another one."""
    lines = {"Connection": "close"} | ({"Content-Length": str(len(body))} if length else {}) | (headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body


def json_answer(data: object, status: int = 200) -> bytes:
    """Write a JSON answer."""
    return http(status, jsonlib.dumps(data).encode(), {"Content-Type": "application/json"})


@contextmanager
def serve(script: Script, *, tls: bool = False) -> Iterator[Served]:
    """Serve one answer per connection on a free port of 127.0.0.1; with tls as images.example."""
    served = Served(0)
    lock = threading.Lock()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            request = self.read()
            if request is None:
                return
            with lock:
                served.requests.append(request)
                number = len(served.requests)
            with suppress(OSError):
                for piece in script(request, number):
                    if isinstance(piece, float):
                        time.sleep(piece)
                    else:
                        self.wfile.write(piece)

        def read(self) -> Request | None:
            method, _, rest = self.rfile.readline().decode().partition(" ")
            headers: dict[str, str] = {}
            while line := self.rfile.readline().decode().strip():
                name, _, value = line.partition(": ")
                headers[name.lower()] = value
            body = self.rfile.read(int(headers.get("content-length", "0")))
            return Request(method, rest.rpartition(" ")[0], headers, body) if method else None

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

        def get_request(self):  # type: ignore[no-untyped-def]
            connection, address = super().get_request()
            return (context.wrap_socket(connection, server_side=True) if tls else connection), address

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is part of the tests."""

    with Server(("127.0.0.1", 0), Handler) as server:
        served.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield served
        finally:
            # A thread that goes on would spin for ever on the closed socket.
            server.shutdown()
            thread.join()


def always(answer: bytes) -> Script:
    """Answer every request alike."""
    return lambda request, number: [answer]


def in_turn(*answers: bytes) -> Script:
    """Answer the first request with the first answer and so on; the last one repeats."""
    return lambda request, number: [answers[min(number, len(answers)) - 1]]


@dataclass
class FakeTime:
    """A clock that only sleeping moves, and the sleeps it saw."""

    now: float = 1000.0
    sleeps: list[float] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += seconds


class Session(UpstreamSession):
    """The session, with a short word for each kind of call."""

    def request(self, method: str, path: str, params: Any = None, accept: Iterable[int] = (), **parts: Any) -> Answer:
        return self.call(ApiRequest(method, path, params or {}, accept=frozenset(accept), **parts))

    def get(self, path: str, params: Any = None, **parts: Any) -> Answer:
        return self.request("GET", path, params, **parts)

    def get_json(self, path: str, params: Any = None) -> object:
        return self.get(path, params, expect_json=True).data


def session_for(url: str, fake: FakeTime | None = None, **policy: Any) -> Session:
    """Give a session on url/api/ that never really sleeps."""
    fake = fake or FakeTime()
    timing = Timing(clock=fake.clock, sleep=fake.sleep, random=lambda: 1.0, wall=lambda: 0.0)
    return Session(SessionPolicy(f"{url}/api/", **policy), timing=timing)
