"""The plan and what comes of it: the steps plan, product_images, unmatched_articles and export."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.collector import collector_paused
from imagesync_pipelines.connectors.image_db import planning
from imagesync_pipelines.connectors.image_db.pages import CONNECTOR, Run
from imagesync_pipelines.connectors.image_db.planning import PlannedImages
from imagesync_pipelines.connectors.image_db.reading_steps import ERP_STEP, ErpLoad, products_seen, take_over_seen
from imagesync_pipelines.connectors.image_db.record_store import About, Batches, read_external_ids
from imagesync_pipelines.connectors.image_db.settings import ProductImageOptions, ProductImagePlanOptions
from imagesync_pipelines.languages import told
from imagesync_pipelines.products import table as products
from imagesync_pipelines.products.applying import apply_images, plan_images, write_unmatched
from imagesync_pipelines.products.article_rules import read_rules, said_by
from imagesync_pipelines.products.kept_exports import write_exports
from imagesync_pipelines.products.matching import digest_of
from imagesync_pipelines.products.showing import pictures_of_rows
from imagesync_pipelines.products.target import Payload, external_ids_of, read_asked, read_current
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.storage.plans import BATCH, KIND, PIECE, PlanHeader
from imagesync_pipelines.sync.carry_out import Loaded, load_plan
from imagesync_pipelines.sync.connector import NoOptions, RowPictures
from imagesync_pipelines.sync.model import EFFECTS, Proof, Scope
from imagesync_pipelines.sync.planned import Planned, plan_result, rows_to_show, store_plan
from imagesync_pipelines.sync.stale import SourceNow
from imagesync_pipelines.sync.steps import Pictures, Shown, StepResult, Table, Texts
from imagesync_pipelines.upstream.fetch import FetchPolicy, fetch_image

THUMBNAIL_BYTES = 2 * 1024 * 1024
THUMBNAIL_SECONDS = 5.0
# As many as the UI shows of a plan.
SHOWN_PICTURES = 12
# In a plan's scope: when the products last changed before it was made.
_PRODUCTS_AT = "products_at"
# In a plan's scope: what people said of article numbers when it was made.
_RULES = "article_rules"
# In a plan's scope: the run that only looked at the products that the plan was made from.
_PRODUCTS_SEEN_BY = "products_seen_by"


class ProductImagesPlanned(NamedTuple):
    """A stored plan: as it is stored (`product` is SKU and name, for people), what was wanted, and of which batch."""

    plan_id: int
    planned: Planned
    images: PlannedImages
    about: About


def plan(context: Run, options: ProductImagePlanOptions) -> StepResult:
    """What would change in product_image, row by row with its reason; nothing is changed yet.

    Removals need the proof of a complete scan and pass the deletion limits; what is held back is listed.
    """
    plan_id, planned, images, about = make_plan(context, options)
    rules = images.matched["matched_by"].value_counts()
    rules = rules[rules > 0]
    said = ", ".join(f"{number} by {rule}" for rule, number in rules.items())
    changes = rows_to_show(planned.plan[["change", "product", "key", "reason"]])
    changes = changes.assign(image=external_ids_of(changes["key"]))
    hosts = frozenset(context.installation.settings.allowed_image_hosts)
    policy = FetchPolicy(allowed_hosts=hosts, max_bytes=THUMBNAIL_BYTES, total_deadline=THUMBNAIL_SECONDS)
    written = changes[changes["change"].isin(["add", "update"])].head(SHOWN_PICTURES)
    found = Batches(context.handovers).pictures(about.run_id, set(written["image"]))
    labels = zip(written["product"], written["image"], strict=True)
    pictures = [(product, url) for product, image in labels if (url := found.get(image, ("", ""))[0])]
    result = plan_result(
        context,
        planned,
        plan_id,
        cost=told(f"{len(changes)} rows of our own database; no call to the image database."),
        changes=changes.loc[:, ["change", "product", "image", "reason"]],
        shown={
            "pictures": Pictures(pictures, lambda url: fetch_image(url, policy).body),
            "matched_by": Table(pd.DataFrame({"rule": rules.index, "product images": rules.to_numpy()})),
            "unmatched": len(images.unmatched),
        },
        lines=[
            told(
                f"{about.records} images and {images.matched['product_id'].nunique()} products with "
                f"images were checked: {len(images.matched)} matches ({said or 'none'}), "
                f"{len(images.unmatched)} article links without a product, {len(images.unused)} images "
                "that no product shows."
            )
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
    erp = context.find(ERP_STEP, ErpLoad) if only_groups is None else None
    about = batches.about(batch) if batch is not None else batches.of(context.lineage)
    if erp is not None and erp.looked_at:
        products_at, all_products = erp.before, products_seen(context, erp)
    else:
        products_at, all_products = products.products_at(engine), products.read_products(engine)
    name = about.run_id
    digest, rules = digest_of(all_products), read_rules(engine)
    found = planning.plan_wanted(batches.records(name), all_products, batches.suggested(digest), rules)
    batches.keep_unmatched(name, found, digest)
    current = read_current(engine, context.connector)
    groups = only_groups if only_groups is not None else _groups_in_scope(about, found, current, all_products)
    all_products = all_products[["id", "sku", "name"]]  # of a catalogue's products the rest is most
    images = planning.cut_to(found, groups) if groups is not None else found
    scope = Scope(None, Proof(about.scan_id, about.complete, about.reason) if about.scope == "all" else None)
    judged = current
    if groups is not None:
        scope = Scope(frozenset(groups), None)
    elif about.scope == "pages":  # of the images that were not read it says nothing
        judged = current[external_ids_of(current["key"]).isin(images.read_ids)]
    rejects = planning.rejected_rows(about.rejects, judged, images.wanted)
    rejected = pd.concat([rejects, images.unusable], ignore_index=True).drop_duplicates("key")
    fresh_for, expiring = timedelta(hours=context.settings.image_db_fresh_hours), frozenset[str]()
    if images.signed:
        asked = read_asked(engine, context.connector)
        expiring = planning.expiring(batches.records(name), asked, context.clock(), fresh_for)
    planned = plan_images(
        context,
        images.wanted,
        current,
        scope,
        payload=images.matched,
        products=all_products,
        contents=partial(planning.contents, batches.records(name)),
        judged=judged,
        rejected=rejected,
        expiring=expiring,
        force=options.force,
        allow_mass_delete=options.allow_mass_delete,
    )
    planned = replace(
        planned,
        scope={
            **planned.scope,
            KIND: about.scope,
            BATCH: name,
            "skus": list(about.skus),
            "matched": len(images.matched),
            "unmatched": len(images.unmatched),
            _PRODUCTS_AT: products_at.isoformat() if products_at is not None else None,
            _RULES: said_by(rules),
            **({_PRODUCTS_SEEN_BY: erp.looked_at} if erp is not None and erp.looked_at else {}),
            **({PIECE: True} if only_groups is not None else {}),
        },
        warnings=(
            *(erp.warnings if erp is not None else ()),
            *about.warnings,
            *planning.signed_warnings(images.signed),
            *planned.warnings,
        ),
        scan_id=about.scan_id,
        of_some=about.scope != "all" or groups is not None,
        says=groups if groups is not None and _sees_all(about) else (),
        calls=about.api_calls,
        received=about.bytes_downloaded,
    )
    del current, judged, all_products
    plan_id = store_plan(context, planned, dry_run=options.dry_run, kept=batches.kept())
    return ProductImagesPlanned(plan_id, planned, images, about)


def product_images(context: Run, options: ProductImageOptions) -> StepResult:
    """The images of every product as shops and the ERP show them: the plan, applied product by product.

    A product whose images changed since the plan is refused and planned again next time (with `replan` at once, from
    the same records); a row that the database does not take goes to quarantine, the others go on. Exactly one image per
    product is primary; a pin stays. The plan of a dry run brings the ERP's products with it, as it saw them.

    Raises AccountBusyError, PlanMissingError, NoPlanOfThisRunError, and BatchMissingError when the records of the plan
    are no longer kept.
    """
    if options.dry_run:
        return StepResult(ends=told("Dry run: nothing was applied; see the plan."))
    loaded = load_plan(context, options.plan_id)
    batches, batch = Batches(context.handovers), str(loaded.scope.get(BATCH, ""))

    def payload(of: Loaded) -> AbstractContextManager[Payload]:
        return planning.open_payload(batches.records(str(of.scope[BATCH])), context.plans.need_payload(of.header.id))

    def again(groups: Collection[str]) -> Loaded:
        newer = next((name for name in batches.newer(batch) if batches.about(name).scope == "all"), batch)
        made = make_plan(context, ProductImagePlanOptions(), batch=newer, only_groups=groups)
        return load_plan(context, made.plan_id, by_person=False)

    taken_over = 0

    def first() -> None:
        nonlocal taken_over
        seen_by = str(loaded.scope.get(_PRODUCTS_SEEN_BY, ""))
        taken_over = take_over_seen(context, seen_by) if seen_by else 0

    done = apply_images(
        context,
        loaded,
        partial(known_now, context),
        payload,
        again if options.replan else None,
        again=told("plan again, or apply it with --replan"),
        first=first,
    )
    said = [told(f"{taken_over} products were taken over as the plan's run saw them in the ERP.")] if taken_over else []
    return replace(
        done,
        lines=[*said, *done.lines],
        shown={**done.shown, "unmatched_articles": int(loaded.scope.get("unmatched", 0))},
        details=lambda: (
            f"{key}: {change}, {reason}" if reason else f"{key}: {change}"
            for key, change, reason in loaded.rows[["key", "change", "reason"]].itertuples(index=False, name=None)
        ),
    )


def known_now(context: Run, loaded: Loaded) -> Iterator[SourceNow]:
    """What the image database is known to want of a plan's products, where pages, products or rules changed since.

    The plan's own records, for the products, and people's rules, as they are now; and those of newer readings, of which
    one that proves nothing shows what is there and not what is gone. A record that cannot be read is there.
    """
    batches, engine, scope = Batches(context.handovers), context.installation.engine, loaded.scope
    batch, moment = str(scope.get(BATCH, "")), products.products_at(engine)
    rules = read_rules(engine)
    moved = _PRODUCTS_AT in scope and scope[_PRODUCTS_AT] != (moment and moment.isoformat())
    moved |= scope.get(_RULES, said_by(rules)) != said_by(rules)
    names = [*([batch] if moved else []), *batches.newer(batch)]
    if not names:
        return
    planned = loaded.rows.loc[loaded.rows["change"].isin(EFFECTS), ["key", "group"]]
    all_products = products.read_products(engine)
    for name, about in ((name, batches.about(name)) for name in names):
        found = planning.plan_wanted(batches.records(name), all_products, None, rules)
        unread = planning.rejected_rows(about.rejects, planned, found.wanted)
        there = pd.concat([found.unusable["key"], unread["key"]])
        wanted = pd.concat([found.wanted[["key", "fingerprint"]], there.to_frame().assign(fingerprint=pd.NA)])
        yield SourceNow(
            wanted=wanted.astype("str").where(wanted.notna()),
            whole=None if name == batch or about.complete else frozenset(),
            by=told(f"scan {about.scan_id}") if name != batch else told("the ERP's products as they are now"),
        )


def unmatched_articles(context: Run, options: NoOptions) -> StepResult:
    """Article numbers that no product has, with the nearest candidates, and images without any article.

    The list for a product manager: each line is a number to correct in the image database or in the ERP. A plan from a
    part of the pages says nothing about other images: their rows stay.

    Raises NoPlanOfThisRunError.
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
    """The images that are shown for every product, as files for other systems: CSV, NDJSON, Parquet, Merchant feed.

    All files are of one moment, and each is replaced whole or not at all. When no row has changed since they were
    written they stay; what is missing or damaged is written again.
    """
    first = context.settings.image_db_own_images_first
    made = write_exports(context.installation.engine, context.installation.storage, own_images_first=first)
    files = Texts([told(f"{path}: {size:,} bytes") for path, size in made.sizes.items()])
    shown: dict[str, Shown] = {"files": files, "left_out_of_merchant_feed": Texts(made.left_out)}
    return StepResult(rows=made.rows, size=sum(made.sizes.values()), shown={**shown, "written_anew": made.anew})


def match_lines(images: PlannedImages) -> Iterator[str]:
    """One line per match of an image with a product, and one per article link without; for debugging."""
    matched = images.matched
    for key, rule in zip(matched["key"], matched["matched_by"], strict=True):
        yield told(f"{key}: matched by {rule}")
    links = images.unmatched
    for external_id, number, reason in zip(links["external_id"], links["number"], links["reason"], strict=True):
        yield told(f"image {external_id}: article {number} is not matched, {reason}")


def pictures_of(
    engine: sa.Engine, storage: UPath, header: PlanHeader, rows: Sequence[Mapping[str, Any]]
) -> list[RowPictures]:
    """What a page shows of rows of a plan; a plan knows the pictures of the records that it was made from."""
    batches = Batches(HandOvers(engine, storage, CONNECTOR))

    def of_plan(plan: PlanHeader, keys: Collection[str]) -> dict[str, tuple[str, str]]:
        images = {key: key.partition("/")[2] for key in keys}
        urls = batches.pictures(str(plan.scope.get(BATCH, "")), set(images.values()))
        return {key: urls[image] for key, image in images.items() if image in urls}

    return pictures_of_rows(engine, storage, header, rows, of_plan)


def _sees_all(about: About) -> bool:
    """Whether a batch has all images of the products that it is about."""
    return about.scope in {"all", "skus"} and about.complete and not about.rejects


def _groups_in_scope(
    about: About, planned: PlannedImages, current: pd.DataFrame, all_products: pd.DataFrame
) -> frozenset[str] | None:
    if about.scope == "skus":
        return planning.groups_of_skus(about.skus, all_products)
    if about.scope == "images":
        both = pd.concat([planned.wanted[["key", "group"]], current[["key", "group"]]])
        return frozenset(both.loc[external_ids_of(both["key"]).isin(about.external_ids), "group"])
    return None
