"""The rare cases that every catalogue has: each of contract section 3.1, once or a few times, whatever the seed.

What belongs here: legal records that trip a naive client. What does not: records that break the shape (odd.py).
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from imagesync_pipelines.sandbox.image_db.records import UPLOAD, Record, Workshop

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
    """One link three times, identical."""
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
