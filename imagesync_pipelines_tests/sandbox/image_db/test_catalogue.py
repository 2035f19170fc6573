"""Proves that the catalogue has the sizes, the proportions and the rare cases of contract sections 3, 3.1 and 4."""

import csv
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from imagesync_pipelines.sandbox.image_db.catalogue import CatalogueError, ImageCatalogue, build_catalogue, drift_stock
from imagesync_pipelines.sandbox.image_db.products import Products, write_erp_csv
from imagesync_pipelines.sandbox.image_db.records import MEDIA_ROOT, Record

HOURS_7 = timedelta(hours=7)


@pytest.fixture(scope="module")
def catalogue() -> ImageCatalogue:
    return build_catalogue()


@pytest.fixture(scope="module")
def records(catalogue: ImageCatalogue) -> list[Record]:
    return catalogue.records()


@pytest.fixture(scope="module")
def products(catalogue: ImageCatalogue) -> Products:
    return catalogue.products


def originals(records: list[Record]) -> list[dict[str, Any]]:
    return [record["original_file"] for record in records]


def exports(records: list[Record]) -> list[dict[str, Any]]:
    return [export for record in records for export in record["exported_files"]]


def links(records: list[Record]) -> list[dict[str, Any]]:
    return [link for record in records for link in record["articles"]]


def sizes(record: Record) -> dict[str, list[int]]:
    return {export["type"]: export["resolution"] for export in record["exported_files"]}


def test_the_default_catalogue_has_the_real_size() -> None:
    made = build_catalogue(seed=3)
    assert (len(made), len(made.products.parents), len(made.products.variants)) == (2489, 1571, 4078)


@pytest.mark.parametrize("size", [0, 1, 2, 7, 20, 60, 300])
def test_a_catalogue_of_any_size_can_be_made(size: int) -> None:
    made = build_catalogue(records=size)
    assert len(made) == len(set(made.file_ids())) == size
    assert made.products.parents


def test_sizes_are_parameters() -> None:
    made = build_catalogue(records=30, parents=12, variants=50)
    assert (len(made), len(made.products.parents), len(made.products.variants)) == (30, 12, 50)


def test_the_same_seed_gives_the_same_catalogue_and_another_seed_another() -> None:
    one, again, other = (build_catalogue(seed, records=80) for seed in (7, 7, 8))
    assert one.records() == again.records()
    assert one.products == again.products
    assert one.records() != other.records()


def test_a_record_has_three_keys_and_no_id(records: list[Record]) -> None:
    assert {tuple(record) for record in records} == {("original_file", "exported_files", "articles")}
    assert {tuple(original) for original in originals(records)} == {
        ("db_id", "file_id", "type", "format", "imported_at", "is_processed", "uploaded_from", "file_url")
    }
    assert {tuple(export) for export in exports(records)} == {
        ("id", "type", "filename", "file_size", "resolution", "created", "image_url")
    }
    assert {tuple(link) for link in links(records)} == {("number", "variant", "front", "stock")}


def test_file_ids_are_distinct_equal_db_ids_and_in_no_order(records: list[Record]) -> None:
    ids = [original["file_id"] for original in originals(records)]
    assert ids == [original["db_id"] for original in originals(records)]
    assert len(set(ids)) == len(ids)
    assert min(ids) >= 18_791
    assert max(ids) <= 984_791
    assert ids not in (sorted(ids), sorted(ids, reverse=True))


def test_export_ids_are_distinct_and_lists_of_exports_are_in_no_order(records: list[Record]) -> None:
    ids = [export["id"] for export in exports(records)]
    assert len(set(ids)) == len(ids)
    assert 9_000 < max(ids) < 12_500
    assert any(one["id"] > other["id"] for record in records for one, other in pairwise(record["exported_files"]))
    first = Counter(record["exported_files"][0]["type"] for record in records if record["exported_files"])
    assert set(first) == {"png", "jpg_k", "jpg_g", "tiff", "psd"}


def test_media_urls_are_distinct_and_end_in_the_file_name(records: list[Record]) -> None:
    urls = [export["image_url"] for export in exports(records) if export["image_url"]]
    urls += [original["file_url"] for original in originals(records)]
    assert len(set(urls)) == len(urls)
    for export in exports(records):
        assert export["type"] == "psd" or export["image_url"] == MEDIA_ROOT + export["filename"]


def test_three_quarters_came_from_the_desktop_app_in_may_2023(records: list[Record]) -> None:
    sources = Counter(original["uploaded_from"] for original in originals(records))
    assert 1890 <= sources["Desktop app"] <= 1900
    assert set(sources) == {"Desktop app", "Web server folder", "Web server (upload)"}
    desktop = [one for one in originals(records) if one["uploaded_from"] == "Desktop app"]
    assert {one["imported_at"][:7] for one in desktop} == {"2023-05"}


def test_six_in_ten_originals_are_psd_and_jpeg_is_the_format_of_a_jpg(records: list[Record]) -> None:
    formats = Counter(original["format"] for original in originals(records))
    assert set(formats) == {"psd", "jpeg"}
    assert 0.55 < formats["psd"] / len(records) < 0.65
    assert any(one["format"] == "jpeg" and one["file_url"].endswith(".jpg") for one in originals(records))


def test_types_are_an_open_set_with_produktfoto_most(records: list[Record]) -> None:
    types = Counter(original["type"] for original in originals(records))
    assert types.most_common(1)[0][0] == "Produktfoto"
    assert {"Szene", "Markt-Messe-Shop", "Illustration", "Social Media", "Detailfoto", "Werbung"} <= set(types)


def test_sizes_of_exports_are_the_contracts(records: list[Record]) -> None:
    assert {"png", "jpg_k", "jpg_g", "tiff"} <= {kind for record in records for kind in sizes(record)}
    for record in records:
        found = sizes(record)
        for kind, height in (("png", 200), ("jpg_k", 1280), ("jpg_g", 1280)):
            assert kind not in found or found[kind][1] == height
        assert found.get("jpg_k") == found.get("jpg_g")
        if "png" in found:
            assert 107 <= found["png"][0] <= 586
        if "tiff" in found:
            assert max(found["tiff"]) <= 7016


def test_file_sizes_are_kib_as_fractions_of_1024(records: list[Record]) -> None:
    listed = [export for export in exports(records) if export["file_size"] is not None]
    assert all((export["file_size"] * 1024).is_integer() for export in listed)
    for kind, least, most in (("png", 40, 166), ("jpg_k", 81, 468), ("jpg_g", 589, 2149), ("tiff", 1024, 105_000)):
        found = [export["file_size"] for export in listed if export["type"] == kind]
        assert least <= min(found)
        assert max(found) <= most


def test_a_psd_export_is_a_placeholder_of_nulls_since_february_2024(records: list[Record]) -> None:
    for record in records:
        kinds = {export["type"] for export in record["exported_files"]}
        if kinds:
            since = max(export["created"] for export in record["exported_files"]) >= "2024-02"
            assert ("psd" in kinds) == since
    placeholders = [export for export in exports(records) if export["type"] == "psd"]
    nulls = ("filename", "file_size", "resolution", "image_url")
    assert {tuple(export[name] for name in nulls) for export in placeholders} == {(None, None, None, None)}
    assert len(placeholders) > 200


def test_desktop_exports_are_exactly_seven_hours_early_and_others_late(records: list[Record]) -> None:
    skewed = 0
    for record in records:
        original = record["original_file"]
        imported = datetime.fromisoformat(original["imported_at"])
        lags = {datetime.fromisoformat(export["created"]) - imported for export in record["exported_files"]}
        if len(record["exported_files"]) == 11 or not lags:
            continue
        if original["uploaded_from"] == "Desktop app":
            assert lags == {-HOURS_7}
            skewed += 1
        else:
            assert timedelta() <= min(lags) <= max(lags) <= timedelta(days=2)
    assert skewed > 1800


def test_times_have_microseconds_and_a_zone(records: list[Record]) -> None:
    times = [one["imported_at"] for one in originals(records)] + [one["created"] for one in exports(records)]
    assert {len(moment) for moment in times} == {len("2025-02-27T10:11:12.123456+00:00")}
    assert all(moment.endswith("+00:00") for moment in times)


def test_about_15_percent_have_no_article_and_most_have_one(records: list[Record]) -> None:
    numbers = Counter(len(record["articles"]) for record in records)
    assert set(numbers) == {0, 1, 2, 3, 4}
    assert 0.12 < numbers[0] / len(records) < 0.18
    assert numbers[1] > 1500


def test_links_are_fronts_stocks_and_codes_as_seen(records: list[Record]) -> None:
    found = links(records)
    assert 0.7 < sum(link["front"] for link in found) / len(found) < 0.87
    stocks = [link["stock"] for link in found]
    assert 0.1 < stocks.count(None) / len(found) < 0.25
    known = [stock for stock in stocks if stock is not None]
    assert min(known) == -18
    assert max(known) == 201
    assert Counter(link["variant"] for link in found).most_common(1)[0][0] == "BE"
    assert all(isinstance(link["number"], str) for link in found)


def test_products_with_images_have_mostly_one_to_five(records: list[Record]) -> None:
    per_number = Counter(number for record in records for number in {link["number"] for link in record["articles"]})
    few = sum(number <= 5 for number in per_number.values())
    assert few / len(per_number) > 0.95
    assert max(per_number.values()) > 1


def test_nearly_all_numbers_are_variants_and_some_are_parents_or_unknown(
    records: list[Record], products: Products
) -> None:
    variants = {row["sku"] for row in products.variants}
    parents = {row["sku"] for row in products.parents}
    numbers = [link["number"] for link in links(records)]
    assert sum(number in variants for number in numbers) / len(numbers) > 0.95
    assert any(number in parents for number in numbers)
    assert any(number not in variants | parents for number in numbers)


def test_one_number_is_only_the_beginning_of_a_sku(records: list[Record], products: Products) -> None:
    skus = products.numbers()
    unknown = {link["number"] for link in links(records)} - skus
    assert any(sku.startswith(number) for number in unknown for sku in skus)


def test_parents_are_named_with_a_code_that_fits_with_one_that_does_not_and_without_family(
    records: list[Record], products: Products
) -> None:
    codes: dict[object, set[object]] = {}
    for row in products.variants:
        codes.setdefault(row["parent_id"], set()).add(row["variant_code"])
    parents = {row["sku"]: codes.get(row["id"], set()) for row in products.parents}
    named = [(link["variant"], parents[link["number"]]) for link in links(records) if link["number"] in parents]
    assert any(code in family for code, family in named)
    assert any(family and code not in family for code, family in named)
    assert any(not family for _, family in named)


def test_one_record_lists_one_link_three_times(records: list[Record]) -> None:
    assert any(
        len(record["articles"]) == 3 and all(link == record["articles"][0] for link in record["articles"])
        for record in records
    )


def test_one_article_is_on_two_produktfotos_with_different_fronts(records: list[Record]) -> None:
    fronts: dict[str, set[bool]] = {}
    for record in records:
        if record["original_file"]["type"] == "Produktfoto":
            for link in record["articles"]:
                fronts.setdefault(link["number"], set()).add(link["front"])
    assert {True, False} in fronts.values()


def test_front_is_true_for_three_articles_of_one_record_and_false_for_the_fourth(records: list[Record]) -> None:
    assert any(sorted(link["front"] for link in record["articles"]) == [False, True, True, True] for record in records)


def test_one_record_has_eleven_exports_with_six_identical_pngs_and_a_later_set(records: list[Record]) -> None:
    (record,) = (record for record in records if len(record["exported_files"]) == 11)
    pngs = [export for export in record["exported_files"] if export["type"] == "png"]
    assert len(pngs) == 7
    early = sorted(pngs, key=lambda export: str(export["created"]))[:6]
    assert len({(export["file_size"], *export["resolution"]) for export in early}) == 1
    late = datetime.fromisoformat(max(export["created"] for export in pngs))
    assert late - datetime.fromisoformat(early[-1]["created"]) > timedelta(days=100)


def test_panoramas_are_wider_than_300_as_png(records: list[Record]) -> None:
    widths = {export["resolution"][0] for export in exports(records) if export["type"] == "png"}
    assert {424, 442, 494, 586} <= widths


def test_one_jpeg_is_larger_than_its_tiff(records: list[Record]) -> None:
    assert any(
        sizes(record).get("tiff") == [1620, 1080] and sizes(record)["jpg_g"] == [1920, 1280] for record in records
    )


def test_some_records_are_unprocessed_or_have_only_their_original(records: list[Record]) -> None:
    unprocessed = [record for record in records if not record["original_file"]["is_processed"]]
    assert {record["original_file"]["format"] for record in unprocessed} == {"psd", "jpeg"}
    assert all(record["exported_files"] == [] for record in unprocessed)
    alone = [
        record
        for record in records
        if record["original_file"]["is_processed"] and not any(one["image_url"] for one in record["exported_files"])
    ]
    assert sorted(len(record["exported_files"]) for record in alone) == [0, 1]


def test_275_parents_have_no_variant_and_the_largest_families_are_the_contracts(products: Products) -> None:
    families = Counter(row["parent_id"] for row in products.variants)
    parentless = families.pop(None)
    assert len(products.parents) - len(families) == 275
    assert [size for _, size in families.most_common(5)] == [45, 42, 21, 18, 16]
    assert parentless == 6
    per_family = Counter((row["parent_id"], row["variant_code"]) for row in products.variants if row["parent_id"])
    assert max(per_family.values()) == 1


def test_skus_are_six_digits_as_text_and_unique_across_both_tables(products: Products) -> None:
    assert all(str(row["sku"]).isdecimal() and len(str(row["sku"])) == 6 for row in products.variants)
    assert len(products.numbers()) == len(products.parents) + len(products.variants)
    odd = [str(row["sku"]) for row in products.parents if not str(row["sku"]).isdecimal()]
    assert {"7450A", "TM"} <= set(odd)


def test_a_legacy_sku_is_base_and_code_split_at_the_last_hyphen(products: Products) -> None:
    for row in products.variants:
        assert str(row["legacy_sku"]).rsplit("-", 1) == [row["legacy_base_sku"], row["variant_code"]]
    assert {"BE", "BL", "OX"} <= {row["variant_code"] for row in products.variants}


def test_some_variants_begin_with_the_sku_of_a_parent(products: Products) -> None:
    short = [str(row["sku"]) for row in products.parents if str(row["sku"]).isdecimal() and len(str(row["sku"])) < 6]
    assert sum(str(row["sku"]).startswith(tuple(short)) for row in products.variants) >= 5


def test_ids_of_parents_and_variants_overlap_as_in_two_tables(products: Products) -> None:
    assert {row["id"] for row in products.parents} == set(range(1, 1572))
    assert {row["id"] for row in products.variants} == set(range(1, 4079))


def test_the_erp_is_written_as_two_csv_files(products: Products, tmp_path: Path) -> None:
    parents, variants = write_erp_csv(products, tmp_path / "erp")
    with variants.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4078
    expected = products.variants[0]
    assert rows[0]["sku"] == expected["sku"]
    assert rows[0]["is_active"] in {"true", "false"}
    alone = [row for row in rows if row["parent_id"] == ""]
    assert len(alone) == 6
    with parents.open(encoding="utf-8", newline="") as file:
        names = {row["id"]: row["sku"] for row in csv.DictReader(file)}
    assert all(names[row["parent_id"]] == row["parent_sku"] for row in rows if row["parent_id"])


def test_stock_drifts_with_every_call_and_only_where_it_is_known() -> None:
    link = {"number": "1", "stock": 10}
    readings = []
    for call in range(30):
        record = {"articles": [dict(link), dict(link), {"number": "2", "stock": None}]}
        drift_stock([record], 1, call)
        first, twin, unknown = record["articles"]
        assert first == twin
        assert unknown["stock"] is None
        readings.append(first["stock"])
    assert len(set(readings)) > 1
    assert all(8 <= int(str(stock)) <= 12 for stock in readings)


def test_a_record_that_is_not_there_is_named() -> None:
    with pytest.raises(CatalogueError, match="file_id 5"):
        build_catalogue(records=3).record(5)


def test_a_catalogue_may_be_much_larger_than_the_real_one() -> None:
    assert len(build_catalogue(records=10_000)) == 10_000


@pytest.mark.parametrize("stock", [2**63 - 1, -(2**63)])
def test_a_stock_at_the_end_of_64_bits_can_be_sent_after_any_drift(stock: int) -> None:
    for call in range(20):
        record = {"articles": [{"number": "803721", "stock": stock}]}
        drift_stock([record], 1, call)
        assert orjson.loads(orjson.dumps(record)) == record
