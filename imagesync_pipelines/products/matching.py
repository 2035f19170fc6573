"""Article numbers, as a source writes them on its pictures, to products of the ERP."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from itertools import islice
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.products.rules import StoredProduct
from imagesync_pipelines.sync.frames import among
from imagesync_pipelines.upstream.canonical import canonical_text

VARIANT_SKU = N_("variant sku")
VARIANT_BY_CODE = N_("parent's variant by code")
PARENT_SKU = N_("parent sku")
BY_PERSON = N_("a person's rule")
_SLIPS = (
    N_("it has this very number"),
    N_("two characters are swapped"),
    N_("a character is missing"),
    N_("a character too many"),
    N_("one character differs"),
)
# Goes up with what Matcher.nearest answers for the same products.
_SUGGESTED_AS = 1
# So many are held at one time: there are some hundred of each unmatched number.
_SLIPS_AT_A_TIME = 200_000
# A place in it is a part of fingerprints: a new one comes last.
RULES = (VARIANT_SKU, VARIANT_BY_CODE, PARENT_SKU, BY_PERSON)
ArticleRules = Mapping[tuple[str, str], int]
"""What people said: number and variant code, in canonical form, to our product; without a code it is of every code."""
NO_RULES: ArticleRules = MappingProxyType({})


class Match(NamedTuple):
    """A product and the rule that found it, or no product and the reason."""

    product: StoredProduct | None
    rule: str
    reason: str


class Near(NamedTuple):
    """A product that an unmatched number may have meant, and why."""

    sku: str
    name: str
    why: str


class Matcher:
    """Finds products by article number; built once from all product rows; those that left the ERP are not found.

    rules: what people said goes before all else, as long as the product is in the ERP.
    Texts are compared in canonical form and whole, never by prefix: a prefix attaches pictures to the wrong product.
    """

    def __init__(self, products: Iterable[StoredProduct], rules: ArticleRules = NO_RULES) -> None:
        self._rules, self._by_id = rules, dict[int, StoredProduct]()
        self._variants: dict[str, StoredProduct] = {}
        self._parents: dict[str, StoredProduct] = {}
        self._by_code: dict[tuple[int, str], list[StoredProduct]] = defaultdict(list)
        self._left: set[str] = set()
        self._by_legacy: dict[str, list[StoredProduct]] = defaultdict(list)
        self._all: dict[str, StoredProduct] = {}
        for product in sorted(products, key=lambda product: product.id):
            sku = canonical_text(product.sku)
            if not product.in_erp:
                self._left.add(sku)
                continue
            self._by_id[product.id] = product
            (self._parents if product.kind == "parent" else self._variants).setdefault(sku, product)
            self._all.setdefault(sku, product)
            if product.parent_id is not None and product.variant_code:
                self._by_code[product.parent_id, canonical_text(product.variant_code)].append(product)
            for old in {canonical_text(old or "") for old in (product.legacy_sku, product.base_sku)} - {"", sku}:
                self._by_legacy[old].append(product)
        self._characters = frozenset("".join(self._all))

    def match(self, number: str, variant: str = "") -> Match:
        """The product of a number: a person's rule, else a variant's SKU, else a parent's.

        A parent that is found for a number with any code stands for its variant of that code.
        """
        number, variant = canonical_text(number), canonical_text(variant)
        if not number:
            return Match(None, "", told("the link has no article number"))
        if (said := self._by_id.get(self._rules.get((number, variant), 0))) is not None:
            return Match(said, BY_PERSON, "")
        if (said := self._by_id.get(self._rules.get((number, ""), 0))) is not None:
            return self._of_code(said, variant, BY_PERSON, BY_PERSON)
        if (product := self._variants.get(number)) is not None:
            return Match(product, VARIANT_SKU, "")
        parent = self._parents.get(number)
        if parent is None:
            if number in self._left:
                return Match(None, "", told(f"product {number} is no longer in the ERP"))
            return Match(None, "", told(f"the ERP has no product {number}"))
        return self._of_code(parent, variant, VARIANT_BY_CODE, PARENT_SKU)

    def _of_code(self, parent: StoredProduct, variant: str, by_code: str, by_number: str) -> Match:
        variants = self._by_code.get((parent.id, variant), []) if variant else []
        if len(variants) > 1:
            skus = ", ".join(product.sku for product in variants)
            number = canonical_text(parent.sku)
            return Match(None, "", told(f"parent {number} has several variants with the code {variant}: {skus}"))
        return Match(variants[0], by_code, "") if variants else Match(parent, by_number, "")

    def nearest(self, number: str, variant: str = "", limit: int = 3) -> tuple[Near, ...]:
        """Up to `limit` products that an unmatched number may have meant, best first, the same every time.

        Old numbers of products first, then SKUs one slip away. None for the number of a product that left the ERP: it
        is no slip. The cost does not grow with the catalogue: only SKUs that share a spelling with one character left
        out are compared.
        """
        number, variant = canonical_text(number), canonical_text(variant)
        if not number or number in self._left:
            return ()
        found: dict[str, Near] = {}
        for old in dict.fromkeys((f"{number}-{variant}", number)):
            for product in self._by_legacy.get(old, []):
                found.setdefault(product.sku, Near(product.sku, product.name, told(f"{old} is its old number")))
        alike = self._all.keys() & _one_slip_from(number, self._characters)
        slips = sorted((place, sku) for sku in alike if (place := _slip(number, sku)) is not None)
        for place, sku in slips[:limit]:
            found.setdefault(sku, Near(sku, self._all[sku].name, _SLIPS[place]))
        return tuple(found.values())[:limit]


class LinkMatches(NamedTuple):
    """What article links found: per link the product's id (0: none) and the rule's place in RULES.

    reasons: why not, by number and variant code as linked.
    """

    product_ids: np.ndarray
    rules: np.ndarray
    reasons: dict[tuple[str, str], str]


def match_links(
    products: pd.DataFrame, numbers: pd.Series, variants: pd.Series, rules: ArticleRules = NO_RULES
) -> LinkMatches:
    """Match many links (number and variant code of each) as a Matcher of all products would.

    Nearly all numbers are a variant's SKU, and that rule works on columns; a Matcher of the few products that can
    matter answers for the rest, and for numbers of which people said something.
    """
    own = products.loc[(products["kind"] == "variant") & products["in_erp"], ["id", "sku"]]
    skus = pa.array(canonical_texts(own["sku"]))
    asked = pa.array(canonical_texts(numbers))
    places = pc.index_in(asked, value_set=pc.if_else(pc.equal(skus, ""), None, skus), skip_nulls=True)
    if rules:
        said = pc.is_in(asked, value_set=pa.array(sorted({number for number, _ in rules}), asked.type))
        places = pc.if_else(said, None, places)
    direct = np.asarray(pc.is_valid(places))
    ids = np.zeros(len(numbers), dtype=np.int64)
    ids[direct] = own["id"].to_numpy()[places.drop_null().to_numpy()]
    found_by = np.zeros(len(numbers), dtype=np.int8)
    rest = list(zip(numbers[~direct], variants[~direct], strict=True))
    matcher = Matcher(products_of(may_match(products, {number for number, _ in rest}, rules)), rules)
    found = {link: matcher.match(*link) for link in dict.fromkeys(rest)}
    ids[~direct] = [product.id if (product := found[link].product) else 0 for link in rest]
    found_by[~direct] = [RULES.index(found[link].rule) if found[link].rule else 0 for link in rest]
    return LinkMatches(ids, found_by, {link: match.reason for link, match in found.items() if match.reason})


def canonical_texts(texts: pd.Series) -> pd.Series:
    """Texts in canonical form; missing ones stay missing. Nearly all are ASCII."""
    trimmed = texts.str.strip()
    odd = ~np.asarray(pc.fill_null(pc.string_is_ascii(pa.array(trimmed, pa.large_string())), True))
    return trimmed.mask(odd, trimmed[odd].map(canonical_text)) if odd.any() else trimmed


def products_of(frame: pd.DataFrame) -> list[StoredProduct]:
    """Product rows from a frame with the columns of rules.StoredProduct, as products.read_products gives it."""
    columns = [pa.array(frame[name], from_pandas=True).to_pylist() for name in StoredProduct._fields]
    return list(map(StoredProduct._make, zip(*columns, strict=True)))


def digest_of(products: pd.DataFrame) -> str:
    """Another one as soon as anything of any product changes, or what Matcher.nearest answers."""
    digest = sha256(str(_SUGGESTED_AS).encode())
    for name in StoredProduct._fields:
        column = pa.array(products[name], from_pandas=True)
        for part in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
            buffers = part.buffers()
            sizes = [buffer.size if buffer else None for buffer in buffers]
            digest.update(repr((name, str(part.type), len(part), part.offset, sizes)).encode())
            for buffer in filter(None, buffers):
                digest.update(buffer)
    return digest.hexdigest()


def may_match(products: pd.DataFrame, numbers: Collection[str], rules: ArticleRules = NO_RULES) -> pd.DataFrame:
    """The products that a Matcher needs for these numbers: it answers as if it had all of them."""
    asked = set(map(canonical_text, numbers))
    named = among(canonical_texts(products["sku"]), _texts(asked))
    if rules:
        named |= products["id"].isin([product for (number, _), product in rules.items() if number in asked])
    parents = products.loc[named & (products["kind"] == "parent"), "id"]
    return products[named.to_numpy() | np.isin(products["parent_id"].to_numpy(np.int64, na_value=0), parents)]


def may_resemble(products: pd.DataFrame, links: Collection[tuple[str, str]]) -> pd.DataFrame:
    """The products that a Matcher needs to name the nearest ones for these unmatched numbers with their codes."""
    pairs = {(canonical_text(number), canonical_text(variant)) for number, variant in links}
    numbers = {number for number, _ in pairs}
    skus = canonical_texts(products["sku"])
    characters = _characters(skus)
    slips = (slip for number in numbers if number for slip in _one_slip_from(number, characters))
    alike = among(skus, _texts(numbers))
    while part := list(islice(slips, _SLIPS_AT_A_TIME)):
        alike |= among(skus, _texts(part))
    old = _texts({*numbers, *(f"{number}-{variant}" for number, variant in pairs)})
    renamed = among(canonical_texts(products["legacy_sku"]), old) | among(canonical_texts(products["base_sku"]), old)
    return products[(alike | renamed).to_numpy()]


def _texts(values: Iterable[str]) -> pd.Series:
    return pd.Series(pa.array(values, pa.large_string()).to_pandas(), dtype="str")


def _characters(texts: pd.Series) -> frozenset[str]:
    """Every character that one of these texts has."""
    known = pa.array(texts.dropna()).cast(pa.string())
    known = known.combine_chunks() if isinstance(known, pa.ChunkedArray) else known
    return frozenset(pc.binary_join(pa.ListArray.from_arrays([0, len(known)], known), "")[0].as_py())


def _one_slip_from(number: str, characters: Iterable[str]) -> set[str]:
    """The number itself and every text made of it by one slip, with these characters."""
    halves = [(number[:at], number[at:]) for at in range(len(number) + 1)]
    found = {number}
    for before, after in halves:
        found.update(before + one + after for one in characters)
        if after:
            found.add(before + after[1:])
            found.update(before + one + after[1:] for one in characters)
        if len(after) > 1:
            found.add(before + after[1] + after[0] + after[2:])
    return found


def _slip(number: str, sku: str) -> int | None:
    """Which of _SLIPS makes `number` of `sku`, two texts that share a spelling; None when it takes more than one."""
    if len(number) != len(sku):
        return 2 if len(number) < len(sku) else 3
    differing = [at for at, (one, other) in enumerate(zip(number, sku, strict=True)) if one != other]
    if len(differing) < 2:
        return 4 if differing else 0
    first, last = differing[0], differing[-1]
    swapped = last == first + 1 and number[first] == sku[last] and number[last] == sku[first]
    return 1 if swapped else None
