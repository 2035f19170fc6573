"""Cleaning up an account: the plan that takes out what we put into galleries of products whose listings are gone.

What belongs here: which products these are. What does not: the plan's rows (planning.py), storing it (plan_stages.py),
applying it (apply_stages.py).
"""

from imagesync_pipelines.connectors.plytix.api.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.desk import Desk
from imagesync_pipelines.connectors.plytix.notes import ProductsNote
from imagesync_pipelines.connectors.plytix.plan_stages import PlanMade, limits_of, store_plan
from imagesync_pipelines.connectors.plytix.planning import Policy, plan_removals
from imagesync_pipelines.connectors.plytix.report import basis_of
from imagesync_pipelines.connectors.plytix.rules import SKU_PREFIX
from imagesync_pipelines.connectors.plytix.sources import Sources, read_sources
from imagesync_pipelines.sync.handovers import CLEAN_UP

DOUBTFUL = "The file has entries that cannot be read, which may be any product, so nothing counts as gone; the first: "


def plan_cleanup(
    desk: Desk, api: PlytixApi, run_id: str, *, missing_from: str, allow_mass_delete: bool = False
) -> PlanMade:
    """Plan to take out what we put into galleries of products that a mapping file does not have; nothing is written.

    The file speaks for the marketplaces that it has entries of, and for no other. Raises SettingsError, MappingError,
    AccountBusyError and the errors of Plytix.
    """
    read = read_sources(missing_from, "", desk.place.settings)
    told = read.told
    gone: list[str] = []
    doubtful = [entry for entry in read.set_aside if not entry.where.startswith(SKU_PREFIX)]
    if doubtful:
        told = (
            *told,
            f"{DOUBTFUL}{doubtful[0].where}: {doubtful[0].reason}.",
        )
    else:
        gone = missing_skus(desk.ledger.linked_skus(), read)
    calls = api.calls
    with desk.locked():
        products = api.search_products(gone)
    note = ProductsNote(
        run_id=run_id,
        read_at=desk.clock(),
        products=tuple(products.values()),
        unknown=tuple(sku for sku in gone if sku not in products),
        recognised=0,
        calls=api.calls - calls,
    )
    known = desk.ledger.known()
    planned = plan_removals(products, known, limits_of(desk.place.settings, lifted=allow_mass_delete), api.limits())
    basis = basis_of(
        (), products, known, (), read.set_aside, (), source_file=read.source, skip_existing=False, force=False
    )
    policy = Policy("patch", remove_missing=True)
    return store_plan(desk, api, run_id, planned, policy, basis, note, told, why_named=CLEAN_UP)


def missing_skus(linked: list[str], read: Sources) -> list[str]:
    """Of the products that we put images on, those of the file's marketplaces that the file does not have."""
    there = {item.sku for item in read.items}
    spoken_for = tuple({f"{SKU_PREFIX}{item.marketplace}-" for item in read.items})
    return [sku for sku in linked if sku.startswith(spoken_for) and sku not in there]
