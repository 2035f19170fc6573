"""Records and products to what the engine needs: wanted rows, rows that must not be touched, what matched nothing.

What belongs here: pure functions from the record store and the product rows to frames. What does not: the rules
themselves (rules.py, matching.py), the values written for a row (payload.py), the plan (sync/).
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, NamedTuple

import orjson
import pandas as pd
from upath import UPath

from imagesync_pipelines.image_db.matching import RULES, Matcher
from imagesync_pipelines.image_db.record_store import PageReject, Row, read_canonical, read_rows
from imagesync_pipelines.image_db.rules import RULES_VERSION, Product, candidates_of
from imagesync_pipelines.imaging.formats import Purpose, choose

NO_ARTICLE = "the image names no article"
NOT_SHOWABLE = "no format a browser can show yet"

_ROWS_PER_PART = 20_000
_REJECTED = ("key", "group", "reason")


class UnknownSkuError(Exception):
    """A product was asked for that the ERP does not have; the message names it."""


class _Match(NamedTuple):
    """One wanted product image: everything that payload.py needs beside the record, and the engine's content."""

    key: str
    product_id: int
    external_id: str
    is_front: bool
    matched_by: str
    product_name: str
    fingerprint: str
    min_height: int
    content: str | None


@dataclass(frozen=True)
class Planned:
    """What should be, as frames.

    wanted: key, group, position (NA), fingerprint, content (the original's URL); for the engine.
    matched: key, product_id, external_id, is_front, matched_by, product_name, fingerprint, min_height; a row per row of
    wanted. With the record store it is all that payload.py needs, so keep it beside a stored plan.
    unusable: key, group, reason; matched images without a file to show. Not a failure, but their rows stay as they are.
    unmatched: number, variant, external_id, image_type, image_url, reason, candidates (list of {sku, name, why}).
    unused: external_id, image_type, image_url, reason; images that no product shows although no number is wrong.
    read_ids: the external ids of all images that were looked at.
    """

    wanted: pd.DataFrame
    matched: pd.DataFrame
    unusable: pd.DataFrame
    unmatched: pd.DataFrame
    unused: pd.DataFrame
    read_ids: frozenset[str]


def image_key(product_id: int | str, external_id: str) -> str:
    """The engine's key of a product image: the product's id and the image's external id."""
    return f"{product_id}/{external_id}"


def products_of(frame: pd.DataFrame) -> list[Product]:
    """Product rows from a frame with the columns of rules.Product, as products.read_products gives it."""
    columns = frame.loc[:, list(Product._fields)].astype(object)
    return [Product(*values) for values in columns.where(columns.notna(), None).itertuples(index=False, name=None)]


def plan_wanted(records: UPath, products: pd.DataFrame, min_height: int) -> Planned:
    """What should be, from the record store and all products (those that left the ERP get no images).

    The same article linked twice by one record is one row, front if any of its links is. A row's fingerprint covers
    the record, the link, the product's name and the rules, so that a change of any of them rewrites the row.
    `min_height` in pixels is what a product page needs.
    """
    matcher = Matcher(products_of(products))
    parts: list[pd.DataFrame] = []
    matches: list[_Match] = []
    unusable: list[tuple[str, str, str]] = []
    unmatched: dict[tuple[str, str, str], tuple[str, str]] = {}
    unused: dict[str, tuple[str, str]] = {}
    read_ids: set[str] = set()
    for row in read_rows(records):
        read_ids.add(row.external_id)
        found = _match_links(matcher, row, unmatched)
        if not row.links:
            unused[row.external_id] = row.image_type, NO_ARTICLE
        elif not row.showable:
            unused[row.external_id] = row.image_type, NOT_SHOWABLE
            keys = [(image_key(product.id, row.external_id), str(product.id)) for product, _, _ in found]
            unusable += [(key, group, NOT_SHOWABLE) for key, group in keys]
        else:
            matches += [_matched(row, *match, min_height) for match in found]
        if len(matches) >= _ROWS_PER_PART:  # columns of text need a quarter of what rows of Python objects need
            parts.append(_frame(matches))
            matches.clear()
    urls = _picture_urls(records, {key[0] for key in unmatched} | unused.keys())
    rows = pd.concat([*parts, _frame(matches)], ignore_index=True)
    return Planned(
        wanted=_wanted(rows),
        matched=rows.drop(columns="content"),
        unusable=_rejected(unusable),
        unmatched=_unmatched(matcher, unmatched, urls),
        unused=pd.DataFrame(
            [(external_id, kind, urls[external_id], reason) for external_id, (kind, reason) in unused.items()],
            columns=["external_id", "image_type", "image_url", "reason"],
        ),
        read_ids=frozenset(read_ids),
    )


def rejected_rows(rejects: Sequence[PageReject], current: pd.DataFrame, wanted: pd.DataFrame) -> pd.DataFrame:
    """The rejects as the engine's `rejected` frame: key, group (may be NA), reason.

    A reject whose file_id is legible protects every row that its image has in `current`: what we cannot read is not
    gone. Where another page had the same image in good order (`wanted`), the good record counts.
    """
    rows_of = defaultdict(list)
    illegible = {reject.external_id for _, _, reject in rejects}
    for key, group in zip(current["key"], current["group"], strict=True):
        if (external_id := key.partition("/")[2]) in illegible:
            rows_of[external_id].append((key, group))
    good = set(wanted["key"])
    rows: dict[str, tuple[str, str | None, str]] = {}
    for page, place, reject in rejects:
        reason = f"page {page}: {reject.reason}"
        name = f"?/{reject.external_id}" if reject.external_id else f"page {page}, reject {place}"
        there = rows_of.get(reject.external_id or "", [(name, None)])
        rows.update({key: (key, group, reason) for key, group in there if key not in good})
    return _rejected(list(rows.values()))


def groups_of_skus(skus: Sequence[str], products: pd.DataFrame) -> frozenset[str]:
    """The groups of the products with these SKUs (parent or variant). Raises UnknownSkuError for a SKU nobody has."""
    asked = {sku.strip() for sku in skus}
    rows = products[products["sku"].str.strip().isin(asked)]
    missing = sorted(asked - set(rows["sku"].str.strip()))
    if missing:
        raise UnknownSkuError(f"the ERP has no product with the SKU {', '.join(missing)}; nothing was planned")
    return frozenset(rows["id"].astype(str))


def cut_to(planned: Planned, groups: Collection[str]) -> Planned:
    """The same, for these groups only; what matched nothing belongs to no group and is left out."""
    inside = planned.wanted["group"].isin(groups)
    return replace(
        planned,
        wanted=planned.wanted[inside].reset_index(drop=True),
        matched=planned.matched[inside].reset_index(drop=True),
        unusable=planned.unusable[planned.unusable["group"].isin(groups)].reset_index(drop=True),
        unmatched=planned.unmatched.iloc[:0],
        unused=planned.unused.iloc[:0],
    )


def _match_links(
    matcher: Matcher, row: Row, unmatched: dict[tuple[str, str, str], tuple[str, str]]
) -> list[tuple[Product, bool, str]]:
    """Product, front and rule of each product that this record's links name; the others go to `unmatched`."""
    found: dict[int, tuple[Product, bool, str]] = {}
    for number, variant, front in row.links:
        product, rule, reason = matcher.match(number, variant)
        if product is None:
            unmatched[row.external_id, number, variant] = row.image_type, reason
            continue
        if product.id in found:
            _, was_front, was_rule = found[product.id]
            front, rule = front or was_front, min(rule, was_rule, key=RULES.index)
        found[product.id] = product, front, rule
    return list(found.values())


def _matched(row: Row, product: Product, is_front: bool, rule: str, min_height: int) -> _Match:
    parts = (row.fingerprint, str(is_front), rule, str(RULES_VERSION), str(min_height), product.name)
    fingerprint = blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
    key = image_key(product.id, row.external_id)
    content = row.file_url or None
    return _Match(key, product.id, row.external_id, is_front, rule, product.name, fingerprint, min_height, content)


def _frame(matches: list[_Match]) -> pd.DataFrame:
    types = {"product_id": "int64", "is_front": "bool", "min_height": "int64"}
    return pd.DataFrame.from_records(matches, columns=_Match._fields).astype(
        {name: types.get(name, "str") for name in _Match._fields}
    )


def _wanted(rows: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "key": rows["key"],
            "group": rows["product_id"].astype("str"),
            "position": pd.Series(pd.NA, index=rows.index, dtype="Int64"),
            "fingerprint": rows["fingerprint"],
            "content": rows["content"],
        }
    )


def _rejected(rows: list[tuple[str, str, str]] | list[tuple[str, str | None, str]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(_REJECTED)).astype("str")


def _unmatched(
    matcher: Matcher, unmatched: dict[tuple[str, str, str], tuple[str, str]], urls: dict[str, str]
) -> pd.DataFrame:
    near: dict[tuple[str, str], list[dict[str, Any]]] = {}
    rows = []
    for (external_id, number, variant), (image_type, reason) in unmatched.items():
        if (number, variant) not in near:
            near[number, variant] = [candidate._asdict() for candidate in matcher.nearest(number, variant)]
        candidates = near[number, variant]
        rows.append((number, variant, external_id, image_type, urls[external_id], reason, candidates))
    columns = ["number", "variant", "external_id", "image_type", "image_url", "reason", "candidates"]
    return pd.DataFrame(rows, columns=columns)


def _picture_urls(records: UPath, external_ids: Collection[str]) -> dict[str, str]:
    """A URL to look at each of these images with: the thumbnail, else what a browser shows, else the original."""
    urls: dict[str, str] = {}
    for external_id, canonical in read_canonical(records, external_ids):
        record = orjson.loads(canonical)
        candidates = candidates_of(record)
        choice = choose(candidates, Purpose.THUMBNAIL) or choose(candidates, Purpose.LIST)
        urls[external_id] = choice.candidate.url if choice else record["original_file"].get("file_url") or ""
    return urls
