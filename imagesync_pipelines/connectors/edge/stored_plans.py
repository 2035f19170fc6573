"""A store among the stored plans: which are its own, and what a run that broke off left unsaid.

What belongs here: finding them, and reports of what a plan wrote whose run died. What does not: making and applying
plans (plan_stages.py), keeping them (storage/plans.py).
"""

from imagesync_pipelines.connectors.edge import reporting, store
from imagesync_pipelines.connectors.edge.api import PhotoReport
from imagesync_pipelines.connectors.edge.desk import CONNECTOR, Desk
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.sync.model import Change

_WRITTEN = (Change.ADD, Change.UPDATE)


def part_of(store_name: str) -> dict[str, str]:
    """What the scope of every plan of this store says."""
    return {"store": store_name}


def broken_off(plans: Plans, store_name: str, before: int | None = None) -> PlanHeader | None:
    """The store's newest plan (older than the plan `before`) if its application began and never ended, else None."""
    mine = _plans_of(plans, store_name)
    newest = next((found for found in mine if before is None or found.id < before), None)
    if newest is None or newest.applied_run is None or newest.applied_at is not None:
        return None
    return newest


def report_what_a_crash_kept_back(desk: Desk, plans: Plans, header: PlanHeader) -> None:
    """Queue reports of what the plan before this one wrote, when its run broke off: it may have died before it did.

    When each photo was written is not known any more, so these reports name no time.
    """
    earlier = broken_off(plans, desk.name, header.id)
    if earlier is None:
        return
    rows = plans.load(earlier.id)
    current = store.read_current(desk.database, list(rows.loc[rows["change"].isin(_WRITTEN), "key"]))
    synced = current.loc[current["status"] == "synced", "key"]
    reporting.queue(desk.place.engine, desk.name, [PhotoReport(key, "synced", None, "") for key in synced])


def _plans_of(plans: Plans, store_name: str) -> list[PlanHeader]:
    """The stored plans of one store, the newest first."""
    return plans.all(CONNECTOR, part_of(store_name))
