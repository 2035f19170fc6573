"""Steering a running stand-in over HTTP, below /__sandbox__/, for people and for other processes. Loopback only.

Control calls are not in the ledger, spend no limit and meet no fault.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from typing import get_type_hints

import orjson
from pydantic import TypeAdapter, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from imagesync_pipelines.sandbox.answers import SandboxError, Values
from imagesync_pipelines.sandbox.faults import fault_from_json
from imagesync_pipelines.sandbox.server import StandIn

ROOT = "/__sandbox__/"
LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")
LAST_CALLS = 200

# Works in a thread: it may wait for the locks of the stand-in.
Action = Callable[[Values], object]
Answer = Callable[[Request], Awaitable[Response]]


class SteeringError(SandboxError):
    """A control call was written wrongly; the message says what is expected."""


def steered(
    app: ASGIApp,
    parts: StandIn,
    state: Callable[[], Mapping[str, object]],
    actions: Mapping[str, Action],
    switches: object | None = None,
    shown: Sequence[str] = (),
) -> ASGIApp:
    """The app with the control endpoints beside it: their calls never reach what the app is wrapped in.

    They are `state` (with what the stand-in adds), `ledger`, `faults`, `clock`, `switches` (the fields of a dataclass,
    only the `shown` ones if any are named) and the `actions`. An action is a POST of a JSON object to its name (no body
    is an empty one); it returns what is answered as JSON. A SandboxError of an action is a 400 with its text.
    """
    if switches is not None:
        names = shown or [one.name for one in fields(switches)]  # type: ignore[arg-type]
        actions = {**actions, "switches": partial(set_switches, switches, names)}
    control = Starlette(routes=_routes(parts, state, actions))

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        is_control = scope["type"] == "http" and str(scope["path"]).startswith(ROOT)
        await (control if is_control else app)(scope, receive, send)

    return either


def set_switches(switches: object, names: Sequence[str], values: Values) -> Values:
    """Set fields of a stand-in's switches, all of them or none, and give the fields as they are then."""
    kinds, read = get_type_hints(type(switches)), {}
    for name, value in values.items():
        try:
            if name not in names:
                raise SteeringError
            read[name] = TypeAdapter(kinds[name]).validate_json(orjson.dumps(value), strict=True)
        except (SteeringError, ValidationError) as error:
            raise SteeringError(f"switches are {', '.join(names)}; {name} cannot be {value!r}") from error
    for name, value in read.items():
        setattr(switches, name, value)
    return {name: getattr(switches, name) for name in names}


def _routes(parts: StandIn, state: Callable[[], Mapping[str, object]], actions: Mapping[str, Action]) -> list[Route]:
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
        return Route(ROOT + name, _guarded(answer), methods=methods)

    return [
        route("state", show_state, "GET"),
        route("ledger", calls, "GET", "DELETE"),
        route("faults", fault_plan, "GET", "POST", "DELETE"),
        route("clock", move_clock, "POST"),
        *(route(name, _acting(action), "POST") for name, action in actions.items()),
    ]


def _acting(action: Action) -> Answer:
    async def act(request: Request) -> Response:
        return _json(await run_in_threadpool(action, await _object(request)))

    return act


def _guarded(answer: Answer) -> Answer:
    """Only for callers on this machine; a wrong call is a 400 with its reason."""

    async def guarded(request: Request) -> Response:
        if request.client is None or request.client.host not in LOOPBACK_ADDRESSES:
            return _json({"error": "the sandbox is steered from its own machine only"}, 403)
        try:
            return await answer(request)
        except SandboxError as error:
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
