"""The plan of an account, made from what was read and stored with all that applying needs; and that of a clean-up."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.galleries import picture_key
from imagesync_pipelines.connectors.plytix.ledger import Run, ledger_of
from imagesync_pipelines.connectors.plytix.model import ImagesChosen, ProductsRead
from imagesync_pipelines.connectors.plytix.options import GalleryCleanupOptions, GalleryPlanOptions
from imagesync_pipelines.connectors.plytix.planning import (
    GalleryPlan,
    Policy,
    Task,
    images_of,
    plan_galleries,
    plan_removals,
    tasks_of,
)
from imagesync_pipelines.connectors.plytix.quality import SMALL_SIDE, picture_fetcher, picture_url
from imagesync_pipelines.connectors.plytix.reading import open_pim
from imagesync_pipelines.connectors.plytix.report import Basis, Done, basis_of, bounded, keep_report, make_report
from imagesync_pipelines.connectors.plytix.rules import SKU_PREFIX
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.connectors.plytix.sources import Sources, read_sources
from imagesync_pipelines.sync.handovers import CLEAN_UP
from imagesync_pipelines.sync.model import EFFECTS
from imagesync_pipelines.sync.planned import Planned, deletion_limits, plan_result, store_plan
from imagesync_pipelines.sync.report import changing_rows
from imagesync_pipelines.sync.steps import Json, Pictures, StepResult, Table, Texts

DOUBTFUL = "The file has entries that cannot be read, which may be any product, so nothing counts as gone; the first: "
# As many as the UI shows of a plan.
SHOWN_PICTURES = 12


@dataclass(frozen=True)
class GalleriesPlanned:
    """A stored plan of one account and what there is to tell about it.

    planned: as it is stored; its plan has `variant` and `image_url` for people. galleries: what it was made of. report:
    as if the run ended here. left: calls that the account has left, by seconds of the window.
    """

    plan_id: int
    planned: Planned
    galleries: GalleryPlan
    report: dict[str, Any]
    left: dict[int, int]


def plan(context: Run, options: GalleryPlanOptions) -> StepResult:
    """The step `plan`; see make_plan."""
    with open_pim(context) as api:
        made = make_plan(context, api, options)
    fetch = picture_fetcher(context.installation.settings)
    return told(
        context,
        made,
        pictures=Pictures(pictures_shown(made.planned.plan, context.settings, SHOWN_PICTURES), fetch),
        left_in_plytix=Table(calls_left(made.left)),
    )


def make_plan(context: Run, api: PlytixApi, options: GalleryPlanOptions) -> GalleriesPlanned:
    """Plan from the listings and the products as this run's lineage read them, and store the plan.

    Asks Plytix for a token at most. The plan of a dry run is carried out only by its number. Where no product could be
    read, nothing is planned. Raises HandOverMissingError when they were not read.
    """
    chosen = context.need("images", ImagesChosen)
    read = context.need("products", ProductsRead)
    settings = context.settings
    policy = Policy(settings.strategy, settings.remove_missing, options.skip_existing, options.force_reupload)
    products = {product.sku: product for product in read.products}
    known = ledger_of(context).known()
    galleries = plan_galleries(
        () if read.stopped else chosen.listings,
        products,
        known,
        policy,
        deletion_limits(context.installation.settings, lifted=options.allow_mass_delete),
        api.limits(),
        incomplete=chosen.incomplete,
    )
    basis = basis_of(
        chosen.listings,
        products,
        known,
        galleries.payload["group"],
        chosen.set_aside,
        read.unknown,
        source_file=chosen.source,
        skip_existing=options.skip_existing,
        force=options.force_reupload,
    )
    return _stored(context, api, galleries, policy, basis, read, chosen.warnings, dry_run=options.dry_run)


def clean_up(context: Run, options: GalleryCleanupOptions) -> StepResult:
    """The step of the job `cleanup`; see plan_cleanup."""
    with open_pim(context) as api:
        made = plan_cleanup(context, api, options)
    return told(context, made)


def plan_cleanup(context: Run, api: PlytixApi, options: GalleryCleanupOptions) -> GalleriesPlanned:
    """Plan to take out what we put into galleries of products that a mapping file does not have; nothing is written.

    The file speaks for the marketplaces that it has entries of, and for no other. Raises SettingsError, MappingError,
    AccountBusyError and the errors of Plytix.
    """
    shared, ledger = context.installation.settings, ledger_of(context)
    source = read_sources(options.missing_from, "", shared)
    said = source.told
    gone: list[str] = []
    doubtful = [entry for entry in source.set_aside if not entry.where.startswith(SKU_PREFIX)]
    if doubtful:
        said = (*said, f"{DOUBTFUL}{doubtful[0].where}: {doubtful[0].reason}.")
    else:
        gone = missing_skus(ledger.linked_skus(), source)
    calls = api.calls
    with context.lock():
        products = api.search_products(gone)
    read = ProductsRead(
        run_id=context.run_id,
        read_at=context.clock(),
        products=tuple(products.values()),
        unknown=tuple(sku for sku in gone if sku not in products),
        calls=api.calls - calls,
    )
    known = ledger.known()
    limits = deletion_limits(shared, lifted=options.allow_mass_delete)
    galleries = plan_removals(products, known, limits, api.limits())
    basis = basis_of(
        (), products, known, (), source.set_aside, (), source_file=source.source, skip_existing=False, force=False
    )
    policy = Policy("patch", remove_missing=True)
    return _stored(context, api, galleries, policy, basis, read, said, made_for=CLEAN_UP)


def missing_skus(linked: list[str], read: Sources) -> list[str]:
    """Of the products that we put images on, those of the file's marketplaces that the file does not have."""
    there = {item.sku for item in read.items}
    spoken_for = tuple({f"{SKU_PREFIX}{item.marketplace}-" for item in read.items})
    return [sku for sku in linked if sku.startswith(spoken_for) and sku not in there]


def _stored(
    context: Run,
    api: PlytixApi,
    galleries: GalleryPlan,
    policy: Policy,
    basis: Basis,
    read: ProductsRead,
    said: tuple[str, ...],
    *,
    dry_run: bool = False,
    made_for: str = "",
) -> GalleriesPlanned:
    """Store a plan with what applying and reporting need of it; `said` are warnings of the steps before.

    read: the products that it was made from. dry_run, made_for: it is the end of its run, whose report says that
    nothing was written.
    """
    ends_here = dry_run or bool(made_for)
    left = {one.window.seconds: one.left for one in api.left()}
    tasks = tasks_of(galleries.payload)
    assets = ledger_of(context).known().assets()
    report = make_report(basis, Done(), tasks, assets, ended_at=context.clock(), dry_run=ends_here)
    planned = Planned(
        plan=with_pictures(galleries.plan, tasks),
        held=galleries.held,
        cost=galleries.cost,
        states=galleries.states,
        payload=[galleries.payload],
        scope={
            "strategy": policy.strategy,
            "remove_missing": policy.remove_missing,
            "force": policy.force,
            "read_at": read.read_at.isoformat(),
            "stopped": read.stopped,
            "goes_on_at": read.goes_on_at.isoformat() if read.goes_on_at else None,
            "basis": basis.as_json(),
        },
        warnings=(*said, *galleries.warnings, *_more_warnings(galleries, read, left)),
        calls=read.calls if read.run_id == context.run_id else 0,
    )
    plan_id = store_plan(context, planned, dry_run=dry_run, made_for=made_for)
    if ends_here:
        keep_report(context.installation.storage, context.run_id, report)
    return GalleriesPlanned(plan_id, planned, galleries, report, left)


def _more_warnings(galleries: GalleryPlan, read: ProductsRead, left: dict[int, int]) -> list[str]:
    found = []
    if read.stopped:
        found.append(f"The products could not be read, so nothing was planned or changed: {read.stopped}")
    hour = max(left, default=0)
    if galleries.cost.calls > left.get(hour, galleries.cost.calls):
        found.append(
            f"The plan needs {galleries.cost.calls} calls and the account has {left[hour]} left for {hour // 60} "
            "minutes; what does not fit waits for the next run."
        )
    return found


def told(context: Run, made: GalleriesPlanned, **more: Pictures | Table) -> StepResult:
    """What a plan tells, whichever job made it."""
    galleries = made.galleries
    return plan_result(
        context,
        made.planned,
        made.plan_id,
        cost=plan_cost(galleries),
        changes=changes_table(made.planned.plan),
        shown={
            "unknown_products": Texts(galleries.unknown),
            "skipped_products": Texts(galleries.skipped),
            "wrong_order": Texts(galleries.wrong_order),
            "report": Json(bounded(made.report)),
            **more,
        },
    )


def plan_cost(galleries: GalleryPlan) -> str:
    """What applying the plan costs, in a sentence."""
    cost = galleries.cost
    pace = f", at least {cost.minutes:g} minutes at the account's pace" if cost.minutes else ""
    return f"{cost.calls} calls to Plytix, {len(galleries.uploads)} uploads among them{pace}."


def calls_left(left: dict[int, int]) -> pd.DataFrame:
    """How many calls our share of the account's limits has left, by window."""
    return pd.DataFrame(sorted(left.items()), columns=["seconds of the window", "calls left"])


def with_pictures(rows: pd.DataFrame, tasks: dict[str, Task]) -> pd.DataFrame:
    """A plan with the variant and the URL of every picture that changes, for people; '' for the others."""
    images = images_of(tasks)
    found = [images.get((group, picture_key(key))) for group, key in zip(rows["group"], rows["key"], strict=True)]
    return rows.assign(
        variant=pd.Series([image.variant if image else "" for image in found], index=rows.index, dtype="str"),
        image_url=pd.Series([image.url if image else "" for image in found], index=rows.index, dtype="str"),
    )


def changes_table(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows that change, of every kind some first: change, product, variant, picture, what it becomes, reason."""
    changing = changing_rows(rows)
    named = changing.assign(
        product=changing["group"],
        picture=changing["key"].map(picture_key),
        becomes=changing["fingerprint_after"].fillna("-"),
    )
    return named.loc[:, ["change", "product", "variant", "picture", "becomes", "reason"]]


def pictures_shown(rows: pd.DataFrame, settings: PlytixSettings, number: int) -> list[tuple[str, str]]:
    """The first pictures that change, each once: label and the URL of a small copy."""
    found: dict[str, str] = {}
    changing = rows[rows["change"].isin(EFFECTS)]
    for key, variant in zip(changing["key"], changing["variant"], strict=True):
        found.setdefault(picture_key(key), variant)
        if len(found) == number:
            break
    return [
        (f"{variant or '?'} {key}", picture_url(key, settings, longest_side=SMALL_SIDE))
        for key, variant in found.items()
    ]
