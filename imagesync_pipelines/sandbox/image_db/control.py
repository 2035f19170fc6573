"""What can be steered in a running image database over HTTP, beside what every stand-in has (sandbox/steering.py).

What belongs here: JSON in and out of the parts that tests use directly. What does not: the parts themselves.
"""

from dataclasses import asdict, fields

from starlette.routing import Route

from imagesync_pipelines.sandbox.image_db.app import Switches
from imagesync_pipelines.sandbox.image_db.catalogue import Catalogue, CatalogueError
from imagesync_pipelines.sandbox.image_db.mutation import MutationError, Mutator
from imagesync_pipelines.sandbox.image_db.night import pass_a_night
from imagesync_pipelines.sandbox.steering import Steered, SteeringError, Values, steering_routes

STEERED = (
    "honour_page_size",
    "unstable_order",
    "stock_drift",
    "latency",
    "session_authentication_first",
    "link_origin",
)


def control_routes(catalogue: Catalogue, mutator: Mutator, switches: Switches, parts: Steered) -> list[Route]:
    """The control endpoints: state (with sizes and switches), ledger, faults, clock, mutate, night, switches."""

    def shown() -> Values:
        return {name: getattr(switches, name) for name in STEERED}

    def state() -> Values:
        return {
            "seed": catalogue.seed,
            "records": len(catalogue),
            "parents": len(catalogue.products.parents),
            "variants": len(catalogue.products.variants),
            "switches": shown(),
        }

    def mutate(values: Values) -> Values:
        operator = str(values.pop("operator", ""))
        after_pages = values.pop("after_pages", None)
        if isinstance(after_pages, int):
            mutator.after_pages(after_pages, operator, **values)
            return {"scripted": operator, "after_pages": after_pages}
        return asdict(mutator.mutate(operator, **values))

    def night(_: Values) -> object:
        return [asdict(change) for change in pass_a_night(mutator, catalogue)]

    def switch(values: Values) -> Values:
        kinds = {field.name: field.type for field in fields(switches)}
        for name, value in values.items():
            if name not in STEERED or not isinstance(value, _accepted(kinds[name])):
                raise SteeringError(f"switches are {', '.join(STEERED)}; {name} cannot be {value!r}")
        for name, value in values.items():
            setattr(switches, name, value)
        return shown()

    actions = {"mutate": mutate, "night": night, "switches": switch}
    return steering_routes(parts, state, actions, (MutationError, CatalogueError))


def _accepted(kind: object) -> tuple[type, ...]:
    """The JSON types that a switch of this annotation takes."""
    if kind is bool:
        return (bool,)
    return (int, float) if kind is float else (str, type(None))
