"""Listings and Plytix's products to a plan: which images go into which gallery, which is the thumbnail,
what it costs.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil

import orjson
import pandas as pd

from imagesync_pipelines.connectors.plytix.galleries import (
    IN_GALLERY,
    IN_GALLERY_AND_THUMBNAIL,
    Known,
    Row,
    keys_shown,
    picture_key,
    row_key,
    rows_frame,
    rows_of,
)
from imagesync_pipelines.connectors.plytix.model import Listing, ListingImage, PlytixProduct
from imagesync_pipelines.connectors.plytix.rules import MAIN
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.sync.frames import REJECTED_COLUMNS
from imagesync_pipelines.sync.guard import guard
from imagesync_pipelines.sync.model import EFFECTS, Change, DeletionLimits, PlanCost, Scope
from imagesync_pipelines.sync.plan import build_plan, group_states

UNKNOWN_PRODUCT = "Plytix has no product with this SKU (yet); nothing is written, the next run looks again"
# One row per group that changes: what applying needs of it, as JSON.
PAYLOAD_COLUMNS = ("group", "task")
_WRITTEN = (Change.ADD, Change.UPDATE)


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


@dataclass(frozen=True)
class Task:
    """What is to be known of one product to write it.

    images: those of its listing, in order. is_parent: whether the listing is a parent of others. product: as it was
    when the plan was made.
    """

    product: PlytixProduct
    images: tuple[ListingImage, ...]
    is_parent: bool = False

    @property
    def main(self) -> ListingImage | None:
        """The picture for the thumbnail; None without MAIN."""
        return next((image for image in self.images if image.variant == MAIN), None)

    def as_json(self) -> str:
        """Everything as JSON text; `from_json` is the way back."""
        images = [image._asdict() for image in self.images]
        task = {"product": self.product._asdict(), "images": images, "is_parent": self.is_parent}
        return orjson.dumps(task).decode()

    @classmethod
    def from_json(cls, text: str) -> "Task":
        """The task that `as_json` was made from."""
        task = orjson.loads(text)
        product = PlytixProduct(**{**task["product"], "gallery": tuple(task["product"]["gallery"])})
        return cls(product, tuple(ListingImage(**image) for image in task["images"]), task["is_parent"])


@dataclass(frozen=True)
class GalleryPlan:
    """A guarded plan of galleries and thumbnails.

    plan: the engine's PLAN columns; a row is one picture on one product, and its fingerprint says whether it is the
    thumbnail. held: removals that were held back. states: the digests of the groups as they are. payload:
    PAYLOAD_COLUMNS. uploads: the pictures that Plytix does not have yet (or gets again), key to URL. unknown: SKUs that
    Plytix does not have. skipped: SKUs left alone because their gallery holds images. wrong_order: SKUs whose gallery
    will be in another order than their listing.
    """

    plan: pd.DataFrame
    held: pd.DataFrame
    states: Mapping[str, str]
    payload: pd.DataFrame
    cost: PlanCost
    warnings: tuple[str, ...]
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
) -> GalleryPlan:
    """Plan from listings (one per SKU), Plytix's products by SKU, and the ledger.

    windows: the account's limits, for the minutes. incomplete: SKUs of which an image could not be read; what their
    listing lacks is not taken for gone. Neither is anything where a listing has no image at all. A listing without MAIN
    leaves the thumbnail as it is.
    """
    unknown = tuple(listing.sku for listing in listings if listing.sku not in products)
    there = [listing for listing in listings if listing.sku in products]
    skipped = tuple(listing.sku for listing in there if policy.skip_existing and products[listing.sku].gallery)
    left_alone = frozenset(skipped)
    planned = [listing for listing in there if listing.sku not in left_alone]
    current = {
        listing.sku: rows_of(products[listing.sku], _keys(listing), known, with_left=policy.remove_missing)
        for listing in planned
    }
    wanted = [row for listing in planned for row in _wanted(listing, current[listing.sku], policy)]
    whole = {listing.sku for listing in planned if listing.images and listing.sku not in incomplete}
    wanted_keys = {row.key for row in wanted}
    absent = {row.key for sku in whole for row in current[sku] if row.key not in wanted_keys}
    groups = frozenset(listing.sku for listing in listings) - left_alone
    scope = Scope(groups, None, frozenset(absent))
    tasks = {listing.sku: Task(products[listing.sku], listing.images, listing.is_parent) for listing in planned}
    rows = [row for some in current.values() for row in some]
    rejected = [row for listing in listings if listing.sku in unknown for row in _rejected(listing)]
    built = build_plan(
        rows_frame(wanted),
        rows_frame(rows),
        scope,
        rejected=pd.DataFrame(rejected, columns=list(REJECTED_COLUMNS)).astype("str"),
        force=policy.force,
    )
    guarded = guard(built, scope, deletion_limits)
    uploads = _uploads(guarded.plan, tasks, known, policy)
    wrong_order = tuple(sku for sku, task in tasks.items() if _ends_in_wrong_order(task, known, policy))
    return GalleryPlan(
        plan=guarded.plan,
        held=guarded.held,
        states=group_states(rows_frame(rows)),
        payload=payload_of(guarded.plan, tasks),
        uploads=uploads,
        unknown=unknown,
        skipped=skipped,
        wrong_order=wrong_order,
        cost=cost_of(guarded.plan, len(uploads), policy.strategy, windows),
        warnings=(
            *guarded.warnings,
            *_warnings(unknown, wrong_order, _left(planned, products, known, policy)),
            *_variants(guarded.plan, products),
        ),
    )


def plan_removals(
    products: Mapping[str, PlytixProduct], known: Known, deletion_limits: DeletionLimits, windows: Sequence[Window]
) -> GalleryPlan:
    """Plan to take out of these products' galleries every image that we put there: their listings are gone.

    Only by patch; other people's images stay, and so does the thumbnail.
    """
    rows = [row for product in products.values() for row in rows_of(product, (), known, with_left=True)]
    current = rows_frame(rows)
    scope = Scope(frozenset(products), None, frozenset(row.key for row in rows))
    guarded = guard(build_plan(rows_frame(()), current, scope), scope, deletion_limits)
    tasks = {sku: Task(product, ()) for sku, product in products.items()}
    return GalleryPlan(
        plan=guarded.plan,
        held=guarded.held,
        states=group_states(current),
        payload=payload_of(guarded.plan, tasks),
        cost=cost_of(guarded.plan, 0, "patch", windows),
        warnings=guarded.warnings,
    )


def payload_of(plan: pd.DataFrame, tasks: Mapping[str, Task]) -> pd.DataFrame:
    """PAYLOAD_COLUMNS of the groups that change."""
    groups = sorted(set(plan.loc[plan["change"].isin(EFFECTS), "group"]))
    rows = [(group, tasks[group].as_json()) for group in groups]
    return pd.DataFrame(rows, columns=list(PAYLOAD_COLUMNS)).astype("str")


def tasks_of(payload: pd.DataFrame) -> dict[str, Task]:
    """The tasks of a payload, by group."""
    return {group: Task.from_json(text) for group, text in zip(payload["group"], payload["task"], strict=True)}


def images_of(tasks: Mapping[str, Task]) -> dict[tuple[str, str], ListingImage]:
    """The images of the tasks' listings, by SKU and canonical key."""
    return {(sku, image.key): image for sku, task in tasks.items() for image in task.images}


def uploads_of(plan: pd.DataFrame, tasks: Mapping[str, Task]) -> dict[str, str]:
    """Every picture that a plan writes, key to URL, in the order of the plan; which of them are known is not asked."""
    written = plan[plan["change"].isin(_WRITTEN)]
    images = images_of(tasks)
    pairs = zip(written["group"], map(picture_key, written["key"]), strict=True)
    return {key: images[group, key].url for group, key in pairs}


def _keys(listing: Listing) -> list[str]:
    return [image.key for image in listing.images]


def _wanted(listing: Listing, current: Sequence[Row], policy: Policy) -> Iterator[Row]:
    """The rows of a listing; what nobody says anything about (a thumbnail without MAIN, the order of links) stays."""
    now = {row.key: row for row in current}
    main = listing.main
    for image in listing.images:
        key = row_key(listing.sku, image.key)
        before = now.get(key)
        fingerprint = IN_GALLERY_AND_THUMBNAIL if main is not None and image.key == main.key else IN_GALLERY
        if main is None and before is not None:
            fingerprint = before.fingerprint
        keeps_place = policy.strategy == "link" and before is not None
        yield Row(key, listing.sku, before.position if keeps_place and before else image.position, fingerprint)


def _rejected(listing: Listing) -> Iterator[tuple[str, str, str]]:
    for image in listing.images:
        yield row_key(listing.sku, image.key), listing.sku, UNKNOWN_PRODUCT


def _uploads(plan: pd.DataFrame, tasks: Mapping[str, Task], known: Known, policy: Policy) -> dict[str, str]:
    assets = known.assets()
    urls = uploads_of(plan, tasks)
    return {key: url for key, url in urls.items() if policy.force or key not in assets}


def _ends_in_wrong_order(task: Task, known: Known, policy: Policy) -> bool:
    """Whether the gallery, once the missing images are appended, is in another order than the listing."""
    if policy.strategy != "link":
        return False
    wanted = [image.key for image in task.images]
    shown = [key for key in keys_shown(task.product, known) if key in set(wanted)]
    return shown + [key for key in wanted if key not in shown] != wanted


def _left(planned: Sequence[Listing], products: Mapping[str, PlytixProduct], known: Known, policy: Policy) -> int:
    """How many images that we put into galleries left their listings and stay, because nothing says to remove them."""
    if policy.remove_missing:
        return 0
    return sum(
        (listing.sku, key) in known.links
        for listing in planned
        for key in keys_shown(products[listing.sku], known).keys() - set(_keys(listing))
    )


def _warnings(unknown: Sequence[str], wrong_order: Sequence[str], left: int) -> list[str]:
    found = []
    if unknown:
        found.append(f"Plytix has no product for {len(unknown)} listings, such as {unknown[0]}; they wait for it.")
    if wrong_order:
        found.append(
            f"{len(wrong_order)} galleries, such as that of {wrong_order[0]}, will be in another order than their "
            "listings; PLYTIX_STRATEGY=patch puts them in order."
        )
    if left:
        found.append(f"{left} images that left their listings stay in the galleries; PLYTIX_REMOVE_MISSING is off.")
    return found


def _variants(plan: pd.DataFrame, products: Mapping[str, PlytixProduct]) -> Iterator[str]:
    """A warning of products that are variants in Plytix: their own values hide what would flow from their parents."""
    changing = sorted(set(plan.loc[plan["change"].isin(EFFECTS), "group"]))
    found = [sku for sku in changing if products[sku].parent_id is not None]
    if found:
        yield (
            f"{len(found)} products, such as {found[0]}, are variants in Plytix; where images are inherited there, "
            "their own hide those of their parents, and PLYTIX_INHERITED_GALLERIES has to be true."
        )


def cost_of(plan: pd.DataFrame, uploads: int, strategy: str, windows: Sequence[Window]) -> PlanCost:
    """Calls and minutes to apply a plan: uploads, then links and thumbnails, or one call per product.

    Forced rows are reckoned as if each upload gave another asset. The reads that a stored plan needs are not in it.
    """
    changing = plan[plan["change"].isin(EFFECTS)]
    if strategy == "patch":
        writes = changing["group"].nunique()
    else:
        links = changing["change"] == Change.ADD
        gets_thumbnail = (changing["fingerprint_after"] == IN_GALLERY_AND_THUMBNAIL) & (
            changing["fingerprint_before"] != IN_GALLERY_AND_THUMBNAIL
        )
        forced = changing["reason"] == "forced"
        writes = int(links.sum()) + int(gets_thumbnail.sum()) + int(forced.sum())
    calls = uploads + int(writes)
    return PlanCost(calls, 0, minutes_for(calls, windows))


def minutes_for(calls: int, windows: Sequence[Window]) -> float:
    """Minutes that so many calls take at least: the slowest window rules."""
    seconds = [(ceil(calls / window.calls) - 1) * window.seconds for window in windows if calls]
    return round(max(seconds, default=0) / 60, 1)
