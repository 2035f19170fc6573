"""Running a stand-in as a real server on loopback, with faults, a ledger and a clock around it."""

import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from imagesync_pipelines.sandbox.answers import PlaceOf, SandboxError
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import FaultPlan, LostAnswers, Moments
from imagesync_pipelines.sandbox.ledger import CallLedger
from imagesync_pipelines.sandbox.wire import losing, observed
from imagesync_pipelines.web.timeouts import Timeouts, timed

LOOPBACK = "127.0.0.1"
START_SECONDS = 10.0
# Longer than any client leaves a connection idle: a write that meets its closing is a write whose answer is lost.
KEPT_SECONDS = 75

Started = TypeVar("Started")


class ServingError(SandboxError):
    """A stand-in could not be started; the message says which port and what to do."""


def bind(port: int = 0) -> socket.socket:
    """A listening socket on loopback, on a free port when `port` is 0; raises ServingError when the port is taken."""
    # The protocol is named, because asyncio sets TCP_NODELAY only then; without it every answer takes 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        raise ServingError(
            f"port {port} on {LOOPBACK} cannot be used ({error.strerror}); choose another port, or end what listens "
            "there (another `imagesync demo` or `imagesync dev`?)"
        ) from error
    listener.listen(128)
    return listener


@contextmanager
def running(*served: tuple[ASGIApp, socket.socket]) -> Iterator[None]:
    """Serve each app on its socket for as long as the context lasts; all are asked to stop before any is waited for."""
    started: list[tuple[uvicorn.Server, threading.Thread]] = []
    try:
        for app, listener in served:
            server = uvicorn.Server(_config(app))
            thread = threading.Thread(target=server.run, args=([listener],), name="sandbox", daemon=True)
            thread.start()
            started.append((server, thread))
        for server, thread in started:
            _wait_until_started(server, thread)
        yield
    finally:
        for server, _ in started:
            server.should_exit = True
        for _, thread in started:
            thread.join()
        for _, listener in served:
            listener.close()


def _config(app: ASGIApp) -> uvicorn.Config:
    # h11 on asyncio wherever it runs: faults write to the connection below ASGI and must find the same one everywhere.
    return uvicorn.Config(
        app,
        http=timed(H11Protocol, Timeouts()),
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=KEPT_SECONDS,
    )


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    waited = 0.0
    while not server.started:
        if not thread.is_alive() or waited > START_SECONDS:
            raise ServingError(
                "the sandbox's server did not start; run with another port or look at the system's limits"
            )
        thread.join(0.01)
        waited += 0.01


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set for as long as the context lasts; only in the main thread."""
    stop = threading.Event()
    before = {kind: signal.signal(kind, lambda *_: stop.set()) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def serve(
    started: AbstractContextManager[Started], announce: Callable[[str], None], lines: Callable[[Started], Iterable[str]]
) -> None:
    """Run a stand-in until SIGINT or SIGTERM; to be called from the main thread.

    `announce` is given the lines for the terminal: what points to the stand-in, and where to steer it. Raises
    ServingError when a port is taken.
    """
    with stopping() as stop, started as sandbox:
        for line in lines(sandbox):
            announce(line)
        stop.wait()


@dataclass(frozen=True, kw_only=True, repr=False)
class StandIn:
    """What every running stand-in has.

    `ledger` has the calls to its main host, `faults` those that go wrong, on all hosts; a call that meets a fault
    before it reaches the stand-in spends no limit. `lost` loses answers after their work was done; the ledger has what
    was done. `moments` does something just before a call has its effect.
    """

    clock: SandboxClock = field(default_factory=SandboxClock)
    faults: FaultPlan = field(default_factory=FaultPlan)
    lost: LostAnswers = field(default_factory=LostAnswers)
    moments: Moments = field(default_factory=Moments)
    ledger: CallLedger = field(default_factory=CallLedger)

    def watched(
        self, app: ASGIApp, place_of: PlaceOf, ledger: CallLedger | None = None, faults: FaultPlan | None = None
    ) -> ASGIApp:
        """A host's app as callers reach it: counted, with faults, its answers lost at times."""
        seen = observed(app, place_of, faults or self.faults, ledger or self.ledger, self.clock)
        return losing(seen, place_of, self.lost)


def url_of(listener: socket.socket, host: str = LOOPBACK) -> str:
    """The address of a listening socket, without a path."""
    return f"http://{host}:{listener.getsockname()[1]}"
