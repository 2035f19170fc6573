"""Listings and Plytix's products to a plan: which images go into which gallery, which is the thumbnail, the cost."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil

import pandas as pd
from pydantic import TypeAdapter

from imagesync_pipelines.connectors.plytix.gallery import (
    IN_GALLERY,
    IN_GALLERY_AND_THUMBNAIL,
    Known,
    Row,
    keys_shown,
    picture_key,
    row_key,
    rows_of,
)
from imagesync_pipelines.connectors.plytix.model import Listing, ListingImage, PlytixProduct
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.sync.frames import REJECTED_COLUMNS, row_frame
from imagesync_pipelines.sync.guard import approved, guard, is_limited
from imagesync_pipelines.sync.model import EFFECTS, Change, DeletionLimits, PlanCost, Scope
from imagesync_pipelines.sync.plan import build_plan, group_states
from imagesync_pipelines.sync.planned import Planned

UNKNOWN_PRODUCT = N_("Plytix has no product with this SKU (yet); nothing is written, the next run looks again")
# One row per group that changes: what applying needs of it, as JSON.
PAYLOAD_COLUMNS = ("group", "task")
# The changes after which a picture is there.
WRITTEN = (Change.ADD, Change.UPDATE)


@dataclass(frozen=True)
class Policy:
    """How galleries are kept.

    strategy: `link` appends, `patch` writes whole galleries. remove_missing: take out what left a listing, if we put it
    there. skip_existing: leave products alone that have any image. force: upload every image again.
    """

    strategy: str
    remove_missing: bool = False
    skip_existing: bool = False
    force: bool = False


def policy_of(settings: PlytixSettings) -> dict[str, str]:
    """The settings that decide what is written, as people know them."""
    return {"PLYTIX_STRATEGY": settings.strategy, "PLYTIX_REMOVE_MISSING": str(settings.remove_missing).lower()}


def fingerprint_of(listing: Listing, image: ListingImage) -> str | None:
    """What a product is to do with an image of its listing; None where the listing says nothing of a thumbnail."""
    if listing.main is None:
        return None
    return IN_GALLERY_AND_THUMBNAIL if image is listing.main else IN_GALLERY


# How a clean-up takes out what we put into galleries.
PATCH_REMOVING = Policy("patch", remove_missing=True)


@dataclass(frozen=True)
class Back:
    """What is to be known of a product to take back what a run did to its gallery.

    assets, places: of pictures that were there, by key; places count from 0. before, after: the gallery before the run
    and as it left it, empty where it only appended. thumbnail: the asset that was the thumbnail when the run set
    another one. put: the places that it gave to rows that it only put in order.
    """

    assets: Mapping[str, str]
    places: Mapping[str, int]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    thumbnail: str | None = None
    put: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Task:
    """What is to be known of one product to write it.

    images: those of its listing, in order. is_parent: whether the listing is a parent of others. product: as it was
    when the plan was made. whole: its gallery is written whole, whatever the strategy: appending would leave it, or has
    left it, in an order that is of our making and wrong. back: of the plan of an undo.
    """

    product: PlytixProduct
    images: tuple[ListingImage, ...]
    is_parent: bool = False
    whole: bool = False
    back: Back | None = None

    @property
    def keys(self) -> list[str]:
        """The keys of its images, in order."""
        return [image.key for image in self.images]


_TASK = TypeAdapter(Task)


@dataclass(frozen=True)
class GalleryPlan(Planned):
    """A guarded plan of galleries and thumbnails.

    plan: a row is one picture on one product, and its fingerprint says whether it is the thumbnail. payload: one frame
    of PAYLOAD_COLUMNS. uploads: the pictures that Plytix does not have yet (or gets again), key to URL. unknown: SKUs
    that Plytix does not have. skipped: SKUs left alone because their gallery holds images. wrong_order: SKUs whose
    gallery will be in another order than their listing.
    """

    payload: tuple[pd.DataFrame, ...] = ()
    uploads: Mapping[str, str] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    wrong_order: tuple[str, ...] = ()


def plan_galleries(
    listings: Sequence[Listing],
    products: Mapping[str, PlytixProduct],
    known: Known,
    policy: Policy,
    deletion_limits: DeletionLimits,
    windows: Sequence[Window],
    *,
    incomplete: Collection[str] = (),
    gone: bool = False,
) -> GalleryPlan:
    """Plan from listings (one per SKU), Plytix's products by SKU, and the ledger.

    windows: the account's limits, for the minutes. incomplete: SKUs of which an image could not be read; what their
    listing lacks is not taken for gone. Neither is anything where a listing has no image at all, unless the listings
    themselves are known to be `gone`. A listing without MAIN leaves the thumbnail as it is.
    """
    unknown = [listing for listing in listings if listing.sku not in products]
    there = [listing for listing in listings if listing.sku in products]
    skipped = [listing.sku for listing in there if policy.skip_existing and products[listing.sku].gallery]
    left_alone = frozenset(skipped)
    planned = [listing for listing in there if listing.sku not in left_alone]
    tasks = {listing.sku: _task(products[listing.sku], listing, known, policy) for listing in planned}
    current = [
        row
        for task in tasks.values()
        for row in rows_of(task.product, task.keys, known, with_left=policy.remove_missing)
    ]
    now = {row.key: row for row in current}
    wanted = [row for listing in planned for row in _wanted(tasks[listing.sku], listing, now, policy)]
    whole = {listing.sku for listing in planned if gone or (listing.images and listing.sku not in incomplete)}
    absent = {row.key for row in current if row.group in whole} - {row.key for row in wanted}
    scope = Scope(frozenset(listing.sku for listing in listings) - left_alone, None, frozenset(absent))
    rejected = [
        (row_key(listing.sku, image.key), listing.sku, UNKNOWN_PRODUCT)
        for listing in unknown
        for image in listing.images
    ]
    bad = pd.DataFrame(rejected, columns=list(REJECTED_COLUMNS)).astype("str")
    before, assets = row_frame(current), known.assets()
    held = held_rows(tasks, {sku: task.product for sku, task in tasks.items()}, known, policy)
    built = build_plan(row_frame(wanted), before, scope, rejected=bad, force=policy.force)
    owned = pd.DataFrame([(row_key(sku, key), sku) for sku, key in known.links], columns=["key", "group"])
    owned = pd.concat([owned.astype("str"), before[["key", "group"]]]).drop_duplicates("key")
    guarded = guard(built, scope, deletion_limits, owned=owned)

    def uploads_for(rows: pd.DataFrame) -> dict[str, str]:
        return {key: url for key, url in uploads_of(rows, tasks).items() if policy.force or key not in assets}

    def cost_of(rows: pd.DataFrame, uploads: int) -> PlanCost:
        return _cost(rows, tasks, uploads, policy.strategy, windows)

    uploads, if_approved = uploads_for(guarded.plan), approved(guarded.plan)
    cost = cost_of(guarded.plan, len(uploads))
    if is_limited(guarded.plan):
        cost = replace(cost, calls_if_approved=cost_of(if_approved, len(uploads_for(if_approved))).calls)
    made = GalleryPlan(
        plan=guarded.plan,
        held=guarded.held,
        owned=guarded.owned,
        cost=cost,
        states=group_states(held),
        says=frozenset(whole & tasks.keys()),
        payload=(payload_of(if_approved, tasks),),
        uploads=uploads,
        unknown=tuple(listing.sku for listing in unknown),
        skipped=tuple(skipped),
        wrong_order=tuple(
            sku
            for sku, task in tasks.items()
            if policy.strategy == "link" and not task.whole and _ends_in_wrong_order(task, known)
        ),
    )
    # Images that we put into galleries, that left their listings, and that nothing says to remove.
    left = sum(
        (sku, key) in known.links
        for sku, task in tasks.items()
        for key in keys_shown(task.product, known, as_linked=True).keys() - set(task.keys)
        if not policy.remove_missing
    )
    return replace(made, warnings=(*guarded.warnings, *_warnings(made, tasks, left)))


def held_rows(
    tasks: Mapping[str, Task], products: Mapping[str, PlytixProduct], known: Known, policy: Policy
) -> pd.DataFrame:
    """What these products hold of our pictures, as the engine compares it: what we put there, whatever we uploaded."""
    return row_frame(
        row
        for sku, product in products.items()
        for row in rows_of(product, tasks[sku].keys, known, with_left=policy.remove_missing, as_linked=True)
    )


def plan_removals(
    products: Mapping[str, PlytixProduct], known: Known, deletion_limits: DeletionLimits, windows: Sequence[Window]
) -> GalleryPlan:
    """Plan to take out of these products' galleries every image that we put there: their listings are gone.

    Only by patch; other people's images stay, and so does the thumbnail.
    """
    empty = [Listing(sku, "", "", is_parent=False, images=(), slots=0) for sku in products]
    return plan_galleries(empty, products, known, PATCH_REMOVING, deletion_limits, windows, gone=True)


def payload_of(plan: pd.DataFrame, tasks: Mapping[str, Task]) -> pd.DataFrame:
    """PAYLOAD_COLUMNS of the groups that change, in order."""
    changing = sorted(set(plan.loc[plan["change"].isin(EFFECTS), "group"]))
    rows = [(group, _TASK.dump_json(tasks[group]).decode()) for group in changing]
    return pd.DataFrame(rows, columns=list(PAYLOAD_COLUMNS)).astype("str")


def tasks_of(payload: pd.DataFrame) -> dict[str, Task]:
    """The tasks of a payload, by group."""
    return {group: _TASK.validate_json(text) for group, text in zip(payload["group"], payload["task"], strict=True)}


def images_of(tasks: Mapping[str, Task]) -> dict[tuple[str, str], ListingImage]:
    """The images of the tasks' listings, by SKU and canonical key."""
    return {(sku, image.key): image for sku, task in tasks.items() for image in task.images}


def uploads_of(plan: pd.DataFrame, tasks: Mapping[str, Task]) -> dict[str, str]:
    """Every picture that a plan writes, key to URL, in the order of the plan; which of them are known is not asked."""
    written = plan[plan["change"].isin(WRITTEN)]
    images = images_of(tasks)
    pairs = zip(written["group"], map(picture_key, written["key"]), strict=True)
    return {key: images[group, key].url for group, key in pairs}


def writes_of(plan: pd.DataFrame) -> tuple[dict[str, int], frozenset[str]]:
    """What a plan writes, for its report: links by SKU, and the SKUs whose thumbnail it sets."""
    added = plan.loc[plan["change"] == Change.ADD, "group"].value_counts()
    after, before = (plan[name].eq(IN_GALLERY_AND_THUMBNAIL) for name in ("fingerprint_after", "fingerprint_before"))
    sets = plan["change"].isin(WRITTEN) & after.fillna(False) & ~before.fillna(False)
    return {str(sku): int(number) for sku, number in added.items()}, frozenset(plan.loc[sets, "group"])


def _task(product: PlytixProduct, listing: Listing, known: Known, policy: Policy) -> Task:
    """A product's task; where appending ends in a wrong order and all of that is of our making, it is written whole."""
    task = Task(product, listing.images, listing.is_parent)
    mends = policy.strategy == "link" and _ends_in_wrong_order(task, known) and _is_as_we_appended(task, known)
    return replace(task, whole=mends)


def _is_as_we_appended(task: Task, known: Known) -> bool:
    """Whether our pictures stand in the gallery as our own links put them there, run by run, each in listing order.

    Then nobody else has said anything about their order.
    """
    sku, places = task.product.sku, {key: place for place, key in enumerate(task.keys)}
    shown = [key for key in keys_shown(task.product, known) if key in places]
    moments = known.linked_at
    if any((sku, key) not in moments for key in shown):
        return False
    return shown == sorted(shown, key=lambda key: (moments[sku, key], places[key]))


def _wanted(task: Task, listing: Listing, now: Mapping[str, Row], policy: Policy) -> Iterator[Row]:
    """The rows of a listing; what nobody says anything about (a thumbnail without MAIN, the order of links) stays."""
    for image in listing.images:
        key = row_key(listing.sku, image.key)
        before = now.get(key)
        position: int | None = image.position
        fingerprint = fingerprint_of(listing, image) or (IN_GALLERY if before is None else before.fingerprint)
        if before is not None and policy.strategy == "link" and not task.whole:
            position = before.position
        yield Row(key, listing.sku, position, fingerprint)


def _ends_in_wrong_order(task: Task, known: Known) -> bool:
    """Whether the gallery, once the missing images are appended, is in another order than the listing."""
    shown = [key for key in keys_shown(task.product, known) if key in task.keys]
    return shown + [key for key in task.keys if key not in shown] != task.keys


def _warnings(made: GalleryPlan, tasks: Mapping[str, Task], left: int) -> Iterator[str]:
    if made.unknown:
        yield told(
            f"Plytix has no product for {len(made.unknown)} listings, such as {made.unknown[0]}; they wait for it."
        )
    if made.wrong_order:
        yield (
            told(
                f"{len(made.wrong_order)} galleries, such as that of {made.wrong_order[0]}, will be in "
                "another order than their listings; PLYTIX_STRATEGY=patch puts them in order."
            )
        )
    if left:
        yield told(f"{left} images that left their listings stay in the galleries; PLYTIX_REMOVE_MISSING is off.")
    # The own values of a variant hide what would flow from its parent.
    changing = made.payload[0]["group"]
    variants = [sku for sku in changing if tasks[sku].images and tasks[sku].product.parent_id is not None]
    if variants:
        yield (
            told(
                f"{len(variants)} products, such as {variants[0]}, are variants in Plytix; where images are inherited "
                "there, their own hide those of their parents, and PLYTIX_INHERITED_GALLERIES has to be true."
            )
        )


def _cost(
    plan: pd.DataFrame, tasks: Mapping[str, Task], uploads: int, strategy: str, windows: Sequence[Window]
) -> PlanCost:
    """Calls and minutes to apply a plan: uploads, then links and thumbnails, or one call per product.

    Forced rows are reckoned as if each upload gave another asset. The reads that a stored plan needs are not in it.
    """
    changing = plan[plan["change"].isin(EFFECTS)]
    whole = changing["group"].map(lambda group: strategy == "patch" or tasks[group].whole).astype(bool)
    linked = changing[~whole]
    before, after = (linked[name].eq(IN_GALLERY_AND_THUMBNAIL) for name in ("fingerprint_before", "fingerprint_after"))
    thumbnails = after.fillna(False) & ~before.fillna(False)
    links = linked["change"].eq(Change.ADD).sum() + thumbnails.sum() + linked["reason"].eq("forced").sum()
    calls = uploads + int(links) + int(changing.loc[whole, "group"].nunique())
    return PlanCost(calls, 0, minutes_for(calls, windows))


def minutes_for(calls: int, windows: Sequence[Window]) -> float:
    """Minutes that so many calls take at least: the slowest window rules."""
    seconds = [(ceil(calls / window.calls) - 1) * window.seconds for window in windows if calls]
    return round(max(seconds, default=0) / 60, 1)
