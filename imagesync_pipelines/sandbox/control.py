"""Steering a running stand-in over HTTP, below /__sandbox__/, for people and for other processes. Loopback only.

Control calls are not in the ledger, spend no limit and meet no fault.
"""

from collections.abc import Callable, Mapping, Sequence
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

from imagesync_pipelines.sandbox.answers import SandboxError, Values, replied
from imagesync_pipelines.sandbox.faults import fault_from_json
from imagesync_pipelines.sandbox.server import StandIn

ROOT = "/__sandbox__/"
LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")
LAST_CALLS = 200

# Works in a thread: it may wait for the locks of the stand-in.
Action = Callable[[Values], object]
# What a control call of a method is answered with; the method stands first.
Answer = Callable[[str, Values], object]


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

    def show_state(method: str, values: Values) -> object:
        clock, faults, calls = parts.clock.now().isoformat(), parts.faults.as_json(), parts.ledger.as_json()
        return {**state(), "clock": clock, "faults": faults, "calls": calls}

    def show_ledger(method: str, values: Values) -> object:
        if method == "DELETE":
            parts.ledger.clear()
        return {"counts": parts.ledger.as_json(), "last": [asdict(call) for call in parts.ledger.calls()[-LAST_CALLS:]]}

    def fault_plan(method: str, values: Values) -> object:
        if method == "DELETE":
            parts.faults.clear()
        elif method == "POST":
            parts.faults.add(fault_from_json(values))
        return parts.faults.as_json()

    def move_clock(method: str, values: Values) -> object:
        seconds = values.get("move_seconds")
        if not isinstance(seconds, int | float):
            raise SteeringError('the clock is moved by {"move_seconds": 3600}')
        parts.clock.move(seconds)
        return {"clock": parts.clock.now().isoformat()}

    routes = [
        _route("state", show_state, "GET"),
        _route("ledger", show_ledger, "GET", "DELETE"),
        _route("faults", fault_plan, "GET", "POST", "DELETE"),
        _route("clock", move_clock, "POST"),
        *(_route(name, partial(_act, action), "POST") for name, action in actions.items()),
    ]
    control = Starlette(routes=routes)

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


def _act(action: Action, method: str, values: Values) -> object:
    return action(values)


def _route(name: str, answer: Answer, *methods: str) -> Route:
    """Only for callers on this machine; a wrong call is a 400 with its reason."""

    async def guarded(request: Request) -> Response:
        if request.client is None or request.client.host not in LOOPBACK_ADDRESSES:
            return replied({"error": "the sandbox is steered from its own machine only"}, 403).response()
        try:
            values = orjson.loads(await request.body() or b"{}")
            if not isinstance(values, dict):
                raise SteeringError("the body is not a JSON object")
            return replied(await run_in_threadpool(answer, request.method, values)).response()
        except orjson.JSONDecodeError as error:
            return replied({"error": f"the body is not JSON: {error}"}, 400).response()
        except SandboxError as error:
            return replied({"error": str(error)}, 400).response()

    return Route(ROOT + name, guarded, methods=methods)
