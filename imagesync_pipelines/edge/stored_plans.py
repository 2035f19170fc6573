"""A store among the stored plans: which one is meant, and what a run that broke off left unsaid.

What belongs here: choosing a plan, and reports of what a plan wrote whose run died. What does not: making and applying
plans (plan_stages.py), keeping them (storage/plans.py).
"""

from imagesync_pipelines.edge import reporting, store
from imagesync_pipelines.edge.api import PhotoReport
from imagesync_pipelines.edge.desk import ROOM, Desk
from imagesync_pipelines.storage.errors import PlanMissing
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.sync.model import Change

_WRITTEN = (Change.ADD, Change.UPDATE)


def part_of(store_name: str) -> dict[str, str]:
    """What the scope of every plan of this store says."""
    return {"store": store_name}


def plan_to_apply(plans: Plans, store_name: str, run_id: str, plan_id: int | None) -> PlanHeader:
    """The plan asked for, or this run's, or the store's newest; never another store's. Raises PlanMissing."""
    if plan_id is not None:
        header = plans.header(plan_id)
        if header.room != ROOM or header.scope.get("store") != store_name:
            raise PlanMissing(f"Plan {plan_id} is none of the store {store_name}; `imagesync plan {plan_id}` shows it.")
        return header
    mine = _plans_of(plans, store_name)
    if not mine:
        raise PlanMissing(f"there is no plan for store {store_name} yet; materialise edge/plan first")
    return next((found for found in mine if found.run_id == run_id), mine[0])


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
    return plans.all(ROOM, part_of(store_name))
