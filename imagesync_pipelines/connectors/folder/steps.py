"""The steps `plan` and `product_images`: what the files' names say of the ERP's products, and carrying it out."""

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Any

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from pydantic import Field
from upath import UPath

from imagesync_pipelines.connectors.folder.model import NAME, RULES_VERSION, FilesScan, FolderError, named
from imagesync_pipelines.connectors.folder.reading import Run
from imagesync_pipelines.languages import told
from imagesync_pipelines.products.applying import Unmatched, apply_images, plan_images, write_unmatched
from imagesync_pipelines.products.article_rules import read_rules
from imagesync_pipelines.products.file_names import canonical, stem, why_unclear
from imagesync_pipelines.products.matching import BY_PERSON, NO_RULES, ArticleRules, Matcher, products_of
from imagesync_pipelines.products.rules import alt_text
from imagesync_pipelines.products.showing import pictures_of_rows, pixels
from imagesync_pipelines.products.table import read_products
from imagesync_pipelines.products.target import VALUES, image_key, read_current, values_of
from imagesync_pipelines.storage import mirror, scans
from imagesync_pipelines.storage.contents import own_address
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.sync.carry_out import ApplyOptions, Loaded, load_plan
from imagesync_pipelines.sync.choosing import ChosenProducts, chosen_groups
from imagesync_pipelines.sync.connector import RowPictures
from imagesync_pipelines.sync.frames import in_scope
from imagesync_pipelines.sync.model import EFFECTS, Proof, Scope
from imagesync_pipelines.sync.planned import plan_result, store_plan
from imagesync_pipelines.sync.stale import SourceNow
from imagesync_pipelines.sync.steps import StepResult, Table

_FIELDS = dict.fromkeys(("sha256", "width", "height", "format"), pa.large_string())
_UNMATCHED = ["number", "variant", "external_id", "image_type", "image_url", "reason", "candidates"]


class FolderPlanOptions(ChosenProducts):
    """What a person may ask of a run: all of it is about the plan."""

    dry_run: bool = Field(False, description="nobody applies the plan without naming its number")
    allow_mass_delete: bool = Field(False, description="lift the deletion limits for this run")
    force: bool = Field(False, description="write every row again, also those that are as they should be")


def plan(context: Run, options: FolderPlanOptions) -> StepResult:
    """What would change on the ERP's products, file by file with its reason; nothing is changed yet.

    A file belongs to the product whose SKU its name says; files that name none are told. A dry run stores its plan and
    no more.

    Raises FolderError, which says what to do first, and UnknownSkuError.
    """
    engine, settings = context.installation.engine, context.settings
    groups = chosen_groups(context, options.skus)
    products = read_products(engine)
    if not products["in_erp"].any():
        raise FolderError("there are no products yet; set ERP_DATABASE_URL and run `imagesync sync image-db` first")
    found = context.find("files", FilesScan)
    scan = scans.get_scan(engine, found.scan_id) if found is not None else scans.latest_scan(engine, NAME)
    if scan is None:
        raise FolderError("the folder was never read; start the job folder__sync")
    with engine.connect() as connection:
        files = mirror.read_mirror(connection, NAME, "", _FIELDS)
    payload, lost = plan_files(files, products, settings.pattern, settings.url, read_rules(engine))
    scope = Scope(groups, Proof(scan.id, scan.state == scans.PROVEN, scan.reason))
    wanted = payload.loc[:, ["key", "group", "fingerprint"]].astype("str")
    wanted = wanted[in_scope(wanted["group"], scope)]
    planned = plan_images(
        context,
        wanted.assign(position=pd.Series(pd.NA, index=wanted.index, dtype="Int64")),
        read_current(engine, NAME),
        scope,
        payload=payload.drop(columns="group"),
        products=products,
        contents=lambda keys: keys.map(dict(zip(payload["key"], payload["original_url"], strict=True))),
        force=options.force,
        allow_mass_delete=options.allow_mass_delete,
    )
    warnings = [*(found.warnings if found is not None else ()), *planned.warnings]
    if len(lost):
        warnings.append(told(f"{len(lost)} files name no product, for example {lost['external_id'].iloc[0]}"))
    says = groups if groups is not None and scan.state == scans.PROVEN else ()
    planned = replace(planned, warnings=tuple(warnings), scan_id=scan.id, of_some=groups is not None, says=says)
    plan_id, rows = store_plan(context, planned, dry_run=options.dry_run), planned.plan
    changes = rows.loc[rows["change"].isin(EFFECTS), ["product", "change", "key", "reason"]]
    if not options.dry_run and groups is None:
        write_unmatched(engine, NAME, Unmatched(lost, lost.iloc[:0]))
    return plan_result(
        context,
        planned,
        plan_id,
        cost=told(f"{len(changes)} rows to write"),
        changes=changes,
        shown={"unmatched": Table(lost[["external_id", "number", "reason"]])},
        numbers={"files/unmatched": len(lost)},
    )


def product_images(context: Run, options: ApplyOptions) -> StepResult:
    """The folder's images of the ERP's products, as the plan has them; primaries are chosen over all sources.

    One picture that the database does not take stops no other; images of other sources stay as they are.
    """
    loaded = load_plan(context, options.plan_id)
    values = partial(values_of, context.plans.need_payload(loaded.header.id))
    return apply_images(context, loaded, partial(known_now, context), lambda _: nullcontext(values))


def known_now(context: Run, loaded: Loaded) -> Iterator[SourceNow]:
    """What the folder, as it was last listed, wants of the products as they are now."""
    engine, settings = context.installation.engine, context.settings
    with engine.connect() as connection:
        files = mirror.read_mirror(connection, NAME, "", _FIELDS)
    wanted, _ = plan_files(files, read_products(engine), settings.pattern, settings.url, read_rules(engine))
    scan = scans.latest_scan(engine, NAME)
    by = (
        told(f"scan {scan.id}")
        if scan is not None and scan.id != loaded.header.scan_id
        else told("the products as they are now")
    )
    yield SourceNow(wanted[["key", "fingerprint"]].astype("str"), whole=None, by=by)


def plan_files(
    files: pd.DataFrame, products: pd.DataFrame, pattern: str, url: str, rules: ArticleRules = NO_RULES
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What should be, from the files of the mirror (key, sha256, width, height, format) and all products.

    First the images: key, group and the columns of target.VALUES, metadata as text; original_url is the hash of the
    picture, so that a new name of it is a rename. Then the files that name no product, with the columns of
    Unmatched.unmatched. url: where the catalogue is reached. A file belongs to one product at most; rules: which one
    people said that a name, or the SKU that it says, is.
    """
    products = products.assign(sku=products["sku"].map(canonical))
    matcher = Matcher(products_of(products), rules)
    in_erp = set(products.loc[products["in_erp"], "id"])
    # A name has no code, and the rule of a product that left rests.
    said = frozenset(number for (number, code), product in rules.items() if not code and product in in_erp)
    skus = frozenset(products.loc[products["in_erp"], "sku"])
    rows: list[dict[str, Any]] = []
    lost: list[tuple[Any, ...]] = []
    known = skus | said
    for file in files.to_dict(orient="records"):
        path, address = str(file["key"]), own_address(url, str(file["sha256"]))
        name = named(path, re.compile(pattern), known)
        if name is None:
            lost.append((stem(path), "", path, "", address, told("the name does not fit FOLDER_PATTERN"), []))
            continue
        match = matcher.match(name.sku)
        unclear = "" if match.rule == BY_PERSON else why_unclear(stem(path), skus.__contains__)
        if match.product is None or unclear:
            near = [one._asdict() for one in matcher.nearest(name.sku)]
            lost.append((name.sku, "", path, "", address, unclear or match.reason, near))
            continue
        product = match.product
        text = alt_text(product.name, name.view)
        parts = (RULES_VERSION, file["sha256"], address, text, name.is_front, name.priority, match.rule)
        rows.append(
            {
                "key": image_key(product.id, path),
                "group": str(product.id),
                "image_url": address,
                "thumbnail_url": None,
                "image_type": name.view,
                "is_front": name.is_front,
                "priority": name.priority,
                "alt_text": text,
                "metadata": json.dumps({"file": path, "sha256": file["sha256"]}, ensure_ascii=False),
                "fingerprint": blake2b(repr(parts).encode(), digest_size=16).hexdigest(),
                "original_url": f"sha256:{file['sha256']}",
                "newest_export": None,
                "matched_by": match.rule,
                "chosen_because": told("the file as it is in the folder"),
                "width": int(file["width"]),
                "height": int(file["height"]),
                "image_format": file["format"],
            }
        )
    images = pd.DataFrame(rows, columns=["key", "group", *VALUES.names])
    return images, pd.DataFrame(lost, columns=_UNMATCHED)


def pictures_of(
    engine: sa.Engine, storage: UPath, header: PlanHeader, rows: Sequence[Mapping[str, Any]]
) -> list[RowPictures]:
    """What a page shows of rows of a plan; a plan knows the pictures of the rows that it writes."""

    def of_plan(plan: PlanHeader, keys: Collection[str]) -> dict[str, tuple[str, str]]:
        try:
            payload = Plans(engine, storage).need_payload(plan.id)
        except StorageError:
            return {}
        written = payload[payload["key"].isin(keys)]
        columns = (written[name] for name in ("key", "image_url", "width", "height"))
        return {key: (url, pixels(width, height)) for key, url, width, height in zip(*columns, strict=True)}

    return pictures_of_rows(engine, storage, header, rows, of_plan)
