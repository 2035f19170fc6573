"""Products that a person chooses for one run, by their SKUs: the groups of the account's plans that are about them."""

from collections.abc import Collection
from typing import Any

from pydantic import BaseModel, Field

from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.sync.steps import RunContext


class UnknownSkuError(ImagesyncError):
    """A run was asked about a product of which its account knows nothing; the message names it."""

    retryable = False


class ChosenProducts(BaseModel):
    """Which products a run is about."""

    skus: list[str] = Field([], description="of this product only, by its SKU; may be several")


def chosen_groups(context: RunContext[Any], skus: Collection[str]) -> frozenset[str] | None:
    """The groups that are about these SKUs; None without any: all of them. Raises UnknownSkuError."""
    if not skus:
        return None
    with context.installation.engine.connect() as connection:
        found = context.groups_by_sku(connection, context.account, list(skus))
    require_known(context.owner, skus, found.values())
    return frozenset(found)


def require_known(owner: str, skus: Collection[str], known: Collection[str]) -> None:
    """Raises UnknownSkuError for a SKU that is none of those which an account knows."""
    if missing := sorted(set(skus) - set(known)):
        raise UnknownSkuError(f"{owner} knows no product with the SKU {', '.join(missing)}; nothing was planned.")
