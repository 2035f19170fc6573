"""Making one record of the image database, and the rare cases that every catalogue has."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

from imagesync_pipelines.sandbox.image_db.products import Product, Products

# A record as it is sent: original_file, exported_files, articles.
Record = dict[str, Any]

MEDIA_ROOT = "https://images.example/media/"
FIRST_FILE_ID, LAST_FILE_ID = 18_791, 984_791
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
        name = None
        if kind != "psd":
            name = f"{self._uuid()}__{self._export_id}__exportedfile_{self._suffix()}.{_EXTENSIONS[kind]}"
        return {
            "id": self._export_id,
            "type": kind,
            "filename": name,
            "file_size": None if name is None else self._kib(kind, width, height),
            "resolution": None if name is None else export_size(kind, width, height),
            "created": created.isoformat(timespec="microseconds"),
            "image_url": None if name is None else MEDIA_ROOT + name,
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


FULL_SET = ("png", "jpg_k", "jpg_g", "tiff", "psd")


def apply_specials(workshop: Workshop, records: Sequence[Record]) -> None:
    """Turn the first records of the list into the rare cases, one after the other, as far as the list goes."""
    left = list(records)
    for make, needed in _SPECIALS:
        if len(left) < needed:
            return
        taken, left = left[:needed], left[needed:]
        make(workshop, taken)


def _eleven_exports(workshop: Workshop, records: Sequence[Record]) -> None:
    """Six identical PNGs from failed attempts minutes apart, a full set four months later."""
    record = records[0]
    first = datetime.fromisoformat("2024-03-04T09:12:41.118203+00:00")
    width, height = 2400, 3000
    pngs = [workshop.export("png", first + timedelta(minutes=3 * nth), width, height) for nth in range(6)]
    for png in pngs:
        png["file_size"] = pngs[0]["file_size"]
    exports = [*pngs, *workshop.exports(first + timedelta(days=122), width, height, FULL_SET)]
    workshop.rng.shuffle(exports)
    record["exported_files"] = exports


def _repeated_link(workshop: Workshop, records: Sequence[Record]) -> None:
    link = workshop.link(*workshop.some_variant(), front=True)
    records[0]["articles"] = [link, dict(link), dict(link)]


def _two_photos_of_one_article(workshop: Workshop, records: Sequence[Record]) -> None:
    """One article on two Produktfoto records, front on the second only."""
    number, variant = workshop.some_variant()
    for record, front in zip(records, (False, True), strict=True):
        record["original_file"]["type"] = "Produktfoto"
        record["articles"] = [workshop.link(number, variant, front)]


def _front_for_three_of_four(workshop: Workshop, records: Sequence[Record]) -> None:
    fronts = (True, True, False, True)
    records[0]["articles"] = [workshop.link(*workshop.some_variant(), front=front) for front in fronts]


def _panoramas(workshop: Workshop, records: Sequence[Record]) -> None:
    """PNGs of 424, 442, 494 and 586 x 200: too wide for a rule that asks for 300."""
    for record, width in zip(records, (424, 442, 494, 586), strict=True):
        created = datetime.fromisoformat(record["exported_files"][0]["created"])
        record["exported_files"] = workshop.exports(created, width * 8, 1600)


def _upscaled(workshop: Workshop, records: Sequence[Record]) -> None:
    """A TIFF of 1620x1080 beside JPEGs of 1920x1280."""
    created = datetime.fromisoformat(records[0]["exported_files"][0]["created"])
    records[0]["exported_files"] = workshop.exports(created, 1620, 1080)


def _unprocessed(workshop: Workshop, records: Sequence[Record]) -> None:
    """Uploaded but not yet exported: a PSD, a JPEG and one more."""
    for record, file_format in zip(records, ("psd", "jpeg", "psd"), strict=True):
        original = record["original_file"]
        imported = datetime.fromisoformat(original["imported_at"])
        fresh = workshop.original(original["type"], file_format == "psd", imported, original["uploaded_from"])
        record["original_file"] = {**fresh, "is_processed": False}
        record["exported_files"] = []
        record["articles"] = [workshop.link(*workshop.some_variant())]


def _only_the_original(workshop: Workshop, records: Sequence[Record]) -> None:
    """The only usable file is a JPEG original: once with no export at all, once beside a psd placeholder."""
    imported = datetime.fromisoformat("2025-06-12T08:30:15.204117+00:00")
    for record, kinds in zip(records, ((), ("psd",)), strict=True):
        record["original_file"] = workshop.original("Produktfoto", False, imported, UPLOAD)
        record["exported_files"] = workshop.exports(imported, 1500, 2000, kinds) if kinds else []
        record["articles"] = [workshop.link(*workshop.some_variant(), front=True)]


def _unknown_types(workshop: Workshop, records: Sequence[Record]) -> None:
    for record, image_type in zip(records, ("Werbung", "360-Grad-Ansicht"), strict=True):
        record["original_file"]["type"] = image_type


def _parent_numbers(workshop: Workshop, records: Sequence[Record]) -> None:
    """Numbers of parents: with a code that the family has, with one that it lacks, of a childless parent."""
    rng, products = workshop.rng, workshop.products
    mothers = {row["parent_id"] for row in products.variants}
    families = [row for row in products.parents if row["id"] in mothers]
    childless = [row for row in products.parents if row["id"] not in mothers]
    for record, choice, code in zip(records, (families, families, childless), ("BE", "ZZ", "BE"), strict=True):
        if choice:
            record["articles"] = [workshop.link(str(rng.choice(choice)["sku"]), code)]


def _strange_numbers(workshop: Workshop, records: Sequence[Record]) -> None:
    """A parent's legacy base as number, a beginning of a variant's SKU, a variant without parent, an unknown one."""
    alone = [row for row in workshop.products.variants if row["parent_id"] is None]
    beginning = next(
        (sku[:5] for sku, _ in (workshop.some_variant() for _ in range(50)) if sku[:5] not in workshop.known_numbers),
        "1",
    )
    numbers = (
        str(workshop.products.parents[0]["sku"]) if workshop.products.parents else "9410",
        beginning,
        str(alone[0]["sku"]) if alone else workshop.unknown_number(),
        workshop.unknown_number(),
    )
    for record, number in zip(records, numbers, strict=True):
        record["articles"] = [workshop.link(number, "BE")]


def _stocks(workshop: Workshop, records: Sequence[Record]) -> None:
    """Negative, unknown and large stock on one record."""
    links = [workshop.link(*workshop.some_variant()) for _ in range(3)]
    for link, stock in zip(links, (-18, None, 201), strict=True):
        link["stock"] = stock
    records[0]["articles"] = links


_SPECIALS: tuple[tuple[Callable[[Workshop, Sequence[Record]], None], int], ...] = (
    (_repeated_link, 1),
    (_two_photos_of_one_article, 2),
    (_eleven_exports, 1),
    (_front_for_three_of_four, 1),
    (_panoramas, 4),
    (_upscaled, 1),
    (_unprocessed, 3),
    (_only_the_original, 2),
    (_unknown_types, 2),
    (_parent_numbers, 3),
    (_strange_numbers, 4),
    (_stocks, 1),
)

SPECIALS = sum(needed for _, needed in _SPECIALS)
