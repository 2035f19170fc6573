"""Which photo of a product is shown first: one, also where the head office calls several primary."""

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

import orjson
import pandas as pd

from imagesync_pipelines.connectors.edge.model import Body, Photo, fingerprint
from imagesync_pipelines.sync.model import PlanRow, Undone

Written = tuple[PlanRow, Photo, Body | None]
"""A row that is written: the photo, and its picture where that is new."""
Payloads = Callable[[Sequence[str]], pd.DataFrame]
"""Looks up photos by their keys: the columns key and payload, the JSON text of a Photo's fields; a row each."""
# Before every sort_order that a column holds: the primary's place in its product, whatever its order.
FIRST = -(2**31) - 1


def places(is_primary: pd.Series, sort_order: pd.Series) -> pd.Series:
    """The place of each photo in its product: what is replaced at the head office has the same one."""
    return sort_order.astype("Int64").mask(is_primary, FIRST)


def second_primaries(mirror: pd.DataFrame, there: Collection[str]) -> list[str]:
    """The keys of photos that the head office calls primary although another one of their product is.

    The first by their order is, of several the newest. mirror: with the columns of planning.LISTED_VALUES; a photo
    without an image counts for nothing. there: photos whose picture the store has. The first of these gives way when
    the picture of the other is written, and not before: that may fail.
    """
    second, waits = _second_and_waiting(mirror, there)
    return sorted(second - waits)


def _second_and_waiting(mirror: pd.DataFrame, there: Collection[str]) -> tuple[set[str], set[str]]:
    """All second primaries, and those of them that wait for the picture of the first."""
    usable = (mirror["checksum"] != "") & (mirror["size"] > 0)
    rows = mirror[usable & (mirror["is_primary"] == "true")]
    several = rows[rows["group_key"].duplicated(keep=False)]
    ordered = several.sort_values("key").sort_values("updated_at", ascending=False, kind="stable")
    ordered = ordered.sort_values("sort_order", kind="stable")
    firsts = ordered.drop_duplicates("group_key").set_index("group_key")["key"]
    second = ordered[ordered["group_key"].duplicated()]
    waits = second[second["key"].isin(there) & ~second["group_key"].map(firsts).isin(there)]
    return set(second["key"]), set(waits.drop_duplicates("group_key")["key"])


def with_one_primary(
    mirror: pd.DataFrame,
    payloads: Payloads,
    there: Collection[str],
    undone: Mapping[str, Undone] = MappingProxyType({}),
) -> tuple[pd.DataFrame, Payloads]:
    """The mirror and its payloads with one primary photo of each product; see second_primaries.

    undone: what a person undid, by key. One that was not primary in what was undone waits for nothing: that is what the
    head office still wants of it, and the photo that it would wait for was undone too.
    """
    second, waits = _second_and_waiting(mirror, there)
    if not second:
        return mirror, payloads
    told = zip(*_columns(payloads(sorted(second))), strict=True)
    prints = {key: fingerprint(Photo.from_payload(orjson.loads(_not_primary(text)))) for key, text in told}
    waits = {key for key in waits if key not in undone or undone[key].wanted != prints[key]}
    chosen = frozenset(second - waits)

    def changed(keys: Sequence[str]) -> pd.DataFrame:
        found = payloads(keys)
        texts = [_not_primary(text) if key in chosen else text for key, text in zip(*_columns(found), strict=True)]
        return found.assign(payload=pd.Series(texts, index=found.index, dtype="str"))

    rows = mirror["key"].isin(chosen)
    return mirror.assign(
        is_primary=mirror["is_primary"].mask(rows, "false"),
        fingerprint=mirror["fingerprint"].mask(rows, mirror["key"].map(prints)).astype("str"),
    ), changed


def with_one_primary_each(written: Sequence[Written]) -> list[Written]:
    """What is written in one commit, with one primary photo of each product.

    One that waited for the picture of the new one gives way to it, though its row was planned before that was there.
    """
    primaries: dict[str, list[Written]] = {}
    for one in written:
        if one[1].is_primary:
            primaries.setdefault(one[1].product_id, []).append(one)
    first = {product: min(several, key=_how_old) for product, several in primaries.items()}
    return [one if not one[1].is_primary or one is first[one[1].product_id] else _given_way(*one) for one in written]


def _how_old(one: Written) -> tuple[bool, bool]:
    row, _, body = one
    return body is None, row.key_before is not None


def _given_way(row: PlanRow, photo: Photo, body: Body | None) -> Written:
    photo = photo._replace(is_primary=False)
    return row._replace(fingerprint_after=fingerprint(photo)), photo, body


def _columns(found: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    return found["key"], found["payload"]


def _not_primary(text: str) -> str:
    return orjson.dumps({**orjson.loads(text), "is_primary": False}).decode()
