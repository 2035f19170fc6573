"""Steering a running Plytix over HTTP, below /__sandbox__/, for people and for other processes. Loopback only.

What belongs here: JSON in and out of what tests do with PlytixSandbox. What does not: the parts themselves. Control
calls are not in the ledger, spend no limit and meet no fault.
"""

from collections.abc import Awaitable, Callable
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
from imagesync_pipelines.sandbox.plytix.answers import JSON
from imagesync_pipelines.sandbox.plytix.limits import Windows
from imagesync_pipelines.sandbox.plytix.model import Account
from imagesync_pipelines.sandbox.plytix.mutation import MutationError, mutate

ROOT = "/__sandbox__/"
LOOPBACK_ADDRESSES = ("127.0.0.1", "::1")

Handler = Callable[[Request], Awaitable[Response]]


class ControlError(Exception):
    """A control call was written wrongly; the message says what is expected."""


def steered(
    app: ASGIApp, account: Account, windows: Windows, faults: FaultPlan, ledger: Ledger, clock: SandboxClock
) -> ASGIApp:
    """The app with the control endpoints beside it: state, faults, mutate, clock."""

    async def state(request: Request) -> Response:
        with account.lock:
            products = [
                {
                    "sku": product.sku,
                    "thumbnail": account.thumbnail_of(product),
                    "media": {label: account.media_of(product, label) for label in account.media_labels()},
                }
                for product in account.products.values()
            ]
            assets = {asset.id: asset.filename for asset in account.assets.values() if asset.deleted is None}
        return _json(
            {
                "clock": clock.now().isoformat(),
                "assets": assets,
                "products": products,
                "calls": ledger.as_json(),
                "spent": windows.used(),
                "faults": faults.as_json(),
            }
        )

    async def fault_plan(request: Request) -> Response:
        if request.method == "DELETE":
            faults.clear()
        elif request.method == "POST":
            faults.add(fault_from_json(await _object(request)))
        return _json(faults.as_json())

    async def change(request: Request) -> Response:
        values = await _object(request)
        operator = str(values.pop("operator", ""))
        return _json({"id": await run_in_threadpool(mutate, account, operator, **values)})

    async def move_clock(request: Request) -> Response:
        seconds = (await _object(request)).get("move_seconds")
        if not isinstance(seconds, int | float):
            raise ControlError('the clock is moved by {"move_seconds": 3600}')
        clock.move(seconds)
        return _json({"clock": clock.now().isoformat()})

    control = Starlette(
        routes=[
            Route(ROOT + "state", _guarded(state)),
            Route(ROOT + "faults", _guarded(fault_plan), methods=["GET", "POST", "DELETE"]),
            Route(ROOT + "mutate", _guarded(change), methods=["POST"]),
            Route(ROOT + "clock", _guarded(move_clock), methods=["POST"]),
        ]
    )

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        is_control = scope["type"] == "http" and str(scope["path"]).startswith(ROOT)
        await (control if is_control else app)(scope, receive, send)

    return either


def _guarded(handler: Handler) -> Handler:
    """Only for callers on this machine; a wrong call is a 400 with its reason."""

    async def guarded(request: Request) -> Response:
        if request.client is None or request.client.host not in LOOPBACK_ADDRESSES:
            return _json({"error": "the sandbox is steered from its own machine only"}, 403)
        try:
            return await handler(request)
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


def _json(content: object, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type=JSON)
