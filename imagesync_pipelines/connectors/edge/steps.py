"""What a store's plan is made from, as a step; and the scrub, a job alone, which plans by itself."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pandas as pd
from pydantic import BaseModel, Field

from imagesync_pipelines.connectors.edge import store
from imagesync_pipelines.connectors.edge.applying import apply_plan
from imagesync_pipelines.connectors.edge.listing import WORD_OF_HO, ListingHandOver
from imagesync_pipelines.connectors.edge.planning import (
    LISTED_VALUES,
    PRODUCT_VALUES,
    payload_of,
    plan_photos,
    product_labels,
)
from imagesync_pipelines.connectors.edge.reading import LISTING, StoreRun, at_store
from imagesync_pipelines.connectors.edge.settings import MEGABYTE, EdgeSettings
from imagesync_pipelines.storage import mirror
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines.sync.frames import PLAN_COLUMNS
from imagesync_pipelines.sync.model import Change, PlanCost, Proof, Scope
from imagesync_pipelines.sync.planned import Planned, deletion_limits, plan_result, rows_to_show, store_plan
from imagesync_pipelines.sync.steps import RunContext, StepResult, Summary, Table, Texts


class StorePlanOptions(BaseModel):
    """How to plan."""

    allow_mass_delete: bool = Field(False, description="let removals happen that the deletion limits would hold back")
    dry_run: bool = Field(False, description="only to be looked at: the plan is carried out by its number alone")


def plan(context: RunContext[EdgeSettings], options: StorePlanOptions) -> StepResult:
    """The step: plan, and tell what would change."""
    with at_store(context) as run:
        return make_plan(run, allow_mass_delete=options.allow_mass_delete, dry_run=options.dry_run)


def make_plan(run: StoreRun, *, allow_mass_delete: bool, dry_run: bool = False) -> StepResult:
    """Plan from the mirror and the store's database, and store the plan; none when the listing found nothing to do.

    What the listing found is that of this run's lineage; a plan by itself is made from the mirror as the newest listing
    left it. dry_run: the plan is carried out only by its number. Photos of products that the store does not have wait
    for them. Raises HandOverMissingError without a listing.
    """
    context, plan_id = run.context, None
    listed = context.find(LISTING, ListingHandOver)
    if listed is not None and listed.quiet:
        nothing = pd.DataFrame(columns=[*PLAN_COLUMNS, "product"], dtype="str")
        planned = Planned(nothing, nothing, PlanCost(0, 0, 0.0), warnings=listed.warnings, **_spent(run, listed))
    else:
        listed = listed or context.look_at(LISTING, ListingHandOver)
        plan_id, planned = plan_store(run, listed, allow_mass_delete=allow_mass_delete, dry_run=dry_run)
    rows, cost = planned.plan, planned.cost
    pace = f", at least {cost.minutes:g} minutes at the pace set" if cost.minutes else ""
    reasons = rows.loc[rows["change"] == Change.REJECT, "reason"].value_counts()
    changes = rows_to_show(rows).rename(columns={"key": "photo"})
    return plan_result(
        context,
        planned,
        plan_id,
        cost=f"{cost.calls} downloads, {cost.bytes / MEGABYTE:,.1f} MB{pace}.",
        changes=changes.loc[:, ["change", "product", "photo", "reason"]],
        shown={"set_aside": Table(pd.DataFrame({"reason": reasons.index, "photos": reasons.to_numpy()}))},
    )


def scrub_store(context: RunContext[EdgeSettings], options: NoOptions) -> StepResult:
    """The step of the scrub's job: hash what a store has, inside its database, and fetch again what differs.

    Raises HandOverMissingError when the store was never listed, and the errors of plan_store and apply_plan.
    """
    with at_store(context) as run:
        with run.lock():
            hashed, differing = store.scrub(run.database, on_progress=partial(context.progress, "photos hashed"))
        said = f"{context.account}: {hashed} photos were hashed"
        summary = Summary("completed", context.started_at, datetime.now(UTC), kept=hashed)
        if not differing:
            said += "; all are what their checksums say."
        else:
            plan_id, _ = plan_store(run, context.look_at(LISTING, ListingHandOver), allow_mass_delete=False)
            repaired = apply_plan(run, plan_id).summary or summary
            said += f", {len(differing)} differ; {repaired.images_updated} were fetched again."
            warning = f"{len(differing)} stored photos were not what their checksums say, and are fetched again."
            summary = replace(repaired, warnings=(warning, *repaired.warnings))
    return StepResult(
        numbers={"photos/hashed": hashed, "photos/differing": len(differing)},
        shown={"differing": Texts(differing)},
        lines=[said],
        summary=summary,
    )


def plan_store(
    run: StoreRun, listed: ListingHandOver, *, allow_mass_delete: bool, dry_run: bool = False
) -> tuple[int, Planned]:
    """Plan from the mirror and the store's database whatever the listing found, and store the plan; with its number."""
    context, mine = run.context, (run.context.connector, run.name)
    # One snapshot, so that the payloads are those of the rows that were planned.
    with run.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        mirror_at = mirror.mirror_at(connection, *mine)
        wanted = mirror.read_mirror(connection, *mine, {**LISTED_VALUES, **PRODUCT_VALUES})
        absent = mirror.read_gone(connection, *mine, WORD_OF_HO)
        proof = None
        # A full scan proves what is gone as long as the mirror is as that scan left it.
        if listed.full and listed.scan_id is not None and listed.mirror_at == mirror_at:
            proof = Proof(listed.scan_id, listed.complete, listed.reason)
        current = store.read_current(run.database)
        found = plan_photos(
            wanted,
            # What is listed in a form that cannot be read is left alone.
            current[~current["key"].isin(listed.illegible)],
            Scope(None, proof, absent),
            deletion_limits(context.installation.settings, lifted=allow_mass_delete),
            unknown_products=store.unknown_products(run.database, set(wanted["group_key"])),
            max_bytes=run.settings.max_photo,
            pace_seconds=run.settings.pace_ms / 1000,
        )
        if not listed.dry_run:
            store.keep_waiting(run.database, found.waiting)
        planned = Planned(
            plan=found.plan.assign(product=product_labels(found.plan, wanted)),
            held=found.held,
            cost=found.cost,
            payload=payload_of(found.written, partial(mirror.read_payloads, connection, *mine)),
            scope={"mirror_at": mirror_at.isoformat() if mirror_at is not None else None},
            warnings=(*listed.warnings, *found.warnings),
            scan_id=listed.scan_id,
            **_spent(run, listed),
        )
        return store_plan(context, planned, dry_run=dry_run), planned


def _spent(run: StoreRun, listed: ListingHandOver) -> dict[str, Any]:
    """Calls and bytes of the listing, when it was this run's."""
    return {"calls": listed.calls, "received": listed.bytes} if listed.run_id == run.context.run_id else {}
