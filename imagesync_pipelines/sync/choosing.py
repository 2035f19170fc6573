"""Products that a person chooses for one run, by their SKUs: the groups of the account's plans that are about them."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel, Field

from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.quarantine import QuarantineEntry
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines.sync.connector import Connector
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
    require_known(context.owner, skus, {sku for _, sku in found})
    return frozenset(group for group, _ in found)


def require_known(owner: str, skus: Collection[str], known: Collection[str]) -> None:
    """Raises UnknownSkuError for a SKU that is none of those which an account knows."""
    if missing := sorted(set(skus) - set(known)):
        raise UnknownSkuError(f"{owner} knows no product with the SKU {', '.join(missing)}; nothing was planned.")


def asked_again(
    connector: Connector, engine: sa.Engine, account: str, entries: Sequence[QuarantineEntry]
) -> Mapping[str, Any]:
    """The options of a run about what quarantined items are about and nothing else; none: about the whole account.

    As the connector says; where it says nothing, the products of the items by their SKUs, if a run about these SKUs is
    about all of the items.
    """
    told = connector.again(entries)
    groups = {entry.group for entry in entries if entry.group}
    if told or "skus" not in connector.options.model_fields or not all(entry.group for entry in entries):
        return told
    skus = {name.code for name in connector.names_of(engine, account, groups).values() if name.code}
    with engine.connect() as connection:
        found = list(connector.groups_by_sku(connection, account, skus)) if skus else []
    is_whole = found and groups <= {group for group, _ in found} and skus == {sku for _, sku in found}
    return {"skus": sorted(skus)} if is_whole else {}


def our_product(connection: sa.Connection, product_id: int, sku: str) -> Iterable[str]:
    """The group that is about a product where each group is one of ours: of connectors that bring product images."""
    return (str(product_id),)


# Why a run of such a connector is about no product with a SKU.
NOT_OURS = N_("the ERP has no product with this SKU")


def our_products(connection: sa.Connection, account: str, skus: Collection[str]) -> list[tuple[str, str]]:
    """The same by SKUs, of all products that have one of them."""
    found = sa.select(product.c.id, product.c.sku).where(among(product.c.sku, skus))
    return [(str(product_id), sku) for product_id, sku in connection.execute(found)]
