"""Article numbers of the image database to products of the ERP (contract section 5.1).

What belongs here: the match and, where there is none, the nearest candidates for a person to look at. What does not:
the other rules (rules.py) and the frames made of matches (planning.py).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from imagesync_pipelines.image_db.rules import Product

VARIANT_SKU = "variant sku"
VARIANT_BY_CODE = "parent's variant by code"
PARENT_SKU = "parent sku"
RULES = (VARIANT_SKU, VARIANT_BY_CODE, PARENT_SKU)


class Match(NamedTuple):
    """A product and the rule that found it, or no product and the reason."""

    product: Product | None
    rule: str
    reason: str


class Near(NamedTuple):
    """A product that an unmatched number may have meant, and why."""

    sku: str
    name: str
    why: str


class Matcher:
    """Finds products by article number; built once from all product rows, only active products are found.

    Texts are compared trimmed and whole, never by prefix: a prefix attaches pictures to the wrong product.
    """

    def __init__(self, products: Iterable[Product]) -> None:
        self._variants: dict[str, Product] = {}
        self._parents: dict[str, Product] = {}
        self._by_code: dict[tuple[int, str], list[Product]] = defaultdict(list)
        self._inactive: set[str] = set()
        self._by_legacy: dict[str, list[Product]] = defaultdict(list)
        self._all: dict[str, Product] = {}
        for product in sorted(products, key=lambda product: product.id):
            sku = product.sku.strip()
            if not product.is_active:
                self._inactive.add(sku)
                continue
            (self._parents if product.kind == "parent" else self._variants).setdefault(sku, product)
            self._all.setdefault(sku, product)
            if product.parent_id is not None and product.variant_code:
                self._by_code[product.parent_id, product.variant_code.strip()].append(product)
            for old in {product.legacy_sku, product.base_sku} - {None, "", sku}:
                self._by_legacy[str(old).strip()].append(product)
        self._misspelt: dict[str, list[str]] = {}

    def match(self, number: str, variant: str = "") -> Match:
        """The product of a number: a variant's SKU, else a parent's (with the code, its variant of that code)."""
        number, variant = number.strip(), variant.strip()
        if not number:
            return Match(None, "", "the link has no article number")
        if (product := self._variants.get(number)) is not None:
            return Match(product, VARIANT_SKU, "")
        parent = self._parents.get(number)
        if parent is None:
            if number in self._inactive:
                return Match(None, "", f"product {number} is no longer active in the ERP")
            return Match(None, "", f"the ERP has no product {number}")
        variants = self._by_code.get((parent.id, variant), []) if variant else []
        if len(variants) > 1:
            skus = ", ".join(product.sku for product in variants)
            return Match(None, "", f"parent {number} has several variants with the code {variant}: {skus}")
        return Match(variants[0], VARIANT_BY_CODE, "") if variants else Match(parent, PARENT_SKU, "")

    def nearest(self, number: str, variant: str = "", limit: int = 3) -> tuple[Near, ...]:
        """Up to `limit` products that an unmatched number may have meant, best first, the same every time.

        Old numbers of products first, then SKUs that are spelt the same once a character of either is left out, the
        most such spellings first: that finds a digit too many, too few, wrong or swapped at any size of catalogue.
        """
        number, variant = number.strip(), variant.strip()
        if not number:
            return ()
        found: dict[str, Near] = {}
        for old in dict.fromkeys((f"{number}-{variant}", number)):
            for product in self._by_legacy.get(old, []):
                found.setdefault(product.sku, Near(product.sku, product.name, f"{old} is its old number"))
        alike = Counter(sku for key in _spellings(number) for sku in self._misspellings().get(key, ()))
        for sku in sorted(alike, key=lambda sku: (-alike[sku], sku))[:limit]:
            why = "it has this very number" if sku == number else "its number is spelt much alike"
            found.setdefault(sku, Near(sku, self._all[sku].name, why))
        return tuple(found.values())[:limit]

    def _misspellings(self) -> dict[str, list[str]]:
        """SKUs by every spelling with at most one character left out; made when the first number does not match."""
        if not self._misspelt:
            for sku in sorted(self._all):
                for key in _spellings(sku):
                    self._misspelt.setdefault(key, []).append(sku)
        return self._misspelt


def _spellings(text: str) -> set[str]:
    return {text} | {text[:index] + text[index + 1 :] for index in range(len(text))}
