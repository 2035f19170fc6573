"""The steps `plan` and `product_images`: what would change on the ERP's products, and carrying it out."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace

import pyarrow as pa
from pydantic import BaseModel, Field

from imagesync_pipelines.connectors.folder.model import NAME, FilesScan, FolderError
from imagesync_pipelines.connectors.folder.planning import plan_files, values_of
from imagesync_pipelines.connectors.folder.reading import Run
from imagesync_pipelines.products.applying import apply_images, plan_images, write_unmatched
from imagesync_pipelines.products.table import read_products
from imagesync_pipelines.products.target import Values, read_current
from imagesync_pipelines.storage import mirror, scans
from imagesync_pipelines.sync.applied import ApplyOptions, applied_summary, applied_warnings, load_plan, payload_of
from imagesync_pipelines.sync.model import EFFECTS, Proof, Scope
from imagesync_pipelines.sync.planned import changing, plan_result, store_plan
from imagesync_pipelines.sync.steps import StepResult, Table

_FIELDS = dict.fromkeys(("sha256", "width", "height", "format"), pa.large_string())


class FolderPlanOptions(BaseModel):
    """What a person may ask of a run: all of it is about the plan."""

    dry_run: bool = Field(False, description="nobody applies the plan without naming its number")
    allow_mass_delete: bool = Field(False, description="lift the deletion limits for this run")
    force: bool = Field(False, description="write every row again, also those that are as they should be")


def plan(context: Run, options: FolderPlanOptions) -> StepResult:
    """The step `plan`. Raises FolderError when nothing can be planned, which says what to do first."""
    engine, settings = context.installation.engine, context.settings
    products = read_products(engine)
    if not products["in_erp"].any():
        raise FolderError("there are no products yet; set ERP_DATABASE_URL and run `imagesync sync image-db` first")
    found = context.find("files", FilesScan)
    scan = _scan(context, found)
    with engine.connect() as connection:
        files = mirror.read_mirror(connection, NAME, "", _FIELDS)
    made = plan_files(files, products, settings.pattern, settings.url)
    planned = plan_images(
        context,
        made.wanted,
        read_current(engine, NAME),
        Scope(None, Proof(scan.id, scan.state == scans.PROVEN, scan.reason)),
        payload=made.payload,
        products=products,
        force=options.force,
        allow_mass_delete=options.allow_mass_delete,
    )
    lost, rows = made.unmatched.unmatched, planned.plan
    warnings = [*(found.warnings if found is not None else ()), *planned.warnings]
    if len(lost):
        warnings.append(f"{len(lost)} files name no product, for example {lost['external_id'].iloc[0]}")
    planned = replace(planned, warnings=tuple(warnings), scan_id=scan.id)
    plan_id = store_plan(context, planned, dry_run=options.dry_run)
    write_unmatched(engine, NAME, made.unmatched)
    return plan_result(
        context,
        planned,
        plan_id,
        cost=f"{changing(rows)} rows to write",
        changes=rows.loc[rows["change"].isin(EFFECTS), ["product", "change", "key", "reason"]],
        shown={"unmatched": Table(lost[["external_id", "number", "reason"]])},
        numbers={"files/unmatched": len(lost)},
    )


def product_images(context: Run, options: ApplyOptions) -> StepResult:
    """The step `product_images`: a stored plan carried out under the connector's lock."""
    loaded = load_plan(context, options.plan_id)
    values = values_of(payload_of(context, loaded))

    def some(keys: Sequence[str]) -> dict[str, Values]:
        return {key: values[key] for key in keys}

    done = apply_images(context, loaded, lambda _: nullcontext(some))
    applied = done.applied
    warnings = tuple(applied_warnings(context, loaded, applied))
    numbers = {"added": applied.added, "updated": applied.updated, "removed": applied.removed}
    return StepResult(
        rows=done.rows,
        numbers={**{f"images/{name}": number for name, number in numbers.items()}, "primaries/repaired": done.repaired},
        shown={"plan_id": loaded.header.id},
        lines=[
            f"plan {loaded.header.id}: {applied.added} added, {applied.updated} updated, {applied.removed} removed."
        ],
        warnings=warnings,
        summary=applied_summary(context, loaded, applied, warnings=warnings, calls=0),
    )


def _scan(context: Run, found: FilesScan | None) -> scans.Scan:
    """The scan of this run's lineage, else the newest one: the mirror is what it left. Raises FolderError."""
    if found is not None:
        return scans.get_scan(context.installation.engine, found.scan_id)
    newest = scans.latest_scan(context.installation.engine, NAME)
    if newest is None:
        raise FolderError("the folder was never read; start the job folder__sync")
    return newest
