"""Making one record of the image database, in the shape of contract section 3.

What belongs here: originals, exports, links, their names, sizes and times; nothing here knows a whole catalogue.
What does not: the rare cases, which are in specials.py, and records that break the shape, which are in odd.py.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from imagesync_pipelines.sandbox.image_db.products import Product, Products

# A record as it is sent: original_file, exported_files, articles.
Record = dict[str, Any]

MEDIA_ROOT = "https://images.example/media/"
FIRST_FILE_ID, LAST_FILE_ID = 18_791, 930_363
PNG_HEIGHT, JPEG_HEIGHT = 200, 1280
NARROWEST, WIDEST = 0.54, 2.93
PSD_PLACEHOLDERS_SINCE = datetime(2024, 2, 1, tzinfo=UTC)
DESKTOP_SKEW = timedelta(hours=7)
DESKTOP, FOLDER, UPLOAD = "Desktop app", "Web server folder", "Web server (upload)"
FULL_HEIGHTS = (1080, 1365, 2000, 2400, 3000, 4961)

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_EXTENSIONS = {"png": "png", "jpg_k": "jpg", "jpg_g": "jpg", "tiff": "tif"}
_KIB = {"png": (40, 166), "jpg_k": (81, 468), "jpg_g": (589, 2149)}
_TYPES = {
    DESKTOP: (("Produktfoto", "Szene", "Markt-Messe-Shop", "Illustration"), (84, 7, 4, 5)),
    FOLDER: (("Produktfoto", "Szene", "Markt-Messe-Shop", "Illustration", "Social Media"), (45, 22, 17, 8, 8)),
    UPLOAD: (("Produktfoto", "Szene", "Markt-Messe-Shop", "Illustration", "Detailfoto"), (45, 20, 20, 8, 7)),
}
_WORDS = ("Winter", "Werkstatt", "Messe", "Stand", "Katalog", "Ostern", "Markt", "Gruppe", "Regal", "Advent")


class Workshop:
    """Makes records one after the other; ids and names are given out once. Every choice comes from `rng`."""

    def __init__(self, rng: Random, products: Products, last_file_id: int = LAST_FILE_ID) -> None:
        self.rng = rng
        self.products = products
        self.known_numbers = products.numbers()
        self._last_file_id = last_file_id
        self._file_ids: set[int] = set()
        self._names: set[str] = set()
        self._export_id = 0
        self._by_parent: dict[object, list[Product]] = {}
        for row in products.variants:
            self._by_parent.setdefault(row["parent_id"], []).append(row)
        self._painted = [row for row in products.variants if row["variant_code"] == "BE"] or list(products.variants)

    def record(self, imported_at: datetime, uploaded_from: str) -> Record:
        """An ordinary record: an original, its exports, 0 to 4 links."""
        rng = self.rng
        kinds, weights = _TYPES[uploaded_from]
        psd = rng.random() < (0.75 if uploaded_from == DESKTOP else 0.13)
        lag = -DESKTOP_SKEW if uploaded_from == DESKTOP else timedelta(seconds=rng.uniform(120, 172_800))
        image_type = rng.choices(kinds, weights)[0]
        width, height = self.full_size(image_type)
        return {
            "original_file": self.original(image_type, psd, imported_at, uploaded_from),
            "exported_files": self.exports(imported_at + lag, width, height),
            "articles": self.links(),
        }

    def original(self, image_type: str, psd: bool, imported_at: datetime, uploaded_from: str) -> dict[str, Any]:
        """The original_file of a record, with a new file_id."""
        file_id = self.rng.randint(FIRST_FILE_ID, self._last_file_id)
        while file_id in self._file_ids:
            file_id = self.rng.randint(FIRST_FILE_ID, self._last_file_id)
        self._file_ids.add(file_id)
        return {
            "db_id": file_id,
            "file_id": file_id,
            "type": image_type,
            "format": "psd" if psd else "jpeg",
            "imported_at": imported_at.isoformat(timespec="microseconds"),
            "is_processed": True,
            "uploaded_from": uploaded_from,
            "file_url": MEDIA_ROOT + self._original_name(psd, uploaded_from),
        }

    def _original_name(self, psd: bool, uploaded_from: str) -> str:
        rng = self.rng
        serial = rng.randrange(1, 2000)
        if uploaded_from == DESKTOP:
            return f"{self._uuid()}__{serial}__psdfile_x.psd" if psd else f"{self._uuid()}__{serial}__originalfile.jpeg"
        extension = "psd" if psd else "jpg"
        if rng.random() < 0.5:
            return f"{self._uuid()}_{self._suffix()}.{extension}"
        name = f"{rng.choice(_WORDS)}_{rng.choice(_WORDS)}_{rng.randrange(2023, 2027)}.{extension}"
        if name in self._names:
            # Django's storage does the same with a name that is taken.
            name = f"{name.removesuffix('.' + extension)}_{self._suffix()}.{extension}"
        self._names.add(name)
        return name

    def full_size(self, image_type: str) -> tuple[int, int]:
        """Width and height of the full picture; scenes are often wide, a few pictures are panoramas."""
        rng = self.rng
        if rng.random() < (0.4 if image_type == "Szene" else 0.08):
            ratio = rng.uniform(1.52, WIDEST)
        else:
            ratio = rng.uniform(NARROWEST, 1.35)
        height = rng.choice(FULL_HEIGHTS)
        height = min(height, int(7016 / ratio))
        return round(height * ratio), height

    def exports(self, created: datetime, width: int, height: int, kinds: Sequence[str] = ()) -> list[dict[str, Any]]:
        """A set of exports of one picture of the given full size, in no order; all `kinds` of their time by default."""
        ordinary = ("png", "jpg_k", "jpg_g", "tiff")
        wanted = kinds or ((*ordinary, "psd") if created >= PSD_PLACEHOLDERS_SINCE else ordinary)
        made = [self.export(kind, created, width, height) for kind in wanted]
        self.rng.shuffle(made)
        return made

    def export(self, kind: str, created: datetime, width: int, height: int) -> dict[str, Any]:
        """One exported file with a new id; a psd is a placeholder with four nulls."""
        self._export_id += 1
        stamp = created.isoformat(timespec="microseconds")
        if kind == "psd":
            return {
                "id": self._export_id,
                "type": kind,
                "filename": None,
                "file_size": None,
                "resolution": None,
                "created": stamp,
                "image_url": None,
            }
        name = f"{self._uuid()}__{self._export_id}__exportedfile_{self._suffix()}.{_EXTENSIONS[kind]}"
        return {
            "id": self._export_id,
            "type": kind,
            "filename": name,
            "file_size": self._kib(kind, width, height),
            "resolution": export_size(kind, width, height),
            "created": stamp,
            "image_url": MEDIA_ROOT + name,
        }

    def _kib(self, kind: str, width: int, height: int) -> float:
        if kind == "tiff":
            return round(width * height * 3 * self.rng.uniform(0.95, 1.0)) / 1024
        least, most = _KIB[kind]
        return self.rng.randint(least * 1024, most * 1024) / 1024

    def links(self) -> list[dict[str, Any]]:
        """The articles of a record: none for about 15 %, mostly one, up to four, some unknown to the ERP."""
        rng = self.rng
        number = rng.choices((0, 1, 2, 3, 4), (15, 65, 10, 6, 4))[0]
        if number == 0 or not self._painted:
            return []
        if rng.random() < 0.02:
            return [self.link(self.unknown_number(), "BE")]
        first = rng.choice(self._painted) if rng.random() < 0.97 else rng.choice(self.products.variants)
        family = [row for row in self._by_parent[first["parent_id"]] if row is not first]
        others = rng.sample(family, min(number - 1, len(family)))
        return [self.link(str(row["sku"]), str(row["variant_code"])) for row in (first, *others)]

    def link(self, number: str, variant: str, front: bool | None = None) -> dict[str, Any]:
        """One article; front is true for four in five, stock may be negative or unknown."""
        rng = self.rng
        chance = rng.random()
        stock = None if chance < 0.16 else -rng.randint(1, 18) if chance < 0.26 else int(201 * rng.random() ** 3)
        is_front = rng.random() < 0.79 if front is None else front
        return {"number": number, "variant": variant, "front": is_front, "stock": stock}

    def some_variant(self) -> tuple[str, str]:
        """Number and code of any variant of the ERP; an unknown number when the ERP has none."""
        if not self.products.variants:
            return self.unknown_number(), "BE"
        row = self.rng.choice(self.products.variants)
        return str(row["sku"]), str(row["variant_code"])

    def unknown_number(self) -> str:
        """Six digits that no product has."""
        while True:
            number = str(self.rng.randrange(100_000, 1_000_000))
            if number not in self.known_numbers:
                return number

    def _uuid(self) -> str:
        return str(UUID(int=self.rng.getrandbits(128), version=4))

    def _suffix(self) -> str:
        return "".join(self.rng.choices(_ALPHABET, k=7))


def export_size(kind: str, width: int, height: int) -> list[int]:
    """Pixels of one export: png 200 high, both jpegs 1280 high even when that upscales, tiff full."""
    if kind == "tiff":
        return [width, height]
    target = PNG_HEIGHT if kind == "png" else JPEG_HEIGHT
    return [round(target * width / height), target]
