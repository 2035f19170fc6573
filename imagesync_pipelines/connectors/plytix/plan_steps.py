"""The plan of an account, made from what was read and stored with all that applying needs; and that of a clean-up."""

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from imagesync_pipelines import languages
from imagesync_pipelines.connectors.plytix import planning
from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.gallery import picture_key
from imagesync_pipelines.connectors.plytix.ledger import Run, identity_of, ledger_of
from imagesync_pipelines.connectors.plytix.model import ImagesChosen, ListingsRead, ProductsRead
from imagesync_pipelines.connectors.plytix.quality import SMALL_SIDE, picture_fetcher, picture_url
from imagesync_pipelines.connectors.plytix.report import basis_of, bounded, keep_report, make_report
from imagesync_pipelines.connectors.plytix.rules import SKU_PREFIX
from imagesync_pipelines.connectors.plytix.settings import GalleryCleanupOptions, GalleryPlanOptions
from imagesync_pipelines.connectors.plytix.sources import read_sources
from imagesync_pipelines.connectors.plytix.unmatched import whole_runs
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.plans import CLEAN_UP
from imagesync_pipelines.sync.planned import (
    POLICY,
    READ_SINCE,
    limits_of,
    plan_result,
    restored_note,
    rows_to_show,
    store_plan,
)
from imagesync_pipelines.sync.steps import Pictures, StepResult, Table, Texts

DOUBTFUL = N_(
    "The file has entries that cannot be read, which may be any product, so nothing counts as gone; the first: "
)
# As many as the UI shows of a plan.
SHOWN_PICTURES = 12


def plan(context: Run, options: GalleryPlanOptions, api: PlytixApi) -> StepResult:
    """What would change in Plytix, image by image with its reason, and what it costs; nothing is changed yet.

    Images that people added keep their place; removals need the setting for them and pass the deletion limits. Plytix
    is asked for a token at most. The plan of a dry run is carried out only by its number. Where no product could be
    read, nothing is planned.

    Raises HandOverMissingError when the listings or the products were not read.
    """
    chosen = context.need("images", ImagesChosen)
    read = context.need("products", ProductsRead)
    settings = context.settings
    policy = planning.Policy(settings.strategy, settings.remove_missing, options.skip_existing, options.force_reupload)
    galleries = planning.plan_galleries(
        () if read.stopped else chosen.listings,
        {product.sku: product for product in read.products},
        ledger_of(context).known(),
        policy,
        limits_of(context, lifted=options.allow_mass_delete),
        api.limiter.windows(),
        incomplete={entry.where for entry in chosen.set_aside},
    )
    restored_at, told = restored_note(context)
    everything = bool(restored_at) and not read.stopped and _is_everything(context, chosen)
    listed = context.find("listings", ListingsRead)
    galleries = replace(
        galleries,
        scope={READ_SINCE: restored_at if everything else ""},
        of_some=listed is None or not listed.whole,
        warnings=(*told, *galleries.warnings),
    )
    return _stored(context, api, galleries, policy, chosen, read, dry_run=options.dry_run)


def _is_everything(context: Run, chosen: ImagesChosen) -> bool:
    """Whether the listings are all that there are, or at least those of every product that we put anything into."""
    listed = context.find("listings", ListingsRead)
    if listed is None or listed.marketplace:
        return False
    return listed.whole or set(ledger_of(context).linked_skus()) <= {listing.sku for listing in chosen.listings}


def clean_up(context: Run, options: GalleryCleanupOptions, api: PlytixApi) -> StepResult:
    """Plan to take out what we put into galleries of products that a mapping file does not have; nothing is written.

    The file speaks for the marketplaces that it has entries of, and for no other. Raises SettingsError, MappingError,
    AccountBusyError and the errors of Plytix.
    """
    shared, ledger = context.installation.settings, ledger_of(context)
    source = read_sources(options.missing_from, "", shared)
    doubtful = [entry for entry in source.set_aside if not entry.where.startswith(SKU_PREFIX)]
    told = [f"{DOUBTFUL}{entry.where}: {entry.reason}." for entry in doubtful[:1]]
    there = {item.sku for item in source.items}
    spoken_for = tuple({f"{SKU_PREFIX}{item.marketplace}-" for item in source.items})
    linked = [] if doubtful else ledger.linked_skus()
    gone = [sku for sku in linked if sku.startswith(spoken_for) and sku not in there]
    calls = api.calls
    with context.lock():
        products = api.search_products(gone)
        if gone:
            identity_of(context, api.account).look(api.told())
    read = ProductsRead(run_id=context.run_id, read_at=context.clock(), calls=api.calls - calls)
    limits = limits_of(context, lifted=options.allow_mass_delete)
    galleries = planning.plan_removals(products, ledger.known(), limits, api.limiter.windows())
    chosen = ImagesChosen(source=source.source, set_aside=source.set_aside, warnings=(*source.warnings, *told))
    return _stored(context, api, galleries, planning.PATCH_REMOVING, chosen, read, made_for=CLEAN_UP)


def _stored(
    context: Run,
    api: PlytixApi,
    galleries: planning.GalleryPlan,
    policy: planning.Policy,
    chosen: ImagesChosen,
    read: ProductsRead,
    *,
    dry_run: bool = False,
    made_for: str = "",
) -> StepResult:
    """Store a plan with what applying and reporting need of it, and tell it.

    chosen, read: what it was made from. dry_run, made_for: it is the end of its run, whose report has the
    figures of the plan.
    """
    known = ledger_of(context).known()
    left = {one.window.seconds: one.left for one in api.limiter.left()}
    tasks = planning.tasks_of(galleries.payload[0])
    basis = basis_of(chosen, read, known, tasks, policy)
    images = planning.images_of(tasks)
    rows = galleries.plan
    pictures = rows["key"].map(picture_key)
    found = [images.get(shown) for shown in zip(rows["group"], pictures, strict=True)]
    galleries = replace(
        galleries,
        # For people, of every picture that changes.
        plan=rows.assign(
            variant=[image.variant if image else "" for image in found],
            image_url=[image.url if image else "" for image in found],
        ).astype({"variant": "str", "image_url": "str"}),
        scope={
            **galleries.scope,
            "strategy": policy.strategy,
            "remove_missing": policy.remove_missing,
            "force": policy.force,
            **({} if made_for else {POLICY: planning.policy_of(context.settings)}),
            **read.model_dump(mode="json", include={"read_at", "stopped", "goes_on_at"}),
            "basis": basis,
        },
        warnings=(*chosen.warnings, *galleries.warnings, *_more_warnings(galleries, read, left)),
        calls=read.calls if read.run_id == context.run_id else 0,
    )
    kept = whole_runs(context.installation.engine, context.account)
    plan_id = store_plan(context, galleries, dry_run=dry_run, made_for=made_for, kept=kept)
    ends_here = dry_run or bool(made_for)
    links, main = planning.writes_of(galleries.plan)
    report = make_report(
        basis,
        tasks,
        known.assets(),
        ended_at=context.clock(),
        dry_run=ends_here,
        uploaded=len(galleries.uploads),
        links=links,
        to_show_main=main,
    )
    if ends_here:
        keep_report(context.installation.storage, context.run_id, report)
    changing = rows_to_show(galleries.plan)
    changes = changing.assign(
        product=changing["group"],
        picture=changing["key"].map(picture_key),
        becomes=changing["fingerprint_after"].fillna("-"),
    )
    cost = galleries.cost
    pace = languages.told(f", at least {cost.minutes:g} minutes at the account's pace") if cost.minutes else ""
    first = changes.drop_duplicates("picture").head(0 if made_for else SHOWN_PICTURES)
    small = [
        (f"{variant or '?'} {key}", picture_url(key, context.settings, longest_side=SMALL_SIDE))
        for key, variant in zip(first["picture"], first["variant"], strict=True)
    ]
    return plan_result(
        context,
        galleries,
        plan_id,
        cost=languages.told(f"{cost.calls} calls to Plytix, {len(galleries.uploads)} uploads among them{pace}."),
        changes=changes.loc[:, ["change", "product", "variant", "picture", "becomes", "reason"]],
        shown={
            "unknown_products": Texts(galleries.unknown),
            "skipped_products": Texts(galleries.skipped),
            "wrong_order": Texts(galleries.wrong_order),
            "report": bounded(report),
            "pictures": Pictures(small, picture_fetcher(context.installation.settings)),
            "left_in_plytix": Table(
                pd.DataFrame(
                    sorted(left.items()),
                    columns=[languages.told("seconds of the window"), languages.told("calls left")],
                )
            ),
        },
    )


def _more_warnings(galleries: planning.GalleryPlan, read: ProductsRead, left: dict[int, int]) -> Iterator[str]:
    if read.stopped:
        yield languages.told(f"The products could not be read, so nothing was planned or changed: {read.stopped}")
    hour = max(left, default=0)
    if galleries.cost.calls > left.get(hour, galleries.cost.calls):
        yield (
            languages.told(
                f"The plan needs {galleries.cost.calls} calls and the account has {left[hour]} left for {hour // 60} "
                "minutes; what does not fit waits for the next run."
            )
        )
