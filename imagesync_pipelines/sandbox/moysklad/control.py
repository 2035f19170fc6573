"""What can be steered in a running МойСклад over HTTP, beside what every stand-in has (sandbox/steering.py).

What belongs here: JSON in and out of what tests do with MoyskladSandbox. What does not: the parts themselves.
"""

from collections.abc import Mapping

from starlette.types import ASGIApp

from imagesync_pipelines.sandbox.moysklad.bans import Bans
from imagesync_pipelines.sandbox.moysklad.handle import AccountHandle
from imagesync_pipelines.sandbox.moysklad.mutation import MutationError, mutate, night
from imagesync_pipelines.sandbox.steering import Steered, Values, beside, steering_routes


def steered(app: ASGIApp, accounts: Mapping[str, AccountHandle], bans: Bans, parts: Steered) -> ASGIApp:
    """The app with the control endpoints beside it: state, ledger, faults, clock, mutate, night, support.

    The last three name an `account`; mutate also an `operator` and its arguments, night a `seed`. Support lifts bans.
    """

    def state() -> Values:
        shown = {name: _account(handle) for name, handle in accounts.items()}
        return {"accounts": shown, "bans": [vars(ban) for ban in bans.all()]}

    def change(values: Values) -> Values:
        handle, operator = _named(accounts, values), str(values.pop("operator", ""))
        return {"done": mutate(handle, operator, **values)}

    def pass_night(values: Values) -> Values:
        handle, seed = _named(accounts, values), values.get("seed", 1)
        return {"done": night(handle, seed if isinstance(seed, int) else 1)}

    def support(values: Values) -> Values:
        bans.lift(_named(accounts, values).name)
        return {"bans": [vars(ban) for ban in bans.all()]}

    actions = {"mutate": change, "night": pass_night, "support": support}
    return beside(app, steering_routes(parts, state, actions, (MutationError,)))


def _named(accounts: Mapping[str, AccountHandle], values: Values) -> AccountHandle:
    name = str(values.pop("account", ""))
    if name not in accounts:
        raise MutationError(f"no account is called {name}; there are {', '.join(accounts)}")
    return accounts[name]


def _account(handle: AccountHandle) -> Values:
    entities = [
        {"id": one.id, "type": one.type.value, "name": one.name, "images": [image.filename for image in one.images]}
        for one in handle.entities()
    ]
    return {"id": handle.account_id, "used_bytes": handle.account.used, "entities": entities}
