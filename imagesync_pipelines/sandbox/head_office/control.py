"""Steering a running head office over HTTP, below /__sandbox__/, for people and for other processes. Loopback only.

What belongs here: JSON in and out of what tests do with HeadOfficeSandbox. What does not: the parts themselves. Control
calls are not in the ledger and meet no fault.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any
from uuid import UUID

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import FaultError, FaultPlan, fault_from_json
from imagesync_pipelines.sandbox.head_office.changes.bench import Bench, MutationError
from imagesync_pipelines.sandbox.head_office.changes.day import change_a_day
from imagesync_pipelines.sandbox.head_office.changes.mutator import mutate
from imagesync_pipelines.sandbox.ledger import Ledger

ROOT = "/__sandbox__/"
LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")
LAST_CALLS = 200

Answer = Callable[[Request], Awaitable[Response]]


class ControlError(Exception):
    """A control call was written wrongly; the message says what is expected."""


def steered(app: ASGIApp, bench: Bench, faults: FaultPlan, ledger: Ledger, clock: SandboxClock) -> ASGIApp:
    """The app with the control endpoints beside it: state, ledger, faults, mutate, day, clock."""

    async def state(request: Request) -> Response:
        return _json(
            {
                "seed": bench.beginning.seed,
                "stores": [{"id": str(store.id), "code": store.code} for store in bench.beginning.stores],
                "clock": clock.now().isoformat(),
                "faults": faults.as_json(),
                "calls": ledger.as_json(),
            }
        )

    async def calls(request: Request) -> Response:
        if request.method == "DELETE":
            ledger.clear()
        return _json({"counts": ledger.as_json(), "last": [asdict(call) for call in ledger.calls()[-LAST_CALLS:]]})

    async def fault_plan(request: Request) -> Response:
        if request.method == "DELETE":
            faults.clear()
        elif request.method == "POST":
            faults.add(fault_from_json(await _object(request)))
        return _json(faults.as_json())

    async def change(request: Request) -> Response:
        values = {name: _argument(name, value) for name, value in (await _object(request)).items()}
        operator = str(values.pop("operator", ""))
        made = await run_in_threadpool(mutate, bench, operator, **values)
        return _json(asdict(made))

    async def day(request: Request) -> Response:
        return _json(await run_in_threadpool(change_a_day, bench))

    async def move_clock(request: Request) -> Response:
        seconds = (await _object(request)).get("move_seconds")
        if not isinstance(seconds, int | float):
            raise ControlError('the clock is moved by {"move_seconds": 3600}')
        clock.move(seconds)
        return _json({"clock": clock.now().isoformat()})

    control = Starlette(
        routes=[
            Route(ROOT + "state", _guarded(state)),
            Route(ROOT + "ledger", _guarded(calls), methods=["GET", "DELETE"]),
            Route(ROOT + "faults", _guarded(fault_plan), methods=["GET", "POST", "DELETE"]),
            Route(ROOT + "mutate", _guarded(change), methods=["POST"]),
            Route(ROOT + "day", _guarded(day), methods=["POST"]),
            Route(ROOT + "clock", _guarded(move_clock), methods=["POST"]),
        ]
    )

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        is_control = scope["type"] == "http" and str(scope["path"]).startswith(ROOT)
        await (control if is_control else app)(scope, receive, send)

    return either


def _guarded(answer: Answer) -> Answer:
    """Only for callers on this machine; a wrong call is a 400 with its reason."""

    async def guarded(request: Request) -> Response:
        if request.client is None or request.client.host not in LOOPBACK_ADDRESSES:
            return _json({"error": "the sandbox is steered from its own machine only"}, 403)
        try:
            return await answer(request)
        except (ControlError, FaultError, MutationError) as error:
            return _json({"error": str(error)}, 400)

    return guarded


async def _object(request: Request) -> dict[str, Any]:
    try:
        values = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise ControlError(f"the body is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ControlError("the body is not a JSON object")
    return values


def _argument(name: str, value: Any) -> Any:
    """What an operator takes: ids are UUIDs, bytes are written as a text."""
    if name.endswith("_id"):
        try:
            return UUID(str(value))
        except ValueError as error:
            raise ControlError(f"{name} is a UUID") from error
    return value.encode() if name == "content" and isinstance(value, str) else value


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
