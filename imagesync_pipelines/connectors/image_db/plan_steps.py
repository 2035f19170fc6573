"""The plan and what comes of it: the steps plan, product_images, unmatched_articles and export."""

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from imagesync_pipelines.connectors.image_db.pages import Run
from imagesync_pipelines.connectors.image_db.payload import open_payload
from imagesync_pipelines.connectors.image_db.planning import (
    PlannedImages,
    cut_to,
    external_ids_of,
    groups_of_skus,
    plan_wanted,
    rejected_rows,
)
from imagesync_pipelines.connectors.image_db.record_store import About, Batches, read_external_ids
from imagesync_pipelines.connectors.image_db.settings import ProductImageOptions, ProductImagePlanOptions
from imagesync_pipelines.products import table as products
from imagesync_pipelines.products.applying import Unmatched, apply_images, plan_images, write_unmatched
from imagesync_pipelines.products.exports.formats import write_exports
from imagesync_pipelines.products.target import Payload, read_current
from imagesync_pipelines.storage.plans import PIECE
from imagesync_pipelines.sync.applied import Loaded, applied_summary, load_plan
from imagesync_pipelines.sync.apply import Applied, collector_paused
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines.sync.model import Proof, Scope
from imagesync_pipelines.sync.planned import BATCH, Planned, plan_result, rows_to_show, store_plan
from imagesync_pipelines.sync.steps import Pictures, StepResult, Table, Texts
from imagesync_pipelines.upstream.fetch import FetchPolicy, fetch_image

THUMBNAIL_BYTES = 2 * 1024 * 1024
THUMBNAIL_SECONDS = 5.0
# As many as the UI shows of a plan.
SHOWN_PICTURES = 12

# Name → type and meaning, as the UI's page of the Dagster asset lists them.
PRODUCT_IMAGE_COLUMNS = {
    "product_id": ("bigint", "our product, parent or variant"),
    "external_id": ("varchar(255)", "the image's file_id at the source"),
    "image_url": ("varchar(500)", "the picture for a product page"),
    "thumbnail_url": ("varchar(500)", "the picture for a list"),
    "image_type": ("varchar(50)", "the source's own word, e.g. Produktfoto"),
    "is_primary": ("boolean", "shown first; exactly one per product with images"),
    "is_front": ("boolean", "a front view of this very product"),
    "priority": ("integer", "1 Produktfoto and front, 2 Produktfoto, 3 front, 4 the rest"),
    "alt_text": ("varchar(255)", "product name and image type"),
    "metadata": ("jsonb", "the canonical record without stock"),
    "last_synced": ("timestamptz", "when the row was last written"),
}


class ProductImagesPlanned(NamedTuple):
    """A stored plan: as it is stored (`product` is SKU and name, for people), what was wanted, and of which batch."""

    plan_id: int
    planned: Planned
    images: PlannedImages
    about: About


def plan(context: Run, options: ProductImagePlanOptions) -> StepResult:
    """The step `plan`; see make_plan."""
    plan_id, planned, images, about = make_plan(context, options)
    rules = images.matched["matched_by"].value_counts()
    said = ", ".join(f"{number} by {rule}" for rule, number in rules.items())
    changes = rows_to_show(planned.plan)
    changes = changes.assign(image=external_ids_of(changes["key"]))
    hosts = frozenset(context.installation.settings.allowed_image_hosts)
    policy = FetchPolicy(allowed_hosts=hosts, max_bytes=THUMBNAIL_BYTES, total_deadline=THUMBNAIL_SECONDS)
    pictures = _pictures(context, planned.plan, images, about.run_id)
    result = plan_result(
        context,
        planned,
        plan_id,
        cost=f"{len(changes)} rows of our own database; no call to the image database.",
        changes=changes.loc[:, ["change", "product", "image", "reason"]],
        shown={
            "pictures": Pictures(pictures, lambda url: fetch_image(url, policy).body),
            "matched_by": Table(pd.DataFrame({"rule": rules.index, "product images": rules.to_numpy()})),
            "unmatched": len(images.unmatched),
        },
        lines=[
            f"{about.records} images and {images.wanted['group'].nunique()} products with images were checked: "
            f"{len(images.matched)} matches ({said or 'none'}), {len(images.unmatched)} article links without "
            f"a product, {len(images.unused)} images that no product shows."
        ],
    )
    return replace(result, details=lambda: match_lines(images))


@collector_paused()
def make_plan(
    context: Run,
    options: ProductImagePlanOptions,
    *,
    batch: str | None = None,
    only_groups: Collection[str] | None = None,
) -> ProductImagesPlanned:
    """Plan from a batch of records and store the plan.

    The batch is the one named, else that of this run's lineage, else the newest of all pages: a part that somebody
    else chose is never taken. only_groups: these products only, as when planning again; such a plan is a piece of
    another. Raises BatchMissingError, UnknownSkuError.
    """
    batches, engine = Batches(context.handovers), context.installation.engine
    about = batches.about(batch) if batch is not None else batches.of(context.lineage)
    name, all_products = about.run_id, products.read_products(engine)
    found = plan_wanted(batches.records(name), all_products)
    batches.keep_unmatched(name, Unmatched(found.unmatched, found.unused))
    current = read_current(engine, context.connector)
    groups = only_groups if only_groups is not None else _groups_in_scope(about, found, current, all_products)
    images = cut_to(found, groups) if groups is not None else found
    scope = Scope(None, Proof(about.scan_id, about.complete, about.reason) if about.scope == "all" else None)
    judged = current
    if groups is not None:
        scope = Scope(frozenset(groups), None)
    elif about.scope == "pages":  # of the images that were not read it says nothing
        judged = current[external_ids_of(current["key"]).isin(images.read_ids)]
    rejects = rejected_rows(about.rejects, judged, images.wanted)
    rejected = pd.concat([rejects, images.unusable], ignore_index=True).drop_duplicates("key")
    planned = plan_images(
        context,
        images.wanted,
        current,
        scope,
        payload=images.matched,
        products=all_products,
        judged=judged,
        rejected=rejected,
        force=options.force,
        allow_mass_delete=options.allow_mass_delete,
    )
    planned = replace(
        planned,
        scope={
            "kind": about.scope,
            BATCH: name,
            "skus": list(about.skus),
            "matched": len(images.matched),
            "unmatched": len(images.unmatched),
            **({PIECE: True} if only_groups is not None else {}),
        },
        warnings=(*about.warnings, *planned.warnings),
        scan_id=about.scan_id,
        calls=about.api_calls,
        received=about.bytes_downloaded,
        rejected=len(about.rejects),
    )
    plan_id = store_plan(context, planned, dry_run=options.dry_run)
    return ProductImagesPlanned(plan_id, planned, images, about)


def product_images(context: Run, options: ProductImageOptions) -> StepResult:
    """The step `product_images`: a stored plan carried out, the one named or else that of this run's lineage.

    Products whose images changed since the plan was made are refused with that reason; with `replan` they are planned
    again from the same records and applied. A dry run ends here. Raises AccountBusyError, PlanMissingError,
    NoPlanOfThisRunError, and BatchMissingError when the records of the plan are no longer kept.
    """
    if options.dry_run:
        return StepResult(ends="Dry run: nothing was applied; see the plan.")
    loaded = load_plan(context, options.plan_id)
    batches, batch = Batches(context.handovers), str(loaded.scope.get(BATCH, ""))
    about = batches.about(batch)

    def payload(of: Loaded) -> AbstractContextManager[Payload]:
        return open_payload(batches.records(str(of.scope[BATCH])), context.plans.need_payload(of.header.id))

    def again(groups: Collection[str]) -> Loaded:
        made = make_plan(context, ProductImagePlanOptions(), batch=batch, only_groups=groups)
        return load_plan(context, made.plan_id)

    done = apply_images(context, loaded, payload, again if options.replan else None)
    applied, plan_id = done.applied, loaded.header.id
    warnings = tuple(_warnings(context, loaded, applied))
    summary = applied_summary(context, loaded, applied, warnings=warnings, calls=0)
    summary = replace(summary, rejected=len(about.rejects) + applied.failed)
    return StepResult(
        rows=done.rows,
        shown={
            "plan_id": plan_id,
            "unmatched_articles": int(loaded.scope.get("unmatched", 0)),
            "errors": Texts(applied.errors),
            "dagster/table_name": "imagesync.product_image",
        },
        lines=[
            f"Plan {plan_id}: {applied.added} added, {applied.updated} updated, {applied.removed} removed, "
            f"{applied.kept} kept, {applied.failed} failed, {applied.refused} refused, in {len(applied.affected)} "
            f"products; {done.repaired} products got their primary back; {done.rows} product images now."
        ],
        warnings=summary.warnings,
        details=lambda: (
            f"{key}: {change}, {reason}" if reason else f"{key}: {change}"
            for key, change, reason in loaded.rows[["key", "change", "reason"]].itertuples(index=False, name=None)
        ),
        summary=summary,
        columns=PRODUCT_IMAGE_COLUMNS,
    )


def unmatched_articles(context: Run, options: NoOptions) -> StepResult:
    """The step `unmatched_articles`: the tables brought up to what the plan of this run's lineage found unmatched.

    A plan from a part of the pages says nothing about other images: their rows stay. Raises NoPlanOfThisRunError.
    """
    batches = Batches(context.handovers)
    batch = str(context.plan_to_apply(None).scope.get(BATCH, ""))
    found = batches.unmatched(batch)
    read = read_external_ids(batches.records(batch)) if batches.about(batch).scope == "pages" else None
    write_unmatched(context.installation.engine, context.connector, found, read)
    shown = found.unmatched.loc[:, ["number", "variant", "external_id", "reason", "candidates"]]
    names = [", ".join(f"{near['sku']} {near['name']}" for near in candidates) for candidates in shown["candidates"]]
    return StepResult(
        rows=len(shown),
        numbers={"articles/unmatched": len(shown), "images/unused": len(found.unused)},
        shown={
            "unmatched": Table(shown.assign(candidates=names).rename(columns={"external_id": "image"})),
            "unused": Table(found.unused.loc[:, ["external_id", "image_type", "reason"]]),
            "dagster/table_name": "imagesync.unmatched_article",
        },
    )


def export(context: Run, options: NoOptions) -> StepResult:
    """The step `export`: files of what is shown now."""
    first = context.settings.image_db_own_images_first
    rows, sizes = write_exports(context.installation.engine, context.installation.storage, own_images_first=first)
    files = Texts([f"{path}: {size:,} bytes" for path, size in sizes.items()])
    return StepResult(rows=rows, size=sum(sizes.values()), shown={"files": files})


def match_lines(images: PlannedImages) -> Iterator[str]:
    """One line per match of an image with a product, and one per article link without; for debugging."""
    matched = images.matched
    for key, rule in zip(matched["key"], matched["matched_by"], strict=True):
        yield f"{key}: matched by {rule}"
    links = images.unmatched
    for external_id, number, reason in zip(links["external_id"], links["number"], links["reason"], strict=True):
        yield f"image {external_id}: article {number} is not matched, {reason}"


def _pictures(context: Run, plan: pd.DataFrame, images: PlannedImages, batch: str) -> list[tuple[str, str]]:
    """Label and thumbnail URL of the first rows that are added or updated."""
    written = plan[plan["change"].isin(["add", "update"])].head(SHOWN_PICTURES)
    chosen = images.matched[images.matched["key"].isin(set(written["key"]))]
    if chosen.empty:
        return []
    with open_payload(Batches(context.handovers).records(batch), chosen) as payload:
        rows = payload(list(chosen["key"])).to_pylist()
    return [
        (row["alt_text"] or key, row["thumbnail_url"] or row["image_url"])
        for key, row in zip(chosen["key"], rows, strict=True)
    ]


def _groups_in_scope(
    about: About, planned: PlannedImages, current: pd.DataFrame, all_products: pd.DataFrame
) -> frozenset[str] | None:
    """The products that a batch is about; None: of all products."""
    if about.scope == "skus":
        return groups_of_skus(about.skus, all_products)
    if about.scope == "images":
        both = pd.concat([planned.wanted[["key", "group"]], current[["key", "group"]]])
        return frozenset(both.loc[external_ids_of(both["key"]).isin(about.external_ids), "group"])
    return None


def _warnings(context: Run, loaded: Loaded, applied: Applied) -> list[str]:
    found, header = [], loaded.header
    if header.applied_at is not None and header.applied_run != context.run_id:
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
