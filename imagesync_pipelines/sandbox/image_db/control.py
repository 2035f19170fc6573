"""Steering a running sandbox over HTTP, below /__sandbox__/, for people and for other processes. Loopback only.

What belongs here: JSON in and out of the parts that tests use directly. What does not: the parts themselves.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, fields
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import FaultError, FaultPlan, fault_from_json
from imagesync_pipelines.sandbox.image_db.app import Switches
from imagesync_pipelines.sandbox.image_db.catalogue import Catalogue, CatalogueError
from imagesync_pipelines.sandbox.image_db.mutation import MutationError, Mutator
from imagesync_pipelines.sandbox.image_db.night import pass_a_night
from imagesync_pipelines.sandbox.ledger import Ledger

ROOT = "/__sandbox__/"
LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")
LAST_CALLS = 200
STEERED = (
    "honour_page_size",
    "unstable_order",
    "stock_drift",
    "latency",
    "session_authentication_first",
    "link_origin",
)

Answer = Callable[[Request], Awaitable[Response]]


class ControlError(Exception):
    """A control call was written wrongly; the message says what is expected."""


def control_routes(
    catalogue: Catalogue, mutator: Mutator, switches: Switches, faults: FaultPlan, ledger: Ledger, clock: SandboxClock
) -> list[Route]:
    """The control endpoints: state, ledger, faults, mutate, night, switches, clock."""

    async def state(request: Request) -> Response:
        return _json(
            {
                "seed": catalogue.seed,
                "records": len(catalogue),
                "parents": len(catalogue.products.parents),
                "variants": len(catalogue.products.variants),
                "clock": clock.now().isoformat(),
                "switches": {name: getattr(switches, name) for name in STEERED},
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

    async def mutate(request: Request) -> Response:
        values = await _object(request)
        operator = str(values.pop("operator", ""))
        after_pages = values.pop("after_pages", None)
        if isinstance(after_pages, int):
            mutator.after_pages(after_pages, operator, **values)
            return _json({"scripted": operator, "after_pages": after_pages})
        return _json(asdict(mutator.mutate(operator, **values)))

    async def night(request: Request) -> Response:
        return _json([asdict(change) for change in pass_a_night(mutator, catalogue)])

    async def switch(request: Request) -> Response:
        values = await _object(request)
        kinds = {field.name: field.type for field in fields(switches)}
        for name, value in values.items():
            if name not in STEERED or not isinstance(value, _accepted(kinds[name])):
                raise ControlError(f"switches are {', '.join(STEERED)}; {name} cannot be {value!r}")
        for name, value in values.items():
            setattr(switches, name, value)
        return _json({name: getattr(switches, name) for name in STEERED})

    async def move_clock(request: Request) -> Response:
        seconds = (await _object(request)).get("move_seconds")
        if not isinstance(seconds, int | float):
            raise ControlError('the clock is moved by {"move_seconds": 3600}')
        clock.move(seconds)
        return _json({"clock": clock.now().isoformat()})

    return [
        Route(ROOT + "state", _guarded(state)),
        Route(ROOT + "ledger", _guarded(calls), methods=["GET", "DELETE"]),
        Route(ROOT + "faults", _guarded(fault_plan), methods=["GET", "POST", "DELETE"]),
        Route(ROOT + "mutate", _guarded(mutate), methods=["POST"]),
        Route(ROOT + "night", _guarded(night), methods=["POST"]),
        Route(ROOT + "switches", _guarded(switch), methods=["POST"]),
        Route(ROOT + "clock", _guarded(move_clock), methods=["POST"]),
    ]


def _guarded(answer: Answer) -> Answer:
    """Only for callers on this machine; a wrong call is a 400 with its reason."""

    async def guarded(request: Request) -> Response:
        if request.client is None or request.client.host not in LOOPBACK_ADDRESSES:
            return _json({"error": "the sandbox is steered from its own machine only"}, 403)
        try:
            return await answer(request)
        except (ControlError, FaultError, MutationError, CatalogueError) as error:
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


def _accepted(kind: object) -> tuple[type, ...]:
    """The JSON types that a switch of this annotation takes."""
    if kind is bool:
        return (bool,)
    return (int, float) if kind is float else (str, type(None))


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
