"""The mirror of the head office and a store's table to a plan: what is written, what needs bytes, what it costs."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.connectors.edge.primaries import Payloads, places
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.sync.frames import among, in_scope
from imagesync_pipelines.sync.guard import Guarded, approved, guard, is_limited
from imagesync_pipelines.sync.model import Change, DeletionLimits, PlanCost, Scope
from imagesync_pipelines.sync.plan import build_plan

# What applying needs of every row that is added or updated; photo is the JSON of a Photo's fields.
PAYLOAD_COLUMNS = ("key", "needs_bytes", "photo")
# The JSON of so many photos is in memory at one time.
ROWS_PER_PORTION = 1_000
NO_IMAGE_UPSTREAM = N_("no image upstream")
UNKNOWN_PRODUCT = N_("the store does not have this product yet; the photo waits for it")
# What people know a product by.
PRODUCT_VALUES = ("product_sku", "product_name")
_MISMATCH = N_("checksum mismatch: listed {listed}")
_TOO_LARGE = N_("listed with {size} bytes; {allowed} are allowed (EDGE_MAX_PHOTO_MB)")

# What planning needs to know of every photo that the head office lists, beside storage.mirror.MIRROR_COLUMNS.
LISTED_VALUES: Mapping[str, pa.DataType] = MappingProxyType(
    dict.fromkeys(("checksum", "is_primary", "updated_at", *PRODUCT_VALUES), pa.large_string())
    | dict.fromkeys(("size", "sort_order"), pa.int64())
)

PhotosByKey = Callable[[Sequence[str]], Mapping[str, tuple[Photo, bool]]]


@dataclass(frozen=True)
class PhotoPlan(Guarded):
    """A guarded plan of a store's photos.

    written: key, needs_bytes and size of the rows that are added or updated, or would be if a person approved what is
    held, in the order of the plan. waiting: photos (id to product id) whose product the store does not have; they are
    rejects of the plan.
    """

    written: pd.DataFrame
    waiting: Mapping[str, str]
    cost: PlanCost


def plan_photos(
    mirror: pd.DataFrame,
    current: pd.DataFrame,
    scope: Scope,
    deletion_limits: DeletionLimits,
    *,
    unknown_products: Collection[str] = (),
    max_bytes: int,
    pace_seconds: float = 0.0,
) -> PhotoPlan:
    """Plan from what the head office lists (mirror) and what the store has (current, as store.read_current gives it).

    mirror: key (photo id), group_key (product id), fingerprint and LISTED_VALUES, as storage.mirror.read_mirror gives
    it, without what is gone, with one primary of each product. A photo with other bytes in the place of one that is
    gone is one update of that row. unknown_products: those that the store does not have. max_bytes: of one photo.
    Only rows whose checksum is not that of the store's picture need bytes; a replaced photo with the same bytes is an
    update without them. A photo that moved out of an excluded product (deletion_limits.memory) counts as gone there, so
    that the guard keeps it. Raises ValueError for frames that are otherwise.
    """
    listed, there = _listed(mirror, unknown_products, max_bytes), current[["key", "group"]]
    if deletion_limits.memory.excluded:
        excluded = pd.Series(list(deletion_limits.memory.excluded), dtype="str")
        theirs = current.loc[among(current["group"], excluded), "key"]
        listed = listed[~among(listed["key"], theirs) | among(listed["group"], excluded)]
    waiting = listed.loc[listed["reject"] == UNKNOWN_PRODUCT, ["key", "group"]]
    waiting = waiting[~among(waiting["key"], current["key"])]
    # Photos that are only marked as pending: writing them is an addition, or the end of a rename.
    bare = current.loc[~current["has_bytes"], "key"]
    current = _in_group_of(listed, current.drop(index=bare.index[among(bare, listed["key"])]))
    listed = listed[in_scope(listed["group"], scope)]
    usable = listed["reject"] == ""
    rejected = listed.loc[~usable, ["key", "group", "reject"]].rename(columns={"reject": "reason"})
    built = build_plan(listed[usable], current, scope, rejected=rejected, match_position=True)
    guarded = guard(built, scope, deletion_limits, owned=there)
    written = written_of(approved(guarded.plan), listed, current)
    fetched = written[written["needs_bytes"] & among(written["key"], _changed(guarded.plan)["key"])]
    calls, size = len(fetched), int(fetched["size"].sum())
    most = int(written["needs_bytes"].sum()) if is_limited(guarded.plan) else 0
    cost = PlanCost(calls, size, round(calls * pace_seconds / 60, 1), most)
    parked = dict(zip(waiting["key"], waiting["group"], strict=True))
    return PhotoPlan(guarded.plan, guarded.held, guarded.owned, guarded.warnings, written, parked, cost)


def payload_of(written: pd.DataFrame, payloads: Payloads) -> Iterator[pd.DataFrame]:
    """The payload of a plan's written rows in portions, one at least: PAYLOAD_COLUMNS, to be kept beside the plan.

    payloads: asked for the photos of each portion, in the order of the plan; of the state that was planned with.
    """
    for first in range(0, max(1, len(written)), ROWS_PER_PORTION):
        rows = written.iloc[first : first + ROWS_PER_PORTION]
        found = payloads(list(rows["key"])).set_index("key")["payload"]
        yield rows[["key", "needs_bytes"]].assign(photo=found.loc[list(rows["key"])].array)


def photos_of(payload: Iterable[pd.DataFrame]) -> PhotosByKey:
    """Look up photos, each once, and whether they need bytes, in the portions of a payload.

    No more of it is in memory than what was asked for when the photos are asked for in the order of the plan.
    """
    rows = (row for portion in payload for row in zip(*(portion[name] for name in PAYLOAD_COLUMNS), strict=True))
    ahead: dict[str, tuple[str, bool]] = {}

    def look_up(keys: Sequence[str]) -> Mapping[str, tuple[Photo, bool]]:
        missing = set(keys) - ahead.keys()
        while missing and (row := next(rows, None)):
            key, needs_bytes, text = row
            ahead[key] = text, bool(needs_bytes)
            missing.discard(key)
        found = ((key, *ahead.pop(key)) for key in keys)
        return {key: (Photo.from_payload(orjson.loads(text)), needs_bytes) for key, text, needs_bytes in found}

    return look_up


def product_labels(plan: pd.DataFrame, mirror: pd.DataFrame) -> pd.Series:
    """SKU and name of the product of every row of the plan, NA where the head office lists no photo of it.

    mirror: with the columns of LISTED_VALUES.
    """
    sku, name = (mirror[column].fillna("") for column in PRODUCT_VALUES)
    labels = _in_one_piece((sku + " " + name).str.strip())
    places = pc.index_in(_in_one_piece(plan["group"]), value_set=_in_one_piece(mirror["group_key"]))
    return pd.Series(labels.take(places), index=plan.index, dtype="str")


def mismatch_reason(listed: str, received: str) -> str:
    """What a row says whose bytes are not the listed ones; both are MD5 checksums."""
    return told(f"{_MISMATCH.format(listed=listed)}, received {received}")


def is_second_mismatch(error_before: str, listed: str) -> bool:
    """Whether the row said so before of the same listed checksum.

    Once may be a replacement during the run; twice in a row is corruption, or a stale listing.
    """
    return error_before.startswith(_MISMATCH.format(listed=listed))


def _listed(mirror: pd.DataFrame, unknown: Collection[str], max_bytes: int) -> pd.DataFrame:
    """The mirror as the engine's wanted rows, with size and reject: why a photo is not to be fetched ('': it is)."""
    size, reject = mirror["size"], pd.Series("", index=mirror.index, dtype="str")
    large = size > max_bytes
    reject[among(mirror["group_key"], pd.Series(list(unknown), dtype="str"))] = UNKNOWN_PRODUCT
    reject[large] = size[large].astype("str").map(lambda one: _TOO_LARGE.format(size=one, allowed=max_bytes))
    reject[(mirror["checksum"] == "") | (size <= 0)] = NO_IMAGE_UPSTREAM
    listed = mirror.rename(columns={"group_key": "group", "checksum": "content"})
    return listed[["key", "group", "fingerprint", "content", "size"]].assign(
        position=places(mirror["is_primary"] == "true", mirror["sort_order"]), reject=reject
    )


def _in_group_of(listed: pd.DataFrame, current: pd.DataFrame) -> pd.DataFrame:
    """Current with a photo that moved to another product in that product's group: it is one row that changes."""
    places = pc.index_in(_in_one_piece(current["key"]), value_set=_in_one_piece(listed["key"]))
    before = _in_one_piece(current["group"])
    after = pc.coalesce(_in_one_piece(listed["group"]).take(places), before)
    return current if after.equals(before) else current.assign(group=pd.Series(after, index=current.index, dtype="str"))


def _in_one_piece(texts: pd.Series) -> pa.Array:
    """A column of texts without its index; one that was read in portions is in as many pieces."""
    found = pa.array(texts)
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def written_of(plan: pd.DataFrame, listed: pd.DataFrame, current: pd.DataFrame) -> pd.DataFrame:
    """The rows that are added or updated, with their size and whether they need bytes."""
    written = _changed(plan)[["key", "key_before"]]
    photos = listed.loc[among(listed["key"], written["key"]), ["key", "content", "size"]]
    rows = written.merge(photos, on="key", how="left")
    pictures = current.loc[current["has_bytes"] & among(current["key"], written["key_before"]), ["key", "checksum"]]
    held = rows.merge(pictures.rename(columns={"key": "key_before"}), on="key_before", how="left")["checksum"]
    return rows.assign(needs_bytes=held.isna() | (held != rows["content"]))[["key", "needs_bytes", "size"]]


def _changed(plan: pd.DataFrame) -> pd.DataFrame:
    return plan[plan["change"].isin([Change.ADD, Change.UPDATE])]
