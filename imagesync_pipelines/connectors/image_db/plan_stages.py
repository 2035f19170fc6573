"""The plan and what comes of it, each a function without Dagster: plan, apply, unmatched articles.

What belongs here: joining planning, engine and storage, one function per Dagster asset. What does not: the stages
before the plan (stages.py), the engine itself (sync), what the UI shows (assets.py).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import psycopg
import sqlalchemy as sa

from imagesync_pipelines.connectors.image_db.batch import About, Batches
from imagesync_pipelines.connectors.image_db.pages import CONNECTOR
from imagesync_pipelines.connectors.image_db.payload import open_payload
from imagesync_pipelines.connectors.image_db.planning import Planned, cut_to, groups_of_skus, plan_wanted, rejected_rows
from imagesync_pipelines.connectors.image_db.record_store import read_external_ids
from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings
from imagesync_pipelines.connectors.image_db.stages import limits_of
from imagesync_pipelines.products import table as products
from imagesync_pipelines.products import unmatched
from imagesync_pipelines.products.primaries import repair_primaries
from imagesync_pipelines.products.target import ProductImageTarget, read_current
from imagesync_pipelines.products.unmatched import Unmatched
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.locks import account_lock
from imagesync_pipelines.storage.plans import NewPlan, PlanHeader, Plans
from imagesync_pipelines.storage.quarantine import QuarantineTable
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.sync.apply import Applied, apply_database
from imagesync_pipelines.sync.frames import among
from imagesync_pipelines.sync.guard import guard
from imagesync_pipelines.sync.handovers import PIECE, only_named, plan_to_apply
from imagesync_pipelines.sync.lineage import of_lineage
from imagesync_pipelines.sync.memory import collector_paused
from imagesync_pipelines.sync.model import EFFECTS, Change, Outcome, Proof, Scope
from imagesync_pipelines.sync.plan import build_plan, group_states
from imagesync_pipelines.sync.progress import Progress

KEPT_PLANS = 20
# A batch is one transaction, and while one is written the next one is made ready; a small plan is halved between them.
ROWS_PER_BATCH = 5000
WRITERS = 2
# The server went away: not a bad row, so nothing is halved and the step is tried again as a whole.
SERVER_GONE = (sa.exc.OperationalError, sa.exc.InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)


@dataclass(frozen=True)
class PlanMade:
    """A stored plan and what there is to tell about it.

    plan: the engine's PLAN columns after the guard, and `product`: SKU and name, for people. held: the rows that the
    guard held back. planned: what was wanted.
    """

    plan_id: int
    plan: pd.DataFrame
    held: pd.DataFrame
    planned: Planned
    about: About
    batch: str
    warnings: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Rows per change, all five of them."""
        found = self.plan["change"].value_counts()
        return {str(change): int(found.get(change, 0)) for change in Change}


@dataclass(frozen=True)
class PlanApplied:
    """What came of applying a plan.

    rows: of this connector in product_image afterwards. repaired: products whose primary was set right.
    """

    header: PlanHeader
    about: About
    applied: Applied
    repaired: int
    rows: int
    warnings: tuple[str, ...]


@collector_paused()
def make_plan(
    place: Installation,
    settings: ImageDbSettings,
    run_id: str,
    *,
    ancestors: Sequence[str] = (),
    force: bool = False,
    allow_mass_delete: bool = False,
    dry_run: bool = False,
    batch: str | None = None,
    only_groups: Collection[str] | None = None,
) -> PlanMade:
    """Plan from a batch of records and store the plan.

    The batch is the one named, else that of this run's lineage, else the newest of all pages: a part that somebody
    else chose is never taken. dry_run: the plan is carried out only by its number. only_groups: these products only, as
    when planning again. Raises BatchMissingError, UnknownSkuError.
    """
    batches = Batches(place.storage)
    name = batch or of_lineage(run_id, ancestors, batches.names()) or batches.newest_whole()
    about = batches.about(name)
    all_products = products.read_products(place.engine)
    planned = plan_wanted(batches.records(name), all_products)
    batches.keep_unmatched(name, Unmatched(planned.unmatched, planned.unused))
    current = read_current(place.engine, CONNECTOR)
    scope, wanted_here, current_here = _cut(about, planned, current, all_products, only_groups)
    rejects = rejected_rows(about.page_rejects(), current_here, wanted_here.wanted)
    rejected = pd.concat([rejects, wanted_here.unusable], ignore_index=True).drop_duplicates("key")
    built = build_plan(wanted_here.wanted, current_here, scope, rejected=rejected, force=force)
    guarded = guard(built, scope, limits_of(place.settings, lifted=allow_mass_delete))
    changing = guarded.plan["change"].isin(EFFECTS)
    states = group_states(current[among(current["group"], guarded.plan.loc[changing, "group"])])
    plan = guarded.plan.assign(product=_labels(guarded.plan["group"], all_products))
    payload = wanted_here.matched[among(wanted_here.matched["key"], guarded.plan.loc[changing, "key"])]
    made = PlanMade(0, plan, guarded.held, wanted_here, about, name, (*about.warnings, *guarded.warnings))
    plans = Plans(place.engine, place.storage)
    marks = {PIECE: True} if only_groups is not None else only_named(dry_run=dry_run)
    plan_id = plans.save(plan.assign(state=plan["group"].map(states)), [payload], _new_plan(made, run_id, marks))
    plans.prune(CONNECTOR, KEPT_PLANS)
    return replace(made, plan_id=plan_id)


def apply_plan(
    place: Installation,
    settings: ImageDbSettings,
    run_id: str,
    *,
    ancestors: Sequence[str] = (),
    plan_id: int | None = None,
    replan: bool = False,
    progress: Progress,
) -> PlanApplied:
    """Apply a stored plan, the one named or else that of this run's lineage, under the connector's lock.

    Products whose images changed since the plan was made are refused with that reason; with `replan` they are planned
    again from the same records and applied. Raises AccountBusyError, PlanMissingError, NoPlanOfThisRunError.
    """
    plans = Plans(place.engine, place.storage)
    header = plan_to_apply(plans, CONNECTOR, run_id, ancestors, plan_id)
    about = Batches(place.storage).about(str(header.scope["batch"]))
    with account_lock(place.engine, CONNECTOR, place.settings.lock_wait_seconds):
        applied = _apply(place, plans, header, run_id, progress)
        if replan and applied.refused:
            batch, refused = str(header.scope["batch"]), applied.refused_in
            again = plans.header(make_plan(place, settings, run_id, batch=batch, only_groups=refused).plan_id)
            applied = _without_refused(applied).plus(_apply(place, plans, again, run_id, progress))
            plans.mark_applied(again.id, run_id)
        repaired = repair_primaries(place.engine)
    plans.mark_applied(header.id, run_id)
    with place.engine.connect() as connection:
        rows = connection.scalar(sa.select(sa.func.count()).where(product_image.c.source == CONNECTOR)) or 0
    warnings = [*header.scope.get("warnings", ()), *_warnings(applied, header, run_id)]
    return PlanApplied(header, about, applied, repaired, rows, tuple(warnings))


def write_unmatched(place: Installation, run_id: str, *, ancestors: Sequence[str] = ()) -> Unmatched:
    """Bring the tables of unmatched articles and unused images up to what the plan of this run's lineage found.

    A plan from a part of the pages says nothing about other images: their rows stay. Raises NoPlanOfThisRunError.
    """
    batches = Batches(place.storage)
    header = plan_to_apply(Plans(place.engine, place.storage), CONNECTOR, run_id, ancestors, None)
    name = str(header.scope["batch"])
    found = batches.unmatched(name)
    partial = batches.about(name).scope == "pages"
    unmatched.write(place.engine, CONNECTOR, found, read_external_ids(batches.records(name)) if partial else None)
    return found


def _cut(
    about: About,
    planned: Planned,
    current: pd.DataFrame,
    all_products: pd.DataFrame,
    only_groups: Collection[str] | None,
) -> tuple[Scope, Planned, pd.DataFrame]:
    """The scope of this plan with wanted and current cut to it.

    Of a part of the pages only the images read are in scope: of all others it says nothing.
    """
    proof = Proof(about.scan_id, about.complete, about.reason)
    if only_groups is not None:
        groups = frozenset(only_groups)
    elif about.scope == "skus":
        groups = groups_of_skus(about.skus, all_products)
    elif about.scope == "images":
        named = external_ids_of(planned.wanted["key"]).isin(about.external_ids)
        there = external_ids_of(current["key"]).isin(about.external_ids)
        groups = frozenset(planned.wanted.loc[named, "group"]) | frozenset(current.loc[there, "group"])
    elif about.scope == "pages":
        return Scope(None, None), planned, current[external_ids_of(current["key"]).isin(planned.read_ids)]
    else:
        return Scope(None, proof), planned, current
    return Scope(groups, None), cut_to(planned, groups), current


def external_ids_of(keys: pd.Series) -> pd.Series:
    """The image's part of the engine's keys."""
    return keys.str.split("/", n=1).str[1]


def _labels(groups: pd.Series, all_products: pd.DataFrame) -> pd.Series:
    """SKU and name of each group's product, for people; empty for a group that is NA."""
    ids = pd.Index(all_products["id"])
    places = ids.get_indexer(pd.to_numeric(groups).fillna(-1).astype("int64"))
    label = (all_products["sku"] + " " + all_products["name"]).astype("str")
    return label.reindex(places).set_axis(groups.index)


def _new_plan(made: PlanMade, run_id: str, marks: Mapping[str, Any]) -> NewPlan:
    return NewPlan(
        connector=CONNECTOR,
        run_id=run_id,
        scope={
            "kind": made.about.scope,
            "batch": made.batch,
            "skus": list(made.about.skus),
            "warnings": list(made.warnings),
            "matched": len(made.planned.matched),
            "unmatched": len(made.planned.unmatched),
            "held_back": len(made.held),
            **marks,
        },
        counts=made.counts(),
        cost={"calls": 0, "rows": sum(made.counts()[str(change)] for change in EFFECTS)},
        scan_id=made.about.scan_id,
    )


def _without_refused(applied: Applied) -> Applied:
    """The same without the refused rows, which are planned again."""
    told = tuple(error for error in applied.errors if f": {Outcome.REFUSED}: " not in error)
    return replace(applied, refused=0, refused_in=frozenset(), errors=told)


def _warnings(applied: Applied, header: PlanHeader, run_id: str) -> list[str]:
    found = []
    if header.applied_at is not None and header.applied_run != run_id:
        found.append(f"Plan {header.id} had been applied before, by run {header.applied_run}.")
    if applied.failed:
        found.append(
            f"{applied.failed} images could not be written and are in quarantine, see `imagesync quarantine list`."
        )
    if applied.refused:
        found.append(
            f"{applied.refused} rows of {len(applied.refused_in)} products were refused, because their images changed "
            "since the plan was made; plan again, or apply it with --replan."
        )
    return found


def _apply(place: Installation, plans: Plans, header: PlanHeader, run_id: str, progress: Progress) -> Applied:
    rows = plans.load(header.id)
    matched = plans.need_payload(header.id)
    changing = rows[rows["change"].isin(EFFECTS)]
    states = dict(zip(changing["group"], changing["state"], strict=True))
    total = len(changing)
    resumed = header.applied_at is None and header.applied_run is not None
    plans.mark_begun(header.id, run_id)
    with open_payload(Batches(place.storage).records(str(header.scope["batch"])), matched) as payload:
        return apply_database(
            rows.drop(columns=["state", "product"]),
            ProductImageTarget(place.engine, CONNECTOR, payload, resumed),
            QuarantineTable(place.engine, CONNECTOR, run_id),
            states=states,
            rows_per_batch=min(ROWS_PER_BATCH, -(-total // WRITERS)),
            writers=WRITERS,
            fatal=SERVER_GONE,
            on_progress=lambda done: progress("rows written", done, total),
        )
