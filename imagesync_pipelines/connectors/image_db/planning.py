"""Records and products to what the engine needs: wanted rows, rows that must not be touched, what matched nothing.

And the values of the rows that change: everything of a product image but its product, primary flag and last_synced.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from imagesync_pipelines.connectors.image_db.errors import BatchMissingError, UnknownSkuError
from imagesync_pipelines.connectors.image_db.record_store import WRITTEN, RejectLine, read_table, stored_texts
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.products.applying import Unmatched
from imagesync_pipelines.products.matching import (
    NO_RULES,
    RULES,
    ArticleRules,
    Matcher,
    canonical_texts,
    match_links,
    may_resemble,
    products_of,
)
from imagesync_pipelines.products.rules import ALT_TEXT_LENGTH, RULES_VERSION, alt_text, priority
from imagesync_pipelines.products.target import VALUES, Payload, external_ids_of
from imagesync_pipelines.storage.copying import frame_of
from imagesync_pipelines.sync.frames import among
from imagesync_pipelines.upstream.canonical import canonical_text, expires_at, is_signed

NO_ARTICLE = N_("the image names no article")
NOT_SHOWABLE = N_("no format a browser can show yet")

_LINK = ("number", "variant", "front")
# Words with a blank between them.
_PLAIN_TEXT = r"^[!-~\p{L}\p{N}]+( [!-~\p{L}\p{N}]+)*$"
# What of a row comes from its link and its product, and not from its record.
_OF_A_LINK = ("product_name", "is_front", "matched_by", "fingerprint")


@dataclass(frozen=True)
class PlannedImages(Unmatched):
    """What should be, as frames, and what no product shows.

    wanted: key, group, position (NA), fingerprint; for the engine, with `contents`.
    matched: key, product_id, external_id, is_front, matched_by, product_name, fingerprint; a row per row of wanted.
    With the record store it is all that open_payload needs, so keep it beside a stored plan.
    unusable: key, group, reason; matched images without a file to show. Not a failure, but their rows stay as they are.
    read_ids: the external ids of all images that were looked at, each once. signed: how many of those that are shown
    have no address but one that expires.
    """

    wanted: pd.DataFrame
    matched: pd.DataFrame
    unusable: pd.DataFrame
    read_ids: pd.Series
    signed: int


def plan_wanted(
    records: UPath,
    products: pd.DataFrame,
    suggested: Mapping[tuple[str, str], Any] | None = MappingProxyType({}),
    rules: ArticleRules = NO_RULES,
) -> PlannedImages:
    """What should be, from the record store and all products (those that left the ERP get no images).

    suggested: the candidates for unmatched numbers that were found among these very products before; None: nobody asks
    for candidates, and none are looked for. rules: which product people said that a number is.

    The same article linked twice by one record is one row, front if any of its links is. A row's fingerprint covers
    the record with its chosen files, the link, the product's name and the rules, so that a change of any of them
    rewrites the row. Works on columns: a row costs no Python object.
    """
    table = read_table(records)
    linked = _links(table)
    matches = match_links(products, linked["number"], linked["variant"], rules)
    found = matches.product_ids != 0
    hits = _product_images(linked[found], matches.product_ids[found], matches.rules[found])
    showable = np.asarray(pc.not_equal(table["image_format"], ""))[hits["record"]]
    urls = read_table(records, ["picture_url"])["picture_url"]
    near = _nearest(linked[~found], products, suggested)
    unmatched, unused = _unmatched(table, urls, linked[~found], near, matches.reasons), _unused(table, urls)
    signed = _signed(urls, hits[showable])
    del linked, matches, urls  # before the rows are made: of all that is planned at a time this is a third
    pa.default_memory_pool().release_unused()
    rows = _matched(table, hits[showable], products)
    hidden = _matched(table, hits[~showable], products)
    return PlannedImages(
        wanted=_wanted(rows),
        matched=rows,
        unusable=pd.DataFrame(
            {"key": hidden["key"], "group": hidden["product_id"].astype("str"), "reason": NOT_SHOWABLE}
        ).astype("str"),
        unmatched=unmatched,
        unused=unused,
        read_ids=table["external_id"].to_pandas(),
        signed=signed,
    )


def signed_warnings(signed: int) -> list[str]:
    """What a person has to know of images whose only address is signed or expires."""
    if not signed:
        return []
    return [
        told(
            f"{signed} images have only addresses that are signed or expire; they are stored as they "
            "came, are not written again for another signature but when their time is nearly over, and "
            "stop to work when it is. Have the image database give out addresses that stay."
        )
    ]


def expiring(
    records: UPath, stored: Mapping[str, Collection[str]], now: datetime, fresh_for: timedelta
) -> frozenset[str]:
    """The keys of rows whose address ends before the next run may come, and whose record has a later one by now.

    stored: the addresses of rows, by key. fresh_for: within which the next run is surely there. One that lives for less
    than half of that is no better than what is there: the rows would be written by every run.
    """
    ends = {key: end for key, urls in stored.items() if (end := _end_of(urls)) is not None and end < now + fresh_for}
    if not ends:
        return frozenset()
    ids = pa.array({key.partition("/")[2] for key in ends}, pa.string())
    table = read_table(records, ["external_id", "image_url", "thumbnail_url"])
    rows = table.filter(pc.is_in(table["external_id"], ids)).to_pylist()
    given = {row["external_id"]: _end_of(filter(None, (row["image_url"], row["thumbnail_url"]))) for row in rows}
    later = {key: given.get(key.partition("/")[2]) for key in ends}
    return frozenset(
        key for key, end in ends.items() if (new := later[key]) is not None and new >= max(now, end) + fresh_for / 2
    )


def _end_of(urls: Iterable[str]) -> datetime | None:
    """When the first of these addresses ends, as they say themselves."""
    return min(filter(None, map(expires_at, urls)), default=None)


def _signed(urls: pa.ChunkedArray, hits: pd.DataFrame) -> int:
    shown = urls.take(pa.array(hits["record"].unique()))
    return sum(map(is_signed, shown.filter(pc.match_substring(shown, "?")).to_pylist()))


def rejected_rows(rejects: Sequence[RejectLine], current: pd.DataFrame, wanted: pd.DataFrame) -> pd.DataFrame:
    """The rejects as the engine's `rejected` frame: key, group (may be NA), reason.

    A reject whose file_id is legible protects every row that its image has in `current`: what we cannot read is not
    gone. Where another page had the same image in good order (`wanted`), the good record counts.
    """
    illegible = {reject.external_id for reject in rejects if reject.external_id is not None}
    there = current[external_ids_of(current["key"]).isin(illegible)] if illegible else current.iloc[:0]
    rows_of = defaultdict(list)
    for key, group in zip(there["key"], there["group"], strict=True):
        rows_of[key.partition("/")[2]].append((key, group))
    good = set(there.loc[among(there["key"], wanted["key"]), "key"]) if len(there) else set()
    rows: dict[str, tuple[str, str | None, str]] = {}
    for reject in rejects:
        reason = told(f"page {reject.page}: {reject.reason}")
        name = f"?/{reject.external_id}" if reject.external_id else told(f"page {reject.page}, reject {reject.place}")
        found = rows_of.get(reject.external_id or "", [(name, None)])
        rows.update({key: (key, group, reason) for key, group in found if key not in good})
    return pd.DataFrame(list(rows.values()), columns=["key", "group", "reason"]).astype("str")


def groups_of_skus(skus: Sequence[str], products: pd.DataFrame) -> frozenset[str]:
    """The groups of the products with these SKUs (parent or variant). Raises UnknownSkuError for a SKU nobody has."""
    asked, known = set(map(canonical_text, skus)), canonical_texts(products["sku"])
    named = known.isin(asked)
    missing = sorted(asked - set(known[named]))
    if missing:
        raise UnknownSkuError(f"the ERP has no product with the SKU {', '.join(missing)}; nothing was planned")
    return frozenset(products.loc[named, "id"].astype(str))


def cut_to(planned: PlannedImages, groups: Collection[str]) -> PlannedImages:
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


@contextmanager
def open_payload(records: UPath, matched: pd.DataFrame) -> Iterator[Payload]:
    """A function from keys to their values, for the keys in `matched` (rows of PlannedImages.matched that change).

    The records are read once, in the order of the file; what is asked for is found by its product, without an object
    per row. Several threads may call the function at a time; it raises KeyError for a key that is not in `matched`.
    Raises BatchMissingError when a record is not in the record store.
    """
    ids = pa.array(matched["external_id"], pa.string())
    table = read_table(records, WRITTEN)
    chosen = pc.is_in(table["external_id"], ids).combine_chunks()
    table = table.filter(chosen).combine_chunks()
    record_of = pc.index_in(ids, table["external_id"].combine_chunks())
    if record_of.null_count:
        missing = ids.filter(pc.is_null(record_of)).unique()
        raise BatchMissingError(
            f"{len(missing)} planned images are not among the stored records, for example {missing[0]}; plan again"
        )
    order = pa.array(np.argsort(matched["product_id"].to_numpy(), kind="stable"))
    names = ("key", "product_id", *_OF_A_LINK)
    links = pa.table({**{name: pa.array(matched[name]) for name in names}, "record": record_of}).take(order)
    links = links.combine_chunks()
    with stored_texts(records, chosen) as texts_of:

        def values_of(keys: Iterable[str]) -> pa.Table:
            link = links.take(_places(links, pa.array(keys, pa.string())))
            places = link["record"].combine_chunks()
            values = table.take(places)
            columns = {name: part[name] for part in (values, link) for name in part.column_names}
            columns |= {
                "priority": priorities(values["image_type"], link["is_front"]),
                "alt_text": alt_texts(link["product_name"], values["image_type"]),
                "matched_by": link["matched_by"].cast(pa.string()),
                "metadata": texts_of(places),
                "original_url": pc.if_else(pc.equal(values["file_url"], ""), None, values["file_url"]),
            }
            return pa.table({name: columns[name] for name in VALUES.names}, VALUES)

        yield values_of


def _places(links: pa.Table, keys: pa.Array) -> pa.Array:
    """Where these keys are in the links, which are sorted by product. Raises KeyError for one that is not."""
    named = pc.replace_substring_regex(keys, r"(?s)/.*", "").cast(pa.int64())
    products, asked = links["product_id"].to_numpy(), np.unique(named)
    first, behind = np.searchsorted(products, asked), np.searchsorted(products, asked, side="right")
    sizes = behind - first
    near = np.repeat(first - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
    found = pc.index_in(keys, links["key"].take(pa.array(near)).combine_chunks().cast(pa.string()))
    if found.null_count:
        raise KeyError(keys[pc.index(found.is_null(), True).as_py()].as_py())
    return pa.array(near).take(found)


def priorities(kinds: pa.ChunkedArray, fronts: pa.ChunkedArray) -> pa.Array:
    """rules.priority of many images; there are few kinds."""
    coded = kinds.combine_chunks().dictionary_encode()
    of_kind = np.array([[priority(kind, front) for front in (False, True)] for kind in coded.dictionary.to_pylist()])
    return pa.array(of_kind[coded.indices.to_numpy(), np.asarray(fronts).astype(int)], pa.int64())


def alt_texts(names: pa.ChunkedArray, kinds: pa.ChunkedArray) -> pa.Array:
    """rules.alt_text of many images; nearly all are joined as they are."""
    names, kinds = (texts.cast(pa.string()).combine_chunks() for texts in (names, kinds))
    joined = pc.binary_join_element_wise(names, kinds, " - ")
    plain = pc.and_(*(pc.match_substring_regex(texts, _PLAIN_TEXT) for texts in (names, kinds)))
    odd = pc.or_(pc.invert(plain), pc.greater(pc.utf8_length(joined), ALT_TEXT_LENGTH))
    made = map(alt_text, names.filter(odd).to_pylist(), kinds.filter(odd).to_pylist())
    return pc.replace_with_mask(joined, odd, pa.array(made, pa.string()))


def _named(names: pa.ChunkedArray, codes: np.ndarray) -> pa.Array:
    """Names by their places, each kept once."""
    coded = pa.array(names.to_pylist(), pa.string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(coded.indices.take(pa.array(codes)), coded.dictionary)


def _links(table: pa.Table) -> pd.DataFrame:
    """All article links: record (its place in the table), number, variant, front."""
    lists = table["links"].combine_chunks()
    parts = pc.list_flatten(lists)
    columns = {"record": pc.list_parent_indices(lists), **{name: parts.field(name) for name in _LINK}}
    return frame_of(pa.table(columns))


def _product_images(linked: pd.DataFrame, product_ids: np.ndarray, rules: np.ndarray) -> pd.DataFrame:
    """Each product with each of its images once: record, product_id, front, rule (a place in RULES)."""
    found = linked[["record", "front"]].assign(product_id=product_ids, rule=rules)
    if found.duplicated(["record", "product_id"]).any():
        found = found.groupby(["record", "product_id"], sort=False, as_index=False).agg({"front": "any", "rule": "min"})
    return found


def _matched(table: pa.Table, hits: pd.DataFrame, products: pd.DataFrame) -> pd.DataFrame:
    """The rows of PlannedImages.matched; a fingerprint is that of the record with what the match adds."""
    ids, codes = np.unique(hits["product_id"].to_numpy(), return_inverse=True)
    name = pa.array(products["name"]).take(pd.Index(products["id"]).get_indexer(ids))
    digests = [blake2b(f"{RULES_VERSION}\n{text}".encode(), digest_size=8).hexdigest() for text in name.to_pylist()]
    own = table.select(["external_id", "fingerprint"]).take(pa.array(hits["record"]))
    front, rule = pa.array(hits["front"]), pa.array(hits["rule"])
    link = pc.binary_join_element_wise(pc.if_else(front, "front", "other"), rule.cast(pa.string()), "")
    fingerprint = pc.binary_join_element_wise(own["fingerprint"], pa.array(digests, pa.string()).take(codes), link, "-")
    product_id = pa.array(hits["product_id"])
    return frame_of(
        pa.table(
            {
                "key": pc.binary_join_element_wise(product_id.cast(pa.string()), own["external_id"], "/"),
                "product_id": product_id,
                "external_id": own["external_id"],
                "is_front": front,
                "matched_by": pa.array(RULES).take(rule).dictionary_encode(),
                "product_name": _named(name, codes),
                "fingerprint": fingerprint,
            }
        )
    )


def _wanted(rows: pd.DataFrame) -> pd.DataFrame:
    """What the engine needs of the matched rows, but for their contents."""
    return pd.DataFrame(
        {
            "key": rows["key"],
            "group": rows["product_id"].astype("str"),
            "position": pd.Series(pd.NA, index=rows.index, dtype="Int64"),
            "fingerprint": rows["fingerprint"],
        }
    )


def contents(records: UPath, keys: pd.Series) -> pd.Series:
    """The content of rows with these keys: the original's URL, which survives a new id; NA where there is none."""
    table = read_table(records, ["external_id", "file_url"])
    asked = pa.array(external_ids_of(keys).tolist(), pa.string())
    urls = table["file_url"].take(pc.index_in(asked, table["external_id"]))
    return pd.Series(pc.if_else(pc.equal(urls, ""), None, urls).to_pandas(), dtype="str").set_axis(keys.index)


def _unused(table: pa.Table, urls: pa.ChunkedArray) -> pd.DataFrame:
    """The images that no product shows: those without any article, and those without a file to show."""
    bare = pc.equal(pc.list_value_length(table["links"]), 0)
    reason = pc.if_else(bare, NO_ARTICLE, pc.if_else(pc.equal(table["image_format"], ""), NOT_SHOWABLE, None))
    shown = table.select(["external_id", "image_type"]).append_column("image_url", urls)
    return frame_of(shown.append_column("reason", reason).filter(pc.is_valid(reason)))


def _nearest(
    linked: pd.DataFrame, products: pd.DataFrame, suggested: Mapping[tuple[str, str], Any] | None
) -> Mapping[tuple[str, str], Any]:
    """What may have been meant by unmatched numbers with their codes, each a list of {sku, name, why}."""
    if suggested is None:
        return defaultdict(list)
    new = {pair for pair in zip(linked["number"], linked["variant"], strict=True) if pair not in suggested}
    if not new:
        return suggested
    matcher = Matcher(products_of(may_resemble(products, new)))
    return {**suggested, **{pair: [near._asdict() for near in matcher.nearest(*pair)] for pair in new}}


def _unmatched(
    table: pa.Table,
    urls: pa.ChunkedArray,
    linked: pd.DataFrame,
    near: Mapping[tuple[str, str], Any],
    reasons: dict[tuple[str, str], str],
) -> pd.DataFrame:
    """The links that matched nothing, each once per image, with what may have been meant."""
    links = linked.drop_duplicates(["record", "number", "variant"])
    pairs = list(zip(links["number"], links["variant"], strict=True))
    records = pa.array(links["record"])
    images = frame_of(table.select(["external_id", "image_type"]).take(records))
    return pd.DataFrame(
        {
            "number": links["number"].to_numpy(),
            "variant": links["variant"].to_numpy(),
            "external_id": images["external_id"],
            "image_type": images["image_type"],
            "image_url": urls.take(records).to_pandas(),
            "reason": pd.Series([reasons[pair] for pair in pairs], dtype="str"),
            "candidates": pd.Series([near[pair] for pair in pairs], dtype="object"),
        }
    )
