"""The mirror of the head office and a store's table to a plan: what is written, what needs bytes, what it costs.

What belongs here: pure functions over frames. What does not: reading them (storage/mirror.py, store.py), the rules
themselves (rules.py), effects (applying.py).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from imagesync_pipelines.edge.model import Photo
from imagesync_pipelines.edge.rules import UNKNOWN_PRODUCT, why_unusable
from imagesync_pipelines.sync.frames import among
from imagesync_pipelines.sync.guard import guard
from imagesync_pipelines.sync.model import Brake, Change, PlanCost, Scope
from imagesync_pipelines.sync.plan import build_plan

# What applying needs of every row that is added or updated; photo is the JSON of Photo.as_json.
PAYLOAD_COLUMNS = ("key", "needs_bytes", "size", "photo")
_WRITTEN = (Change.ADD, Change.UPDATE)

# What planning needs to know of every photo that the head office lists, beside storage.mirror.MIRROR_COLUMNS.
LISTED_VALUES: Mapping[str, pa.DataType] = MappingProxyType({"checksum": pa.large_string(), "size": pa.int64()})

Payloads = Callable[[Sequence[str]], pd.DataFrame]
"""Looks up photos by their keys: the columns key and payload, which is the JSON text of Photo.as_json; a row each."""

PhotosByKey = Callable[[Sequence[str]], Mapping[str, tuple[Photo, bool]]]


@dataclass(frozen=True)
class PhotoPlan:
    """A guarded plan of a store's photos.

    plan: the engine's PLAN columns. held: the removals that were held back. payload: PAYLOAD_COLUMNS of the rows that
    are added or updated; keep it beside a stored plan. waiting: photos (id to product id) whose product the store does
    not have; they are rejects of the plan.
    """

    plan: pd.DataFrame
    held: pd.DataFrame
    payload: pd.DataFrame
    waiting: Mapping[str, str]
    cost: PlanCost
    warnings: tuple[str, ...]

    def counts(self) -> dict[str, int]:
        """Rows per change, all five of them."""
        found = self.plan["change"].value_counts()
        return {str(change): int(found.get(change, 0)) for change in Change}


def plan_photos(
    mirror: pd.DataFrame,
    current: pd.DataFrame,
    scope: Scope,
    brake: Brake,
    payloads: Payloads,
    *,
    unknown_products: Collection[str] = (),
    max_bytes: int,
    pace_seconds: float = 0.0,
) -> PhotoPlan:
    """Plan from what the head office lists (mirror) and what the store has (current, as store.read_current gives it).

    mirror: key (photo id), group_key (product id), fingerprint, checksum, size, as storage.mirror.read_mirror gives it,
    without what is gone. payloads: asked once, for the photos that are written. unknown_products: those that the store
    does not have. max_bytes: of one photo. Only rows whose checksum is not that of the store's picture need bytes; a
    replaced photo with the same bytes is an update without them. Raises ValueError for frames that are otherwise.
    """
    listed = _listed(mirror, frozenset(unknown_products), max_bytes)
    there = _in_group_of(listed, _without_announced(current, listed))
    usable = listed["reject"] == ""
    rejected = listed.loc[~usable, ["key", "group", "reject"]].rename(columns={"reject": "reason"})
    built = build_plan(listed[usable], there, scope, rejected=rejected)
    guarded = guard(built, scope, brake)
    payload = _payload(guarded.plan, listed, payloads, there)
    fetched = payload[payload["needs_bytes"]]
    calls, size = len(fetched), int(fetched["size"].sum())
    return PhotoPlan(
        plan=guarded.plan,
        held=guarded.held,
        payload=payload,
        waiting=_waiting(listed, current),
        cost=PlanCost(calls, size, round(calls * pace_seconds / 60, 1)),
        warnings=guarded.warnings,
    )


def photos_of(payload: pd.DataFrame) -> PhotosByKey:
    """Look up photos, and whether they need bytes, in a payload; the frame is small, the photos are made as asked."""
    rows = payload.set_index("key")

    def look_up(keys: Sequence[str]) -> Mapping[str, tuple[Photo, bool]]:
        found = rows.loc[list(keys)]
        photos = zip(found.index, found["photo"], found["needs_bytes"], strict=True)
        return {key: (Photo.from_payload(orjson.loads(text)), bool(needs)) for key, text, needs in photos}

    return look_up


def _listed(mirror: pd.DataFrame, unknown: frozenset[str], max_bytes: int) -> pd.DataFrame:
    """The mirror as the engine's wanted rows, with size and why it cannot be used ('': it can)."""
    values = zip(mirror["checksum"], mirror["size"], mirror["group_key"], strict=True)
    rejects = [
        why_unusable(checksum, size, max_bytes) or (UNKNOWN_PRODUCT if product_id in unknown else "")
        for checksum, size, product_id in values
    ]
    return pd.DataFrame(
        {
            "key": mirror["key"],
            "group": mirror["group_key"],
            "position": pd.Series(pd.NA, index=mirror.index, dtype="Int64"),
            "fingerprint": mirror["fingerprint"],
            "content": mirror["checksum"],
            "size": mirror["size"],
            "reject": pd.Series(rejects, index=mirror.index, dtype="str"),
        }
    )


def _without_announced(current: pd.DataFrame, listed: pd.DataFrame) -> pd.DataFrame:
    """Current without photos that are only marked as pending: writing them is an addition, or the end of a rename."""
    bare = current.loc[~current["has_bytes"], "key"]
    if bare.empty:
        return current
    return current.drop(index=bare.index[among(bare, listed["key"])])


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


def _payload(plan: pd.DataFrame, listed: pd.DataFrame, payloads: Payloads, current: pd.DataFrame) -> pd.DataFrame:
    written = plan.loc[plan["change"].isin(_WRITTEN), ["key", "key_before"]]
    photos = listed.loc[among(listed["key"], written["key"]), ["key", "content", "size"]]
    # The texts are most of it all: the other columns are put into their order, not they into another.
    texts = payloads(list(written["key"]))
    rows = texts[["key"]].merge(written, on="key").merge(photos, on="key")
    pictures = current.loc[current["has_bytes"] & among(current["key"], written["key_before"]), ["key", "checksum"]]
    held = rows.merge(pictures.rename(columns={"key": "key_before"}), on="key_before", how="left")["checksum"]
    return pd.DataFrame(
        {
            "key": rows["key"],
            "needs_bytes": held.isna() | (held != rows["content"]),
            "size": rows["size"],
            "photo": texts["payload"],
        }
    )


def _waiting(listed: pd.DataFrame, current: pd.DataFrame) -> dict[str, str]:
    waiting = listed.loc[listed["reject"] == UNKNOWN_PRODUCT, ["key", "group"]]
    if waiting.empty:
        return {}
    waiting = waiting[~among(waiting["key"], current["key"])]
    return dict(zip(waiting["key"], waiting["group"], strict=True))
