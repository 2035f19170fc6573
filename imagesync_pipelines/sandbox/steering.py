"""Steering a running stand-in over HTTP, below /__sandbox__/, for people and for other processes. Loopback only.

What belongs here: what every stand-in answers there (state, ledger, faults, clock), and the frame for what only one
has. What does not: the parts themselves, and what is special to a stand-in (its control.py). Control calls are not in
the ledger, spend no limit and meet no fault.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import FaultError, FaultPlan, fault_from_json
from imagesync_pipelines.sandbox.ledger import Ledger

ROOT = "/__sandbox__/"
LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")
LAST_CALLS = 200

Values = dict[str, Any]
# Works in a thread: it may wait for the locks of the stand-in.
Action = Callable[[Values], object]
Answer = Callable[[Request], Awaitable[Response]]


class SteeringError(Exception):
    """A control call was written wrongly; the message says what is expected."""


@dataclass(frozen=True)
class Steered:
    """What every stand-in has that can be steered."""

    faults: FaultPlan
    ledger: Ledger
    clock: SandboxClock


def steering_routes(
    parts: Steered,
    state: Callable[[], Mapping[str, object]],
    actions: Mapping[str, Action],
    refused: tuple[type[Exception], ...] = (),
) -> list[Route]:
    """The control endpoints: `state` (with what the stand-in adds), `ledger`, `faults`, `clock`, and the `actions`.

    An action is a POST of a JSON object to its name (no body is an empty one); it returns what is answered as JSON.
    `refused` are the errors of actions that are a 400 with their text.
    """

    async def show_state(request: Request) -> Response:
        own = await run_in_threadpool(state)
        clock, faults, calls = parts.clock.now().isoformat(), parts.faults.as_json(), parts.ledger.as_json()
        return _json({**own, "clock": clock, "faults": faults, "calls": calls})

    async def calls(request: Request) -> Response:
        if request.method == "DELETE":
            parts.ledger.clear()
        last = [asdict(call) for call in parts.ledger.calls()[-LAST_CALLS:]]
        return _json({"counts": parts.ledger.as_json(), "last": last})

    async def fault_plan(request: Request) -> Response:
        if request.method == "DELETE":
            parts.faults.clear()
        elif request.method == "POST":
            parts.faults.add(fault_from_json(await _object(request)))
        return _json(parts.faults.as_json())

    async def move_clock(request: Request) -> Response:
        seconds = (await _object(request)).get("move_seconds")
        if not isinstance(seconds, int | float):
            raise SteeringError('the clock is moved by {"move_seconds": 3600}')
        parts.clock.move(seconds)
        return _json({"clock": parts.clock.now().isoformat()})

    def route(name: str, answer: Answer, *methods: str) -> Route:
        return Route(ROOT + name, _guarded(answer, refused), methods=methods)

    return [
        route("state", show_state, "GET"),
        route("ledger", calls, "GET", "DELETE"),
        route("faults", fault_plan, "GET", "POST", "DELETE"),
        route("clock", move_clock, "POST"),
        *(route(name, _acting(action), "POST") for name, action in actions.items()),
    ]


def beside(app: ASGIApp, routes: list[Route]) -> ASGIApp:
    """The app with the control endpoints beside it: their calls never reach what the app is wrapped in."""
    control = Starlette(routes=routes)

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        is_control = scope["type"] == "http" and str(scope["path"]).startswith(ROOT)
        await (control if is_control else app)(scope, receive, send)

    return either


def _acting(action: Action) -> Answer:
    async def act(request: Request) -> Response:
        return _json(await run_in_threadpool(action, await _object(request)))

    return act


def _guarded(answer: Answer, refused: tuple[type[Exception], ...]) -> Answer:
    """Only for callers on this machine; a wrong call is a 400 with its reason."""

    wrong: tuple[type[Exception], ...] = (SteeringError, FaultError, *refused)

    async def guarded(request: Request) -> Response:
        if request.client is None or request.client.host not in LOOPBACK_ADDRESSES:
            return _json({"error": "the sandbox is steered from its own machine only"}, 403)
        try:
            return await answer(request)
        except wrong as error:
            return _json({"error": str(error)}, 400)

    return guarded


async def _object(request: Request) -> Values:
    try:
        values = orjson.loads(await request.body() or b"{}")
    except orjson.JSONDecodeError as error:
        raise SteeringError(f"the body is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise SteeringError("the body is not a JSON object")
    return values


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
