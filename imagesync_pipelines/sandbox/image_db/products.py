"""The made-up ERP catalogue: parents and variants in the shape and proportions of docs/contracts/image_db.md, 4."""

import csv
from dataclasses import dataclass
from pathlib import Path
from random import Random

PARENTS = 1571
VARIANTS = 4078
CHILDLESS_SHARE = 275 / 1571
BIGGEST_FAMILIES = (45, 42, 21, 18, 16)
ORDINARY_FAMILY = 15
PARENTLESS_SHARE = 6 / 4078
CODES = ("BE", "BL", "OX")

# A column is text, a number, a flag or empty.
Product = dict[str, str | int | bool | None]

_SIZES = (("Kleiner", "Little"), ("Großer", "Large"), ("Alter", "Old"), ("Fröhlicher", "Merry"), ("Müder", "Tired"))
_FIGURES = (
    ("Laternenträger", "lantern bearer"), ("Bär", "bear"), ("Trommler", "drummer"), ("Drache", "dragon"),
    ("Müller", "miller"), ("Gärtner", "gardener"), ("Schneemann", "snowman"), ("Fuchs", "fox"), ("Bäcker", "baker"),
    ("Ritter", "knight"), ("Storch", "stork"), ("Seiltänzer", "rope dancer"), ("Uhrmacher", "clockmaker"),
    ("Kapitän", "captain"), ("Hase", "hare"), ("Nachtwächter", "night watchman"),
)  # fmt: skip
_THINGS = (
    ("mit Schirm", "with umbrella"), ("mit Korb", "with basket"), ("am Fenster", "at the window"),
    ("im Schnee", "in snow"), ("mit Äpfeln", "with apples"), ("auf Schlitten", "on a sledge"),
    ("unterm Baum", "under a tree"), ("mit Flöte", "with flute"),
    ("auf der Brücke", "on the bridge"), ("mit Stern", "with star"),
)  # fmt: skip


@dataclass(frozen=True)
class Products:
    """The ERP's products; ids of parents and of variants are two series that overlap, as in two Django tables."""

    parents: tuple[Product, ...]
    variants: tuple[Product, ...]

    def numbers(self) -> frozenset[str]:
        """Every SKU there is."""
        return frozenset(str(row["sku"]) for row in (*self.parents, *self.variants))


def build_products(rng: Random, parents: int, variants: int) -> Products:
    """Make so many products; the shares of childless parents and of parentless variants are the contract's."""
    skus = _Numbers(rng)
    bases = _legacy_bases(rng, parents)
    parent_rows = [_parent(rng, at + 1, bases[at], skus) for at in range(parents)]
    families = parents - round(parents * CHILDLESS_SHARE)
    alone = min(variants, round(variants * PARENTLESS_SHARE) or 1)
    sizes = _family_sizes(rng, families, variants - alone)
    with_children = rng.sample(parent_rows, families)
    rows: list[Product] = []
    for parent, size in zip(with_children, sizes, strict=True):
        rows.extend(_variant(rng, parent, place, skus) for place in range(size))
    for _ in range(alone):
        rows.append(_variant(rng, None, 0, skus))
    rng.shuffle(rows)
    for at, row in enumerate(rows, start=1):
        row["id"] = at
    return Products(tuple(parent_rows), tuple(rows))


class _Numbers:
    """Six random digits, each given out once."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._used: set[str] = set()

    def new(self, prefix: str = "") -> str:
        while True:
            number = prefix + "".join(self._rng.choices("0123456789", k=6 - len(prefix)))
            if number[0] != "0" and number not in self._used:
                self._used.add(number)
                return number


def _legacy_bases(rng: Random, count: int) -> list[str]:
    """Distinct legacy bases: mostly 4 or 5 digits, some with a letter behind, a few that are words or have a hyphen."""
    bases = ["9410", "12460", "7450A", "4108W", "TM", "TM-2"][:count]
    used = set(bases)
    while len(bases) < count:
        base = str(rng.randrange(1000, 100_000)) + rng.choices(("", "A", "B", "W"), (85, 8, 4, 3))[0]
        if base not in used:
            used.add(base)
            bases.append(base)
    return bases


def _family_sizes(rng: Random, families: int, variants: int) -> list[int]:
    """How many variants each family has: at least one, the contract's biggest where there is room for them."""
    if families == 0 or variants < families:
        return [1] * min(families, variants) + [0] * max(0, families - variants)
    sizes = [1] * families
    left = variants - families
    for place, size in enumerate(BIGGEST_FAMILIES[:families]):
        if left >= 4 * size:
            sizes[place] = size
            left -= size - 1
    ordinary = [place for place in range(families) if sizes[place] == 1] or list(range(families))
    while left:
        place = rng.choice(ordinary)
        if sizes[place] < ORDINARY_FAMILY or left > ORDINARY_FAMILY * families:
            sizes[place] += 1
            left -= 1
    return sizes


def _parent(rng: Random, number: int, base: str, skus: _Numbers) -> Product:
    size, figure, thing = rng.choice(_SIZES), rng.choice(_FIGURES), rng.choice(_THINGS)
    own = skus.new()
    # Early data had sku and legacy_id swapped: a parent's SKU is then its legacy base. The named bases are always so.
    swapped = number <= 6 or rng.random() < 0.1
    return {
        "id": number,
        "sku": base if swapped else own,
        "legacy_id": own if swapped else base,
        "legacy_base_sku": base,
        "name": f"{size[0]} {figure[0]} {thing[0]}",
        "name_en": f"{size[1]} {figure[1]} {thing[1]}",
        "is_active": rng.random() < 0.93,
        "is_discontinued": rng.random() < 0.05,
        "is_new": rng.random() < 0.04,
    }


def _variant(rng: Random, parent: Product | None, place: int, skus: _Numbers) -> Product:
    code = CODES[place] if place < len(CODES) else f"{CODES[place % len(CODES)]}{place // len(CODES) + 1}"
    base = str(rng.randrange(1000, 100_000)) + "X" if parent is None else str(parent["legacy_base_sku"])
    parent_sku = "" if parent is None else str(parent["sku"])
    # The first variant of a family with a short numeric SKU begins with that SKU: prefix matching would mix them up.
    collides = place == 0 and parent_sku.isdecimal() and len(parent_sku) < 6
    name = f"Einzelstück {base}" if parent is None else parent["name"]
    name_en = f"Single piece {base}" if parent is None else parent["name_en"]
    return {
        "id": 0,
        "sku": skus.new(parent_sku if collides else ""),
        "legacy_sku": f"{base}-{code}",
        "legacy_base_sku": base,
        "variant_code": code,
        "name": f"{name} {code}",
        "name_en": f"{name_en} {code}",
        "parent_id": None if parent is None else parent["id"],
        "parent_sku": None if parent is None else parent["sku"],
        "is_active": rng.random() < 0.93,
        "is_verkaufsartikel": rng.random() < 0.97,
    }


def write_erp_csv(products: Products, folder: Path) -> tuple[Path, Path]:
    """Write parents.csv and variants.csv (UTF-8, comma, header line, empty for null, true/false); give their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "parents.csv", folder / "variants.csv"
    for path, rows in zip(paths, (products.parents, products.variants), strict=True):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(rows[0] if rows else ("id", "sku", "name"))
            writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return paths


def _cell(value: str | int | bool | None) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
