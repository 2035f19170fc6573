"""What can be steered in a running head office over HTTP, beside what every stand-in has (sandbox/steering.py).

What belongs here: JSON in and out of what tests do with HeadOfficeSandbox. What does not: the parts themselves.
"""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from starlette.types import ASGIApp

from imagesync_pipelines.sandbox.head_office.changes.bench import Bench, MutationError
from imagesync_pipelines.sandbox.head_office.changes.day import change_a_day
from imagesync_pipelines.sandbox.head_office.changes.mutator import mutate
from imagesync_pipelines.sandbox.steering import Steered, SteeringError, Values, beside, steering_routes


def steered(app: ASGIApp, bench: Bench, parts: Steered) -> ASGIApp:
    """The app with the control endpoints beside it: state (with the stores), ledger, faults, clock, mutate, day."""

    def state() -> Values:
        stores = [{"id": str(store.id), "code": store.code} for store in bench.beginning.stores]
        return {"seed": bench.beginning.seed, "stores": stores}

    def change(values: Values) -> Values:
        named = {name: _argument(name, value) for name, value in values.items()}
        operator = str(named.pop("operator", ""))
        return asdict(mutate(bench, operator, **named))

    def day(_: Values) -> object:
        return change_a_day(bench)

    return beside(app, steering_routes(parts, state, {"mutate": change, "day": day}, (MutationError,)))


def _argument(name: str, value: Any) -> Any:
    """What an operator takes: ids are UUIDs, bytes are written as a text."""
    if name.endswith("_id"):
        try:
            return UUID(str(value))
        except ValueError as error:
            raise SteeringError(f"{name} is a UUID") from error
    return value.encode() if name == "content" and isinstance(value, str) else value
