"""What can be steered in a running Plytix over HTTP, beside what every stand-in has (sandbox/steering.py).

What belongs here: JSON in and out of what tests do with PlytixSandbox. What does not: the parts themselves.
"""

from starlette.types import ASGIApp

from imagesync_pipelines.sandbox.plytix.limits import Windows
from imagesync_pipelines.sandbox.plytix.model import Account
from imagesync_pipelines.sandbox.plytix.mutation import MutationError, mutate
from imagesync_pipelines.sandbox.steering import Steered, Values, beside, steering_routes


def steered(app: ASGIApp, account: Account, windows: Windows, parts: Steered) -> ASGIApp:
    """The app with the control endpoints beside it: state (with products and assets), ledger, faults, clock, mutate."""

    def state() -> Values:
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
        return {"assets": assets, "products": products, "spent": windows.used()}

    def change(values: Values) -> Values:
        operator = str(values.pop("operator", ""))
        return {"id": mutate(account, operator, **values)}

    return beside(app, steering_routes(parts, state, {"mutate": change}, (MutationError,)))
