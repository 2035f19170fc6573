"""An account's plan, a function without Dagster: made from what was read, stored with all that applying needs.

What belongs here: joining planning and storage. What does not: what is read before the plan (stages.py), what comes of
it (apply_stages.py), the plan of a cleanup (cleanup.py), what the UI shows (assets.py, telling.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from imagesync_pipelines.connectors.plytix.api.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.desk import Desk
from imagesync_pipelines.connectors.plytix.galleries import picture_key
from imagesync_pipelines.connectors.plytix.ledger import CONNECTOR
from imagesync_pipelines.connectors.plytix.notes import ImagesNote, ProductsNote, keep_report
from imagesync_pipelines.connectors.plytix.planning import (
    GalleryPlan,
    Policy,
    Task,
    plan_galleries,
    tasks_of,
)
from imagesync_pipelines.connectors.plytix.report import Basis, Done, basis_of, make_report
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.plans import NewPlan, Plans
from imagesync_pipelines.sync.handovers import DRY_RUN, ONLY_NAMED, need_note
from imagesync_pipelines.sync.model import DeletionLimits

KEPT_PLANS = 50


@dataclass(frozen=True)
class PlanMade:
    """A stored plan of one account and what there is to tell about it.

    plan: the engine's PLAN columns after the guard, and for people `variant` and `image_url`. report: the mission's, as
    if the run ended here. calls: to Plytix, of reading the products. left: calls that the account has left, by seconds
    of the window.
    """

    plan_id: int
    plan: pd.DataFrame
    planned: GalleryPlan
    report: dict[str, Any]
    calls: int
    left: dict[int, int]
    warnings: tuple[str, ...]


def make_plan(
    desk: Desk,
    api: PlytixApi,
    run_id: str,
    *,
    ancestors: Sequence[str] = (),
    dry_run: bool = False,
    skip_existing: bool = False,
    force_reupload: bool = False,
    allow_mass_delete: bool = False,
) -> PlanMade:
    """Plan from the listings and the products as this run's lineage read them, and store the plan.

    Asks Plytix for a token at most. The plan of a dry run is carried out only by its number. Where no product could be
    read, nothing is planned. Raises NoteMissingError when they were not read.
    """
    images = need_note(desk.place.storage, desk.account, run_id, ancestors, ImagesNote)
    read = need_note(desk.place.storage, desk.account, run_id, ancestors, ProductsNote)
    policy = Policy(desk.settings.strategy, desk.settings.remove_missing, skip_existing, force_reupload)
    products = {product.sku: product for product in read.products}
    known = desk.ledger.known()
    planned = plan_galleries(
        () if read.stopped else images.listings,
        products,
        known,
        policy,
        limits_of(desk.place.settings, lifted=allow_mass_delete),
        api.limits(),
        incomplete=images.incomplete,
    )
    basis = basis_of(
        images.listings,
        products,
        known,
        planned.payload["group"],
        images.set_aside,
        read.unknown,
        source_file=images.source,
        skip_existing=skip_existing,
        force=force_reupload,
    )
    return store_plan(
        desk, api, run_id, planned, policy, basis, read, images.warnings, why_named=DRY_RUN if dry_run else ""
    )


def store_plan(
    desk: Desk,
    api: PlytixApi,
    run_id: str,
    planned: GalleryPlan,
    policy: Policy,
    basis: Basis,
    read: ProductsNote,
    told: tuple[str, ...],
    *,
    why_named: str,
) -> PlanMade:
    """Store a plan with what applying and reporting need of it; `told` are warnings of the stages before.

    read: the products that it was made from. why_named: why it is carried out only by its number, '' when its run does
    it. A plan with such a reason is the end of its run, whose report says that nothing was written.
    """
    dry_run = bool(why_named)
    left = {one.window.seconds: one.left for one in api.left()}
    tasks = tasks_of(planned.payload)
    report = make_report(basis, Done(), tasks, desk.ledger.known().assets(), ended_at=desk.clock(), dry_run=dry_run)
    warnings = [*told, *planned.warnings]
    if read.stopped:
        warnings.append(f"The products could not be read, so nothing was planned or changed: {read.stopped}")
    hour = max(left, default=0)
    if planned.cost.calls > left.get(hour, planned.cost.calls):
        warnings.append(
            f"The plan needs {planned.cost.calls} calls and the account has {left[hour]} left for {hour // 60} "
            "minutes; what does not fit waits for the next run."
        )
    plan = _with_pictures(planned.plan, tasks)
    plans = Plans(desk.place.engine, desk.place.storage)
    new = NewPlan(
        connector=CONNECTOR,
        run_id=run_id,
        scope={
            "account": desk.account,
            "strategy": policy.strategy,
            "remove_missing": policy.remove_missing,
            "force": policy.force,
            "read_at": read.read_at.isoformat(),
            "calls": read.calls if read.run_id == run_id else 0,
            "held_back": len(planned.held),
            "stopped": read.stopped,
            "goes_on_at": read.goes_on_at.isoformat() if read.goes_on_at else None,
            "warnings": warnings,
            "basis": basis.as_json(),
            **({ONLY_NAMED: why_named} if why_named else {}),
        },
        counts=planned.counts(),
        cost={"calls": planned.cost.calls, "bytes": 0, "minutes": planned.cost.minutes},
        scan_id=None,
    )
    plan_id = plans.save(plan, [planned.payload], new)
    plans.prune(CONNECTOR, KEPT_PLANS, {"account": desk.account})
    if dry_run:
        keep_report(desk.place.storage, run_id, report)
    return PlanMade(plan_id, plan, planned, report, read.calls, left, tuple(warnings))


def _with_pictures(plan: pd.DataFrame, tasks: dict[str, Task]) -> pd.DataFrame:
    """The plan with the variant and the URL of every picture that changes, for people; '' for the others."""
    images = {(sku, image.key): image for sku, task in tasks.items() for image in task.images}
    found = [images.get((group, picture_key(key))) for group, key in zip(plan["group"], plan["key"], strict=True)]
    return plan.assign(
        variant=pd.Series([image.variant if image else "" for image in found], index=plan.index, dtype="str"),
        image_url=pd.Series([image.url if image else "" for image in found], index=plan.index, dtype="str"),
    )


def limits_of(settings: Settings, *, lifted: bool) -> DeletionLimits:
    """The deletion limits as the settings have them; `lifted` for one run by a person."""
    return DeletionLimits(
        settings.deletion_limit_share,
        settings.deletion_limit_count,
        settings.deletion_limit_bare,
        settings.deletion_limit_floor,
        lifted,
    )
